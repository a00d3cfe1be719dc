"""Decisions by vote: what the policy would do on parts of the inbox, and nothing certified is turned by an attack."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
import torch
from builders import Attacked, Scripted, attack, comms, defense, sampler, team_shape_of
from torch import Tensor

from agentcomm.base import registry
from agentcomm.base.errors import RequirementError
from agentcomm.certificates.measure import _vote, record
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.policy import CommPolicy
from agentcomm.contracts.threat_model import Position
from agentcomm.contracts.views import MessageView
from agentcomm.contracts.world import World
from agentcomm.evaluation.play import play
from agentcomm.runs.assembly import make_comms
from agentcomm.runs.choices import Choice
from agentcomm.runs.ppo_settings import PPOSettings
from agentcomm.step.decide import decide
from agentcomm.step.loop import StepRecord
from agentcomm.training.ppo import Update


def voters(worlds: int = 6, members: int = 6, **policy: Any) -> tuple[World, CommPolicy]:
    """A team that exchanges one round of messages on all links, with random weights."""
    made: World = registry.find("environment", "agreement")(
        registry.build_config("environment", "agreement", {"members": members, "max_steps": 5, "symbols": 3}), worlds
    )
    arguments = {"width": 16, "blocks": 0, "topology": {"name": "full"}} | policy
    config = registry.build_config("policy", "commformer", arguments)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        built: CommPolicy = registry.find("policy", "commformer").for_world(config, made)
        with torch.no_grad():
            for parameter in built.get_submodule("actor").parameters():
                parameter.add_(0.5 * torch.randn(parameter.shape))
    made.reset(1)
    return made, built.eval()


def once(world: World, policy: CommPolicy, network: Attacked, seed: int | None = None) -> Any:
    g = None if seed is None else torch.Generator().manual_seed(seed)
    graph, step = policy.topology.graph(None, world.num_worlds), torch.zeros(world.num_worlds, dtype=torch.int64)
    return decide(policy, world.observe(), graph, network, step, g)


@pytest.mark.parametrize("k", [1, 3])
def test_the_vote_is_the_mode_over_all_subsets(k: int) -> None:
    world, policy = voters()
    s = team_shape_of(world, policy)
    voted = once(world, policy, comms(s, [], [defense("ensemble", s, k=k)]))
    plain = once(world, policy, comms(s))
    votes = torch.zeros(*plain.action.shape, world.num_actions, dtype=torch.int64)
    hidden = policy.encode(world.observe())
    for subset in combinations(range(s.degree), k):
        inbox = plain.inboxes[0]
        mask = torch.zeros_like(inbox.mask)
        mask[..., list(subset)] = True
        action = policy.act(policy.hear(hidden, replace(inbox, mask=mask), 0)).argmax(-1)
        votes.scatter_add_(-1, action.unsqueeze(-1), torch.ones_like(action).unsqueeze(-1))
    assert torch.equal(voted.votes, votes)
    assert torch.equal(voted.action, votes.argmax(-1))
    assert k > 1 or not torch.equal(voted.action, plain.action)


def test_sampled_subsets_and_sampled_actions() -> None:
    world, policy = voters()
    s = team_shape_of(world, policy)
    network = comms(s, [], [defense("ensemble", s, k=2, samples=4)])
    first, second = (once(world, policy, network, seed=5) for _ in range(2))
    assert first.votes.sum(-1).eq(4).all()
    assert not torch.equal(first.votes, second.votes)  # subsets are drawn in every exchange
    again = once(world, policy, comms(s, [], [defense("ensemble", s, k=2, samples=4)]), seed=5)
    assert torch.equal(first.votes, again.votes)
    assert first.log_probability.isfinite().all()


def test_noisy_copies_vote() -> None:
    world, policy = voters()
    s = team_shape_of(world, policy)
    plain = once(world, policy, comms(s))
    quiet = once(world, policy, comms(s, [], [defense("smoothing", s, samples=5, sigma=1e-6)]))
    assert torch.equal(quiet.action, plain.action)
    assert quiet.votes.amax(-1).eq(5).all()
    loud = once(world, policy, comms(s, [], [defense("smoothing", s, samples=5, sigma=3.0)]))
    assert not loud.votes.amax(-1).eq(5).all()


def test_nothing_that_comes_in_by_no_link_is_heard() -> None:
    world, policy = voters()
    s = team_shape_of(world, policy)
    for name, arguments in (("ensemble", {"k": 2}), ("smoothing", {"samples": 3})):
        made = [comms(s, attacks, [defense(name, s, **arguments)]) for attacks in ([], [attack("flood", s)])]
        clean, flooded = (once(world, policy, network) for network in made)
        assert torch.equal(clean.action, flooded.action)


@pytest.mark.parametrize(
    ("policy", "defenses", "reason"),
    [
        ({"blocks": 1}, ["ensemble"], "one round"),
        ({"decoder": "autoregressive"}, ["subset"], "one round"),
        ({"memory": {}}, ["ensemble"], "remembers"),
        ({}, ["ensemble", "smoothing"], "one defense at most"),
        ({}, ["ensemble:k=5"], "smaller k"),
        ({"topology": {"name": "full"}}, ["ensemble:k=2,samples=11"], "leave samples out"),
    ],
)
def test_what_cannot_vote_is_refused(policy: dict[str, Any], defenses: list[str], reason: str) -> None:
    world, built = voters(1, 6, **policy)
    chosen = []
    for text in defenses:
        name, _, arguments = text.partition(":")
        pairs = dict(pair.split("=") for pair in arguments.split(",")) if arguments else {}
        chosen.append(Choice.model_validate({"name": name} | {key: int(value) for key, value in pairs.items()}))
    with pytest.raises(RequirementError, match=reason):
        make_comms(world, built, (), chosen)


def test_a_team_learns_from_what_subsets_hear() -> None:
    world, policy = voters()
    s, size = sampler(world, policy), team_shape_of(world, policy)
    s.loop.comms = comms(size, [], [defense("subset", size, k=2)])
    columns = s.collect(4).columns
    assert columns["mask"].sum(-1).eq(2).all()
    assert columns["mask"].float().mean((0, 1, 2)).gt(0.1).all()
    optimizer = torch.optim.Adam(policy.parameters(), 3e-3)
    stats = Update(policy, PPOSettings(minibatch=None), optimizer, None, torch.Generator().manual_seed(0)).run(columns)
    assert stats["first_ratio_error"] < 1e-6
    assert stats["ratio_error"] > 1e-4


class Liar(Scripted):
    """Replaces what some agents say to all others by large random payloads, or drops it."""

    def __init__(self, s: Any, links: tuple[tuple[int, int], ...], drops: bool) -> None:
        def edits(view: MessageView) -> MessageEdits:
            if drops:
                return MessageEdits(drop=view.reach)
            return MessageEdits(modify=view.reach, change=8 * view.randn(*view.payload.shape))

        super().__init__(s, {"read", "modify", "drop"}, edits, Position(kind="edge", links=links), injections=0)


def episodes(world: World, policy: CommPolicy, k: int, attacks: list[Any]) -> tuple[list[StepRecord], Attacked]:
    s = team_shape_of(world, policy)
    network, steps = comms(s, attacks, [defense("ensemble", s, k=k)]), list[StepRecord]()
    play(world, policy, network, 7, follow=steps.append)
    return steps, network


@pytest.mark.parametrize(("k", "liars"), [(1, 1), (2, 1), (1, 2)])
def test_certified_is_never_above_empirical(k: int, liars: int) -> None:
    world, policy = voters(24)
    clean, network = episodes(world, policy, k, [])
    played = record(clean, world, policy, network)
    assert played.votes is not None
    assert played.obstacle is None
    made = network.network.defenses[0]
    row = _vote(played, played.votes, made, 5, liars)
    assert row["certified"] > 0
    s, changed = team_shape_of(world, policy), False
    actions = torch.stack([step.decision.action for step in clean], 1)
    links = tuple((liar, other) for liar in range(liars) for other in range(6) if other != liar)
    for attacks in ([Liar(s, links, False)], [Liar(s, links, True)], white_box(s, links)):
        attacked = torch.stack([step.decision.action for step in episodes(world, policy, k, attacks)[0]], 1)
        steps = min(attacked.shape[1], actions.shape[1])
        same: Tensor = (attacked[:, :steps] == actions[:, :steps]) & played.acting[:, :steps]
        assert int(same.sum()) >= row["certified"]
        changed |= not bool((same | ~played.acting[:, :steps]).all())
    assert changed


def white_box(s: Any, links: tuple[tuple[int, int], ...]) -> list[Any]:
    """The gradient attack on the same links."""
    return [attack("gradient", s, links=links)]
