"""Reach: exact on made-up episodes, and never less than what attacks on real teams achieve."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
import torch
from builders import Scripted, comms, team, team_shape_of
from torch import Tensor

from agentcomm.certificates.measure import record
from agentcomm.certificates.reach import Recorded, reach_of_links, reach_of_nodes, steps_unchanged, worst
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.policy import CommPolicy
from agentcomm.contracts.threat_model import Position
from agentcomm.contracts.views import MessageView
from agentcomm.contracts.world import World
from agentcomm.evaluation.play import play
from agentcomm.step.loop import StepRecord

MODULUS = 1_000_003


def made_up(seed: int, couples: bool, remembers: bool, in_turns: bool = False, rounds: int = 2) -> Recorded:
    """Two episodes of four agents with two links each, few of which are open."""
    g, sizes = torch.Generator().manual_seed(seed), (2, 3, rounds, 4, 2)
    keys = torch.rand(2, 1, 4, 4, generator=g)
    keys.diagonal(dim1=2, dim2=3).fill_(-1)
    source = keys.topk(2, -1).indices.expand(-1, 3, -1, -1)
    listening = torch.rand(2, 3, 4, generator=g) < 0.7
    sent = (torch.rand(sizes, generator=g) < 0.5) & listening[:, :, None, :, None]
    running = torch.tensor([[True, True, True], [True, True, False]])
    return Recorded(source, sent, listening, running, couples, remembers, in_turns=in_turns)


def simulate(r: Recorded, attacked: dict[tuple[int, int], int]) -> Tensor:
    """[B, T, N] what agents do that depends on everything they hear; messages on ``attacked`` links are replaced."""
    worlds, steps, rounds, agents, degree = r.sent.shape
    out = torch.zeros(worlds, steps, agents, dtype=torch.int64)
    for b in range(worlds):
        memory, seen = [0] * agents, 0
        for t in range(steps):
            state = [hash((i, t, seen, memory[i])) % MODULUS for i in range(agents)]
            for round_ in range(rounds):
                spoken, last = list(state), round_ == rounds - 1
                for i in range(agents):
                    heard = []
                    for slot in range(degree):
                        j = int(r.source[b, t, i, slot])
                        told = state if r.in_turns and last else spoken
                        if r.sent[b, t, round_, i, slot] and (not (r.in_turns and last) or j < i):
                            heard.append(attacked.get((j, i), told[j]))
                    state[i] = hash((state[i], tuple(heard))) % MODULUS
            out[b, t] = torch.tensor(state)
            memory = state if r.remembers else memory
            seen = hash(tuple(state)) if r.couples else t
    return out


@pytest.mark.parametrize(("couples", "remembers"), [(True, False), (False, True), (False, False)])
@pytest.mark.parametrize("in_turns", [False, True])
def test_it_is_exact_where_everything_depends_on_what_is_heard(couples: bool, remembers: bool, in_turns: bool) -> None:
    for seed in range(2):
        recorded = made_up(seed, couples, remembers, in_turns)
        links, clean = recorded.links(), simulate(recorded, {})
        reach = reach_of_links(recorded, links)
        for number, link in enumerate(links):
            changed = (simulate(recorded, {link: -7}) != clean) & recorded.running.unsqueeze(-1)
            assert not (changed & ~reach[:, number]).any()
            if not remembers and couples:  # else what is held back may arrive later, and gates may open
                assert torch.equal(changed, reach[:, number])
        for pair in combinations(range(len(links)), 2):
            both = simulate(recorded, {links[at]: -7 for at in pair}) != clean
            assert not (both & recorded.running.unsqueeze(-1) & ~reach[:, list(pair)].any(1)).any()


def test_the_worst_set_is_found_by_enumeration_and_bounded_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = made_up(5, True, False)
    reach = reach_of_links(recorded, recorded.links())
    for count in (1, 2, 3):
        exact = worst(reach, recorded.running, count)
        sets = combinations(range(reach.shape[1]), count)
        most = max(int(reach[:, list(group)].any(1).sum()) for group in sets)
        assert exact.exact
        assert exact.certified == exact.decisions - most
        assert int(reach[:, list(exact.chosen)].any(1).sum()) == most
        with monkeypatch.context() as patched:
            patched.setattr("agentcomm.certificates.reach.LARGEST", 0)
            bound = worst(reach, recorded.running, count)
        assert not bound.exact
        assert bound.certified <= exact.certified
        assert bound.at_once >= exact.at_once
    kept = steps_unchanged(reach, recorded.running)
    assert int(kept.max()) <= 3
    assert ((kept > 0) == ~reach[:, :, 0]).all()


def test_a_node_reaches_what_its_links_reach() -> None:
    recorded = made_up(1, True, False)
    links = recorded.links()
    reach, nodes = reach_of_links(recorded, links), reach_of_nodes(recorded, range(4))
    for node in range(4):
        own = [at for at, (sender, _) in enumerate(links) if sender == node]
        assert not (reach[:, own].any(1) & ~nodes[:, node]).any()
        assert nodes[:, node, 0, node].all()


def test_injection_reaches_whoever_listens() -> None:
    recorded = made_up(2, False, False)
    links = recorded.links()
    more = reach_of_links(recorded, links, injects=True)
    assert not (reach_of_links(recorded, links) & ~more).any()
    for number, (_, receiver) in enumerate(links):
        heard = recorded.listening[:, :, receiver] & recorded.running
        assert (more[:, number, :, receiver] | ~heard).all()


class Liar(Scripted):
    """Replaces everything on its links by large random payloads."""

    def __init__(self, s: Any, edges: tuple[tuple[int, int], ...]) -> None:
        def edits(view: MessageView) -> MessageEdits:
            return MessageEdits(modify=view.reach, change=6 * view.randn(*view.payload.shape))

        super().__init__(s, {"read", "modify"}, edits, Position(kind="edge", links=edges), injections=0)


def episodes(world: World, policy: CommPolicy, edges: tuple[tuple[int, int], ...] = ()) -> tuple[list[StepRecord], Any]:
    s = team_shape_of(world, policy)
    network, steps = comms(s, [Liar(s, edges)] if edges else []), list[StepRecord]()
    play(world, policy, network, 3, follow=steps.append)
    return steps, network


@pytest.mark.parametrize(
    ("environment", "policy"),
    [
        ("predator_capture_prey", {"gate": {"initial_logit": 0.0}, "blocks": 2}),
        ("predator_capture_prey", {"decoder": "autoregressive", "gate": {"initial_logit": 0.0}}),
        ("oracle_hint", {"memory": {}, "gate": {"initial_logit": 0.0}}),
        ("oracle_hint", {"gate": {"initial_logit": 0.0, "side": "sender"}}),
    ],
)
def test_attacks_on_real_teams_change_nothing_that_is_certified(environment: str, policy: dict[str, Any]) -> None:
    arguments = {"members": 4, "size": None, "max_steps": 6} if environment == "oracle_hint" else {}
    made = {name: value for name, value in arguments.items() if value is not None}
    world, built = small_team(environment, made, policy)
    clean, network = episodes(world, built)
    played = record(clean, world, built, network)
    assert played.obstacle is None
    links = played.recorded.links()
    reach = reach_of_links(played.recorded, links)
    actions = torch.stack([step.decision.action for step in clean], 1)
    changed_somewhere = 0
    for sets in ([0], [len(links) - 1], [0, len(links) // 2]):
        attacked, _ = episodes(world, built, tuple(links[at] for at in sets))
        steps = min(len(attacked), actions.shape[1])
        now = torch.stack([step.decision.action for step in attacked], 1)[:, :steps]
        certified = played.acting & ~reach[:, sets].any(1)
        changed = now != actions[:, :steps]
        assert not (changed & certified[:, :steps]).any()
        assert (
            int((~changed & played.acting[:, :steps]).sum())
            >= worst(reach, played.recorded.running, len(sets)).certified
        )
        changed_somewhere += int(changed.sum())
    assert changed_somewhere
    assert played.acting.any()


def small_team(environment: str, arguments: dict[str, Any], policy: dict[str, Any]) -> tuple[World, CommPolicy]:
    if environment == "predator_capture_prey":
        return team(4, **policy)
    from agentcomm.base import registry

    made: World = registry.find("environment", environment)(
        registry.build_config("environment", environment, arguments), 4
    )
    config = registry.build_config("policy", "commformer", {"width": 16, **policy})
    with torch.random.fork_rng():
        torch.manual_seed(1)
        built: CommPolicy = registry.find("policy", "commformer").for_world(config, made)
        with torch.no_grad():
            for parameter in built.get_submodule("actor").parameters():
                parameter.add_(0.3 * torch.randn(parameter.shape))
    return made, built
