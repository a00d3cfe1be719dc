"""Each attack does what its docstring says, to a receiver without defenses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from builders import attack, comms, known_attack, known_defenses, sampler, team, team_shape, team_shape_of
from forms import KINDS
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from agentcomm.base import registry
from agentcomm.base.errors import ConfigError
from agentcomm.conformance.conversations import Exchange, carry, conversation, heard
from agentcomm.contracts.attack import AttackConfig
from agentcomm.contracts.inbox import gather_agents
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.threat_model import Budget
from agentcomm.contracts.traffic import Links
from agentcomm.step.decide import decide
from attacks.external.cut import weakest_link
from attacks.external.noise import _turn

# ---- drop


@pytest.mark.parametrize("probability", [0.0, 0.25, 0.7, 1.0])
def test_drop_takes_its_share(probability: float) -> None:
    s = team_shape(worlds=32)
    network = comms(s, [attack("drop", s, probability=probability)])
    inboxes = carry(network, conversation(s, 20))
    sent, dropped = int(network.ledger["sent"].sum()), int(network.ledger["dropped"].sum())
    deviation = (probability * (1 - probability) / sent) ** 0.5
    assert abs(dropped / sent - probability) <= 4 * deviation
    assert sum(int(i.mask.sum()) for i in inboxes) == sent - dropped
    assert all(i.delta is None and i.scale is None for i in inboxes), "it changes no payload"


def test_drop_on_some_links_leaves_the_others() -> None:
    s = team_shape()
    exchanges = conversation(s, 8)
    network = comms(s, [attack("drop", s, links=[[2, 0], [1, 3]])])
    receiver = torch.arange(s.num_agents).view(1, -1, 1)
    for e, inbox in zip(exchanges, carry(network, exchanges), strict=True):
        hit = ((e.links.source == 2) & (receiver == 0)) | ((e.links.source == 1) & (receiver == 3))
        assert torch.equal(inbox.mask, e.links.present & ~hit)


# ---- noise


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize(
    ("epsilon", "norm", "bound"), [(2.0, None, 2.0), (0.3, None, 0.3), (2.0, 0.5, 0.5), (0.0, None, 0.0)]
)
def test_noise_stays_within_its_norm(adaptive: bool, epsilon: float, norm: float | None, bound: float) -> None:
    s = team_shape(worlds=16, width=32)
    exchanges = conversation(s, 4)
    network = comms(s, [attack("noise", s, epsilon=epsilon, adaptive=adaptive, budget={"norm": norm})])
    for e, inbox in zip(exchanges, carry(network, exchanges), strict=True):
        assert torch.equal(inbox.mask, e.links.present)
        before = comms(s).exchange(e.spoken, e.links, e.step, e.round)
        change = (heard(inbox) - heard(before))[inbox.mask]
        assert change.abs().max() <= bound + 1e-5
        if not adaptive:
            torch.testing.assert_close(change.abs(), torch.full_like(change, bound), atol=1e-5, rtol=0)
        elif bound:
            assert change.abs().amax(-1).min() > 0.2 * bound, "it uses the room it has"
        if adaptive:
            torch.testing.assert_close(heard(inbox).norm(dim=-1), heard(before).norm(dim=-1), rtol=1e-4, atol=1e-4)


@given(seed=st.integers(0, 999), epsilon=st.floats(0, 8, width=32), spike=st.floats(1, 20, width=32))
@settings(max_examples=80, deadline=None)
def test_an_adaptive_turn_keeps_bound_and_length(seed: int, epsilon: float, spike: float) -> None:
    """Also of payloads that a single coordinate dominates, where a change cut off at the bound would shorten them."""
    g = torch.Generator().manual_seed(seed)
    payload = torch.randn(4, 8, generator=g)
    payload[0, 0] *= spike
    payload[1] = 0
    change = _turn(payload, torch.randn(4, 8, generator=g), epsilon)
    assert change.abs().max() <= epsilon * (1 + 1e-4) + 1e-4
    torch.testing.assert_close((payload + change).norm(dim=-1), payload.norm(dim=-1), rtol=1e-4, atol=1e-4)
    assert not change[1].any()


def test_noise_hits_its_share_and_its_position() -> None:
    s = team_shape(worlds=32)
    network = comms(s, [attack("noise", s, probability=0.3)])
    carry(network, conversation(s, 20))
    sent = int(network.ledger["sent"].sum())
    share = int(network.ledger["tampered"].sum()) / sent
    assert abs(share - 0.3) < 4 * (0.21 / sent) ** 0.5
    exchanges = conversation(s, 3)
    node = comms(s, [attack("noise", s, position="node", node=2)])
    for e, inbox in zip(exchanges, carry(node, exchanges), strict=True):
        clean = comms(s).exchange(e.spoken, e.links, e.step, e.round)
        changed = (heard(inbox) != heard(clean)).any(-1)
        assert torch.equal(changed, (e.links.source == 2) & e.links.present)


# ---- replay


@pytest.mark.parametrize("suppress", [True, False])
@pytest.mark.parametrize("age", [1, 3])
def test_replay_delivers_exactly_what_was_said_age_steps_ago(age: int, suppress: bool) -> None:
    s = team_shape()
    exchanges = conversation(s, 14, seed=1)
    network = comms(s, [attack("replay", s, age=age, suppress=suppress)])
    network.network.trace = []
    inboxes = carry(network, exchanges)
    delivered = 0
    for number, (e, inbox) in enumerate(zip(exchanges, inboxes, strict=True)):
        old = exchanges[number - s.rounds * age]
        for b in range(s.num_worlds):
            in_episode = int(e.step[b]) >= age
            for i in range(s.num_agents):
                for m in range(s.degree):
                    now = bool(e.links.present[b, i, m])
                    expected = in_episode and now and bool(old.links.present[b, i, m])
                    copy = inbox.mask.shape[-1] > s.degree and bool(inbox.mask[b, i, s.degree + m])
                    assert copy == expected, "a copy comes where the link carried a message then and now"
                    assert bool(inbox.mask[b, i, m]) == (now and not (expected and suppress))
                    if copy:
                        said = old.spoken[b, old.links.source[b, i, m]]
                        assert torch.equal(inbox.payload()[b, i, s.degree + m], said)
                        assert (
                            network.network.trace[number].fields["sender"][b, i, s.degree + m]
                            == old.links.source[b, i, m]
                        )
                        delivered += 1
    assert delivered > 50
    assert not network.guards[0].violations


@pytest.mark.parametrize("agents", [6, 16])
def test_replay_reaches_far_back_in_large_teams(agents: int) -> None:
    s = team_shape(worlds=1, agents=agents, degree=agents - 1)
    network = comms(s, [attack("replay", s, age=30)])
    exchanges = conversation(s, 31, closed=0, ends=0)
    inbox = carry(network, exchanges)[-1]
    assert inbox.mask[..., s.degree :].all()
    assert not network.guards[0].violations


@pytest.mark.parametrize("suppress", [True, False])
def test_replay_spends_a_budget_on_whole_replays(suppress: bool) -> None:
    """Taking away and putting back is one deed of two messages; a budget must not be spent on the first half only."""
    s = team_shape()
    network = comms(s, [attack("replay", s, age=1, suppress=suppress, budget={"per_step": 4})])
    carry(network, conversation(s, 5, closed=0, ends=0))
    pairs = 2 if suppress else 4
    assert network.ledger["replayed"].tolist() == [4 * pairs] * s.num_worlds
    assert network.ledger["dropped"].tolist() == [4 * pairs * suppress] * s.num_worlds
    assert not network.guards[0].violations


# ---- impersonate


@pytest.mark.parametrize("copies", [1, 3])
def test_impersonate_at_random_sends_tokens_of_honest_length(copies: int) -> None:
    s = team_shape(worlds=4)
    exchanges = conversation(s, 6, closed=0)
    network = comms(s, [attack("impersonate", s, copies=copies)])
    network.network.trace = []
    for e, inbox, note in zip(exchanges, carry(network, exchanges), network.network.trace, strict=True):
        forged = inbox.mask[..., s.degree :]
        assert forged.shape[-1] == copies
        assert forged.all()
        lengths = inbox.payload()[..., s.degree :, :].norm(dim=-1)
        torch.testing.assert_close(lengths, torch.full_like(lengths, s.width**0.5))
        claimed = torch.as_tensor(note.fields["sender"])[..., s.degree :]
        receiver = torch.arange(s.num_agents).view(1, -1, 1)
        assert (claimed != receiver).all(), "nobody is told that they said something themselves"
        turn = (receiver + 1 + e.step.view(-1, 1, 1) % 3) % s.num_agents
        assert torch.equal(claimed, turn.expand_as(claimed))


def test_impersonate_takes_every_colleagues_name_in_turn_or_the_victims() -> None:
    s = team_shape(worlds=1)
    network = comms(s, [attack("impersonate", s)])
    network.network.trace = []
    carry(network, conversation(s, 3, closed=0, ends=0))
    names = {int(note.fields["sender"][0, 0, s.degree]) for note in network.network.trace}
    assert names == {1, 2, 3}
    network = comms(s, [attack("impersonate", s, victim=2)])
    inboxes = carry(network, conversation(s, 3, closed=0, ends=0))
    assert inboxes[0].mask[0, :, s.degree].tolist() == [True, True, False, True], "the victim itself is spared"


def test_impersonate_stale_repeats_the_victims_first_words_of_the_episode() -> None:
    s = team_shape(worlds=2, agents=3, degree=2)
    exchanges = conversation(s, 12, seed=2, closed=0.3, ends=0.2)
    network = comms(s, [attack("impersonate", s, content="stale", victim=1)])
    first: dict[tuple[int, int], torch.Tensor] = {}
    checked = 0
    for e, inbox in zip(exchanges, carry(network, exchanges), strict=True):
        for b in range(s.num_worlds):
            if int(e.step[b]) == 0 and e.round == 0:
                first = {key: value for key, value in first.items() if key[0] != b}
            overheard = bool(((e.links.source[b] == 1) & e.links.present[b]).any())
            if overheard:
                first.setdefault((b, e.round), e.spoken[b, 1])
            for i in (0, 2):
                listening = bool(e.links.open[b, i])
                extra = inbox.mask.shape[-1] > s.degree and bool(inbox.mask[b, i, s.degree])
                assert extra == (listening and (b, e.round) in first)
                if extra:
                    assert torch.equal(inbox.payload()[b, i, s.degree], first[b, e.round])
                    checked += 1
    assert checked > 20


# ---- pollute, cut, delay, gradient


def chain(s: TeamShape, steps: int, open_: Tensor | None = None) -> list[Exchange]:
    """Everybody hears only the agent before it; the first hears the last."""
    source = ((torch.arange(s.num_agents) - 1) % s.num_agents).view(1, -1, 1).expand(s.num_worlds, -1, 1)
    everybody = torch.ones(s.num_worlds, s.num_agents, dtype=torch.bool)
    links, out = Links(source, everybody if open_ is None else open_), []
    for step in range(steps):
        for kind in range(s.rounds):
            spoken = torch.randn(s.num_worlds, s.num_agents, s.width)
            at = torch.full((s.num_worlds,), step)
            out.append(Exchange(spoken, links, at, kind, torch.zeros(0, dtype=torch.int64)))
    return out


@pytest.mark.parametrize("defended", [False, True])
def test_pollution_goes_along_the_graph_one_agent_a_step(defended: bool) -> None:
    """Those who obey seal what they say with their own keys: seals do not stop it, a shut gate does."""
    s = team_shape(worlds=3, agents=5, degree=1, rounds=1)
    gates = torch.ones(3, 5, dtype=torch.bool)
    gates[2, 3] = False
    made = attack("pollute", s, node=0)
    network = comms(s, [made], known_defenses("authenticate" if defended else "none", s))
    inboxes = carry(network, chain(s, 5, gates))
    spread = [((heard(inbox) - made._word).abs().amax(-1) < 1e-5).any(-1).sum(1).tolist() for inbox in inboxes]
    assert [row[:2] for row in spread] == [[n, n] for n in (1, 2, 3, 4, 5)]
    assert [row[2] for row in spread] == [1, 2, 2, 2, 2], "the one that does not listen passes nothing on"
    assert network.ledger["refused"].sum() == 0


def test_who_half_obeys_is_infected_later() -> None:
    s = team_shape(worlds=400, agents=2, degree=1, rounds=1)
    network = comms(s, [attack("pollute", s, node=0, obedience=0.5)])
    carry(network, chain(s, 3))
    share = float(network.guards[0].memory.tensors["infected"][:, 1].float().mean())
    assert abs(share - 0.75) < 0.1, "two chances of one half"


def test_cut_takes_the_bridge() -> None:
    """Two rings of three, and one link from each to the other: these two are all that connects them."""
    hears = torch.zeros(1, 6, 6, dtype=torch.bool)
    for receiver, sender in ((0, 1), (1, 2), (2, 0), (3, 4), (4, 5), (5, 3), (0, 3)):
        hears[0, receiver, sender] = True
    assert weakest_link(hears).nonzero().tolist() == [[0, 0, 3]]
    assert not weakest_link(torch.zeros(2, 4, 4, dtype=torch.bool)).any()


@pytest.mark.parametrize("edges", [1, 3])
def test_cut_silences_so_many_links(edges: int) -> None:
    s = team_shape(worlds=4, agents=5, degree=2)
    exchanges = conversation(s, 4, closed=0, ends=0)
    network = comms(s, [attack("cut", s, edges=edges)])
    carry(network, exchanges)
    assert network.ledger["dropped"].tolist() == [edges * 4 * s.rounds] * 4


@pytest.mark.parametrize("steps", [1, 3])
def test_delayed_messages_come_unchanged_and_that_late(steps: int) -> None:
    s = team_shape(worlds=2)
    exchanges = conversation(s, 6, closed=0, ends=0)
    same = [replace(e, links=exchanges[0].links) for e in exchanges]
    inboxes = carry(comms(s, [attack("delay", s, steps=steps)]), same)
    for number, inbox in enumerate(inboxes):
        before = number - steps * s.rounds
        assert bool(inbox.mask.any()) == (before >= 0)
        if before >= 0:
            torch.testing.assert_close(heard(inbox), gather_agents(same[before].spoken, same[before].links.source))


def test_a_gradient_beats_noise_of_its_size_and_knows_where_to_push() -> None:
    world, policy = team(worlds=32)
    s = team_shape_of(world, policy)
    graph = policy.topology.graph(None, world.num_worlds)
    observation, at = world.reset(seed=1), torch.zeros(32, dtype=torch.int64)
    clean = decide(policy, observation, graph, comms(s), at, None).logits
    best, worst = clean.argmax(-1, keepdim=True), clean.argmin(-1, keepdim=True)

    def margin(name: str, **arguments: Any) -> float:
        """How far the best action is ahead of the worst, on average."""
        network = comms(s, [attack(name, s, **arguments)])
        logits = decide(policy, observation, graph, network, at, None).logits
        assert not network.guards[0].violations
        return float((logits.gather(-1, best) - logits.gather(-1, worst)).mean())

    noise = margin("noise", epsilon=0.5)
    one, many = (margin("gradient", epsilon=0.5, goal="worst", steps=steps) for steps in (1, 10))
    short = margin("gradient", norm="l2", epsilon=0.5 * s.width**0.5, goal="worst")
    few = margin("gradient", epsilon=0.5, goal="worst", weakest=1)
    assert many <= one + 1e-4 < noise
    assert short < noise, "the same length in whatever direction is best"
    assert many < few < noise, "one message does less than all, and more than chance"


# ---- effect


@pytest.mark.parametrize("form", KINDS)
def test_undefended_receivers_decide_differently(form: str) -> None:
    """Only those who heard something else do, and in the first step only the attacked."""
    world, policy = team(worlds=16)
    s = team_shape_of(world, policy)
    network, clean = comms(s, [known_attack(form, s)]), comms(s)
    graph = policy.topology.graph(None, world.num_worlds)
    world.reset(seed=1)
    moved = 0.0
    for _ in range(5):
        observation, at = world.observe(), world.length.clone()
        a = decide(policy, observation, graph, network, at, None)
        b = decide(policy, observation, graph, clean, at, None)
        if not network.guards[0].spent.any():
            assert torch.equal(a.logits, b.logits)
        moved += float((a.logits - b.logits).abs().sum())
        world.step(b.action, auto_reset=False)
    assert moved > 0.01


@pytest.mark.parametrize("form", KINDS)
def test_attacks_are_reproducible_and_seeded_apart(form: str) -> None:
    """Those that draw at random do something else with another seed, and only those."""
    runs = []
    for seed in (0, 0, 1):
        world, policy = team()
        s, shape = sampler(world, policy, seed=5), team_shape_of(world, policy)
        s.loop.comms = between = comms(shape, [known_attack(form, shape)], seed=seed)
        fresh = between.guards[0].generator.get_state()
        runs.append(s.collect(6).columns["log_probability"])
    assert torch.equal(runs[0], runs[1])
    differs = not torch.equal(runs[0], runs[2])
    assert differs or form not in ("drop", "noise", "drift", "reorder", "hijack_edges strike")
    assert not differs or not torch.equal(fresh, between.guards[0].generator.get_state()), (
        "its seed is all that differs"
    )


# ---- configs


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"budget": {"per_step": -1}}, "budget.per_step: .*at least 0.*-1"),
        ({"budget": {"per_episode": -3}}, "budget.per_episode"),
        ({"budget": {"norm": -0.5}}, "budget.norm"),
        ({"budget": {"norm": float("nan")}}, "budget.norm"),
        ({"budget": {"start_step": -1}}, "budget.start_step"),
        ({"budget": {"perstep": 1}}, "budget.perstep: unknown key; did you mean 'per_step'"),
        ({"bugdet": {}}, "bugdet: unknown key; did you mean 'budget'"),
        ({"budget": 3}, "budget: .*got 3"),
    ],
)
def test_bad_budgets_are_named(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=f"attack 'drop' cannot be used:\n  {says}"):
        registry.build_config("attack", "drop", arguments)


def test_every_attack_has_the_same_budget() -> None:
    for name in registry.names("attack"):
        assert registry.find("attack", name).Config.model_fields["budget"].annotation is Budget, name


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("drop", {"probability": 1.5}, "probability: .*from 0 to 1.*1.5"),
        ("drop", {"links": [[0]]}, r"links\[0\]: must be a list of 2"),
        ("drop", {"links": "all"}, "links: "),
        ("noise", {"epsilon": -1}, "epsilon: .*-1"),
        ("noise", {"epsilon": float("inf")}, "epsilon: .*finite"),
        ("noise", {"position": "hub"}, "position: .*edge or node.*'hub'"),
        ("noise", {"position": "node"}, "position=node needs node="),
        ("noise", {"node": 1}, "node is for position=node only"),
        ("noise", {"position": "node", "node": 1, "links": [[0, 1]]}, "links are for position=edge only"),
        ("noise", {"position": "node", "node": -1}, "node: .*-1"),
        ("replay", {"age": 0}, "age: .*(at least|from) 1"),
        ("impersonate", {"copies": 0}, "copies: "),
        ("impersonate", {"content": "fresh"}, "content: .*random or stale"),
        ("impersonate", {"victm": 1}, "victm: unknown key; did you mean 'victim'"),
    ],
)
def test_bad_arguments_are_named(name: str, arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=f"\n  {says}"):
        registry.build_config("attack", name, arguments)


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("drop", {"links": [[0, 7]]}, r"\[0, 7\] names an agent outside 0 .. 3"),
        ("noise", {"position": "node", "node": 4}, r"0 .. 3, not 4"),
        ("impersonate", {"victim": 4}, r"victim=4 is not an agent in 0 .. 3"),
    ],
)
def test_agents_outside_the_team_are_named(name: str, arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        comms(team_shape(), [attack(name, team_shape(), **arguments)])


def test_configs_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        AttackConfig().budget = None  # type: ignore[misc, assignment]


@pytest.mark.parametrize(
    ("name", "arguments"), [("gradient", {}), ("backdoor", {}), ("leak", {}), ("noise", {}), ("force_gate", {})]
)
def test_the_stricter_of_two_bounds_holds(name: str, arguments: dict[str, Any]) -> None:
    s = team_shape()
    for epsilon, norm in ((0.5, 0.2), (0.2, 0.5), (0.2, None)):
        given = {**arguments, "epsilon": epsilon, "budget": {"norm": norm}}
        assert attack(name, s, **given).threat_model().budget.norm == 0.2
