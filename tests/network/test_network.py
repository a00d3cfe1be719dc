"""Order of stages, books that balance, state per world, and nothing done where nothing is allowed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from builders import (
    Attacked,
    Scripted,
    attack,
    comms,
    defense,
    forge,
    known_attack,
    known_defenses,
    same_inbox,
    sampler,
    team,
    team_shape,
    team_shape_of,
)
from forms import KINDS, PAIRS, attack_forms
from thinning import thinned

from agentcomm.conformance.conversations import carry, conversation, heard, reader, rewind, same_heard
from agentcomm.contracts.defense import ORDERS, Defense, DefenseConfig
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.threat_model import Budget, Position
from agentcomm.contracts.topology import Graph
from agentcomm.contracts.verdicts import Delivered, Verdicts
from agentcomm.contracts.views import MessageView
from agentcomm.network.record import Fate
from agentcomm.step.decide import decide


def build(s: TeamShape, form: str | None, defenses: str = "none", seed: int = 0, **more: Any) -> Attacked:
    return comms(s, [] if form is None else [known_attack(form, s, **more)], known_defenses(defenses, s), seed)


# ---- order


def test_compromised_agents_act_before_seals_and_the_wire_after() -> None:
    s = team_shape()
    e = conversation(s, 1, closed=0)[0]

    def shift(view: MessageView) -> MessageEdits:
        return MessageEdits(modify=view.reach, change=torch.ones(*view.reach.shape, s.width))

    node = Scripted(s, ["modify"], shift, Position(kind="node", node=0), injections=0)
    wire = Scripted(s, ["modify"], shift, Position(kind="edge", links=((1, 0), (1, 2), (1, 3))), injections=0)
    # The order in which they are given makes no difference.
    for attacks in ([node, wire], [wire, node]):
        network = comms(s, attacks, [defense("authenticate", s)])
        inbox = network.exchange(e.spoken, e.links, e.step, 0)
        assert torch.equal(inbox.mask, e.links.source != 1), "a lie that its teller sealed passes, tampering does not"
        lied = e.links.source == 0
        assert torch.allclose(
            heard(inbox)[lied], e.spoken[:, 0].view(-1, 1, 1, s.width).expand_as(heard(inbox))[lied] + 1
        )


class Recorder(Defense):
    """Notes when it was asked."""

    calls: list[str]

    def __init__(self, s: TeamShape, order: str, calls: list[str]) -> None:
        super().__init__(DefenseConfig(), s)
        self.name = self.order = order  # type: ignore[misc, assignment]
        self.calls = calls

    def screen(self, delivered: Delivered, memory: dict[str, torch.Tensor]) -> Verdicts:
        self.calls.append(self.order)
        return Verdicts(refuse=delivered.present & (delivered.sender == 0))


def test_defenses_run_in_their_fixed_order_and_refuse_once() -> None:
    s, calls = team_shape(), list[str]()
    network = comms(s, [], [Recorder(s, order, calls) for order in reversed(ORDERS)])
    e = conversation(s, 1, closed=0)[0]
    network.exchange(e.spoken, e.links, e.step, 0)
    assert tuple(calls) == ORDERS
    assert torch.equal(network.ledger.refused_by["schema"], (e.links.source == 0).sum((1, 2)))
    assert not network.ledger.refused_by["authenticate"].any(), "what is refused already is not refused again"


class Judge(Defense):
    """Remembers what it was told of seals, after others have changed payloads."""

    name, order, needs_seal = "judge", "audit", True

    def screen(self, delivered: Delivered, memory: dict[str, torch.Tensor]) -> Verdicts:
        self.saw = delivered.sealed_by_sender | ~delivered.present
        return Verdicts()


def test_seals_are_judged_as_messages_arrived() -> None:
    s = team_shape()
    judge = Judge(DefenseConfig(), s)
    network = comms(s, [], [judge, defense("clip", s, radius=0.5)])
    e = conversation(s, 1)[0]
    inbox = network.exchange(e.spoken, e.links, e.step, 0)
    assert inbox.scale is not None, "clip shortened something"
    assert judge.saw.all()


# ---- books


@pytest.mark.parametrize(("form", "defenses"), thinned(PAIRS, PAIRS[0::3]))
def test_books_balance(form: str, defenses: str) -> None:
    s = team_shape()
    network = build(s, form, defenses)
    network.network.trace = []
    exchanges = conversation(s, 14, seed=1)
    inboxes = carry(network, exchanges)
    n = network.ledger
    assert torch.equal(n["sent"], torch.stack([e.links.present.sum((1, 2)) for e in exchanges]).sum(0))
    assert torch.equal(n["accepted"], torch.stack([i.mask.sum((1, 2)) for i in inboxes]).sum(0))
    network.reset(torch.arange(s.num_worlds))  # what is still kept back will never come
    late = n["late"]
    assert torch.equal(n["sent"] + n["forged"] + n["replayed"], n["dropped"] + late + n["refused"] + n["accepted"])
    refused = n.refused_by.values()
    assert torch.equal(n["refused"], torch.stack(list(refused)).sum(0) if refused else torch.zeros_like(n["refused"]))
    assert (n["accepted_forged"] <= n["forged"]).all()
    assert (n["accepted_replayed"] <= n["replayed"]).all()
    assert (n["accepted_tampered"] <= n["tampered"]).all()
    assert (n["accepted_forged"] + n["accepted_tampered"] <= n["accepted"]).all()
    assert (n["dropped"] + n["delayed"] + n["tampered"] + n["forged"] + n["replayed"]).sum() > 0, (
        "the attack did something"
    )
    # The trace tells the same story.
    fates = torch.cat([torch.as_tensor(note.fields["fate"]) for note in network.network.trace], 2)
    for fate in (Fate.DROPPED, Fate.TAMPERED, Fate.FORGED, Fate.REPLAYED):
        assert torch.equal((fates == fate).sum((1, 2)), n[str(fate)])
    sizes = torch.cat([torch.as_tensor(note.fields["size"]) for note in network.network.trace], 2)
    if not late.any():  # a size is noted where it was sent and where it came
        assert torch.equal((sizes * (fates > 0)).sum((1, 2)), n.bytes)
    silent = (fates == Fate.DROPPED) & (sizes == 0)  # what a compromised sender does not let out
    assert (sizes[(fates > 0) & ~silent] > 4 * s.width).all(), "headers count, too"
    taken = torch.cat([torch.as_tensor(note.fields["accepted"]) for note in network.network.trace], 2)
    assert torch.equal(taken.sum((1, 2)), n["accepted"])


def test_what_a_second_attack_takes_away_was_not_delivered_tampered() -> None:
    s = team_shape()
    network = comms(s, [attack("noise", s), attack("drop", s)])
    carry(network, conversation(s, 3))
    assert not network.ledger["tampered"].any()
    assert torch.equal(network.ledger["dropped"], network.ledger["sent"])


def test_a_quiet_network_counts_like_one_with_stages() -> None:
    s = team_shape()
    exchanges = conversation(s, 5)
    quiet, traced = comms(s), comms(s)
    traced.network.trace = []
    first, second = carry(quiet, exchanges), carry(traced, exchanges)
    assert all(same_inbox(a, b) for a, b in zip(first, second, strict=True))
    assert torch.equal(quiet.ledger.messages, traced.ledger.messages)
    assert torch.equal(quiet.ledger.bytes, traced.ledger.bytes)


# ---- state per world


@pytest.mark.parametrize(("form", "defenses"), thinned(PAIRS, PAIRS[1::3]))
def test_state_continues_bit_for_bit(form: str, defenses: str) -> None:
    s = team_shape()
    exchanges = conversation(s, 12, seed=2)
    network, other = build(s, form, defenses), build(s, form, defenses)
    carry(network, exchanges[:13])
    carry(other, conversation(s, 5, seed=3))
    saved = network.snapshot()
    expected = carry(network, exchanges[13:])
    other.restore(saved)
    assert all(same_inbox(a, b) for a, b in zip(expected, carry(other, exchanges[13:]), strict=True))
    assert torch.equal(network.ledger.messages, other.ledger.messages)
    assert torch.equal(network.ledger.bytes, other.ledger.bytes)
    assert network.ledger.refused_by.keys() == other.ledger.refused_by.keys()
    assert [g.violations for g in network.guards] == [g.violations for g in other.guards]


@pytest.mark.parametrize(("form", "defenses"), thinned(PAIRS, PAIRS[2::3]))
def test_resetting_one_world_leaves_the_others_alone(form: str, defenses: str) -> None:
    """World 1 ends its episode or not: worlds 0 and 2 never notice, although all draw from one generator."""
    s = team_shape()
    exchanges = conversation(s, 12, seed=4, ends=0)
    network, other = build(s, form, defenses), build(s, form, defenses)
    for number, e in enumerate(exchanges):
        a = network.exchange(e.spoken, e.links, e.step, e.round, reader)
        b = other.exchange(e.spoken, e.links, e.step, e.round, reader)
        assert same_heard([a], [b], [0, 2])
        if number == 11:
            other.reset(torch.tensor([1]))


@pytest.mark.parametrize(("form", "defenses"), thinned(PAIRS, PAIRS[0::3]))
def test_a_reset_world_is_like_new(form: str, defenses: str) -> None:
    s = team_shape()
    network, new = build(s, form, defenses), build(s, form, defenses)
    carry(network, conversation(s, 9, seed=5, ends=0))
    network.reset(torch.arange(s.num_worlds))
    rewind(network, new)
    exchanges = conversation(s, 6, seed=6, ends=0)
    assert same_heard(carry(network, exchanges), carry(new, exchanges))


@pytest.mark.parametrize(("form", "defenses"), thinned(PAIRS, PAIRS[1::3]))
def test_worlds_do_not_hear_of_each_other(form: str, defenses: str) -> None:
    """What is said in world 1 changes nothing in worlds 0 and 2."""
    s = team_shape()
    network, other = build(s, form, defenses), build(s, form, defenses)
    for e in conversation(s, 10, seed=7):
        spoken = e.spoken.clone()
        spoken[1] = -3 * spoken[1].flip(0)
        a = network.exchange(e.spoken, e.links, e.step, e.round, reader)
        b = other.exchange(spoken, e.links, e.step, e.round, reader)
        assert same_heard([a], [b], [0, 2])
        for n in (network, other):
            n.reset(e.ended)


# ---- nothing allowed, nothing done

# That every form of attack without a budget leaves inboxes alone is part of its conformance.
NEVER: list[tuple[str, dict[str, Any]]] = [
    *((form, {"budget": {"per_episode": 0}}) for form in KINDS),
    *((form, {"probability": 0}) for form in KINDS if "probability" in attack_forms()[form][1]),
]


@pytest.mark.parametrize(
    "more", [{"budget": {"per_step": 0}}, {"budget": {"per_episode": 0}}, {"budget": {"start_step": 10_000}}]
)
def test_without_budget_no_slots_are_spare(more: dict[str, Any]) -> None:
    s = team_shape()
    exchanges = conversation(s, 10)
    network = build(s, "impersonate", **more)
    for a, b in zip(carry(network, exchanges), carry(comms(s), exchanges), strict=True):
        assert same_inbox(a, b)
        assert a.mask.shape[-1] == s.degree
    assert network.ledger["accepted"].equal(network.ledger["sent"])


def decided(form: str | None, **more: Any) -> list[torch.Tensor]:
    """All that a team under attack decides and records, at random and greedily. Without a form there is no attack."""
    world, policy = team(worlds=4, gate={"initial_logit": 0.5})
    s = sampler(world, policy, form, **more)
    fragments = [s.collect(9), s.collect(9)]
    columns = [value for f in fragments for _, value in sorted(f.columns.items())]
    graph = policy.topology.graph(None, world.num_worlds)
    observation = world.reset(seed=5)
    s.comms.reset(torch.arange(world.num_worlds))
    for _ in range(9):
        d = decide(policy, observation, graph, s.comms, world.length.clone(), None)
        step = world.step(d.action)
        s.comms.reset(step.finished)
        observation = step.observation
        columns += [d.logits, d.value, d.log_probability, observation]
    assert (form is None) == (not s.comms.adversary.guards)
    return columns


@pytest.fixture(scope="module")
def clean() -> list[torch.Tensor]:
    return decided(None)


@pytest.mark.parametrize(("form", "more"), NEVER)
def test_without_budget_runs_are_bit_identical(clean: list[torch.Tensor], form: str, more: dict[str, Any]) -> None:
    columns = decided(form, **more)
    assert len(clean) == len(columns)
    assert all(torch.equal(a, b) for a, b in zip(clean, columns, strict=True))


def test_the_same_attack_with_a_budget_does_change_the_run() -> None:
    """Otherwise the tests above would say nothing."""

    def run(form: str | None) -> torch.Tensor:
        return sampler(*team(worlds=4), form).collect(12).columns["log_probability"]

    clean = run(None)
    for form in KINDS:
        assert not torch.equal(clean, run(form)), form


def test_clean_and_attacked_runs_share_their_episodes() -> None:
    """The world's generator hears nothing of the attack: the first episodes start alike whatever it does."""
    starts = []
    for form in (None, "noise", "impersonate"):
        world, policy = team()
        starts.append(sampler(world, policy, form).loop.observation)
    assert torch.equal(starts[0], starts[1])
    assert torch.equal(starts[0], starts[2])


# ---- spare slots


def test_spare_slots_are_left_out_of_exchanges_without_injections() -> None:
    s = team_shape()

    def edits(view: MessageView) -> MessageEdits:
        inject = forge(view, s)
        inject.where[:] = view.step.view(-1, 1, 1) == 3
        return MessageEdits(inject=inject)

    network = comms(s, [Scripted(s, ["inject"], edits)])
    for e, inbox in zip(exchanges := conversation(s, 6, closed=0, ends=0), carry(network, exchanges), strict=True):
        extra = int(e.step[0] == 3)
        assert inbox.mask.shape[-1] == inbox.source.shape[-1] == s.degree + extra


def test_refused_injections_are_left_out_too() -> None:
    s = team_shape()
    network = build(s, "impersonate", "authenticate")
    for inbox in carry(network, conversation(s, 4)):
        assert inbox.mask.shape[-1] == s.degree
        assert inbox.delta is None or inbox.delta.shape[2] == s.degree
    assert network.ledger["forged"].sum() > 0


def test_a_shut_gate_hears_no_injections_either() -> None:
    s = team_shape()
    network = build(s, "impersonate")
    exchanges = conversation(s, 6, closed=0.5)
    for e, inbox in zip(exchanges, carry(network, exchanges), strict=True):
        assert not inbox.mask[~e.links.open].any()
    assert network.ledger.refused_by["gate"].sum() > 0


@pytest.mark.parametrize("huge", [1e30, 3e38])
def test_refused_payloads_leave_nothing_behind(huge: float) -> None:
    """A float that overflows in the receiver's layers would poison it with NaN through a mask."""
    world, policy = team()
    s = team_shape_of(world, policy)

    def edits(view: MessageView) -> MessageEdits:
        return MessageEdits(
            modify=view.reach,
            change=torch.full((*view.reach.shape, s.width), huge),
            inject=forge(view, s, payload=torch.full((s.num_worlds, s.num_agents, 1, s.width), -huge)),
        )

    network = comms(s, [Scripted(s, ["modify", "inject"], edits)], [defense("authenticate", s)])
    observation = world.reset(seed=0)
    graph = policy.topology.graph(None, world.num_worlds)
    attacked = decide(policy, observation, graph, network, world.length, None)
    assert network.ledger["refused"].sum() > 0
    assert not network.ledger["accepted"].any()
    alone = decide(policy, observation, Graph(graph.source[..., :0]), None, world.length, None)
    torch.testing.assert_close(attacked.logits, alone.logits)


def test_forged_messages_count_as_the_claimed_senders_for_the_receiver() -> None:
    """The graph's relation to the sender enters attention; a newcomer is nobody's neighbor."""
    s = team_shape()
    for sender in range(s.num_agents + 1):
        network = comms(
            s,
            [
                Scripted(
                    s,
                    ["inject"],
                    lambda v, j=sender: MessageEdits(inject=forge(v, s, sender=j)),
                    Position(kind="newcomer"),
                )
            ],
        )
        e = conversation(s, 1, closed=0)[0]
        source = network.exchange(e.spoken, e.links, e.step, 0).source[..., s.degree]
        receivers = torch.arange(s.num_agents).expand_as(source)
        assert torch.equal(source, torch.full_like(source, sender) if sender < s.num_agents else receivers)


def test_injections_of_several_attacks_lie_side_by_side() -> None:
    s = team_shape()
    attacks = [attack("impersonate", s, copies=2), attack("replay", s, age=1), attack("impersonate", s, copies=3)]
    network = comms(s, attacks)
    assert [g.slots for g in network.adversary.message_guards] == [slice(2, 4), slice(4, 6), slice(6, 9)]
    assert network.spare == 7
    inboxes = carry(network, conversation(s, 4, closed=0, ends=0))
    assert inboxes[-1].mask.shape[-1] == 9
    assert inboxes[-1].mask[..., 2:].all(), "all injections arrived, and suppressed messages did not"


def test_budget_is_shared_by_the_rounds_of_a_step() -> None:
    s = team_shape()
    network = comms(s, [attack("drop", s, budget=Budget(per_step=3).model_dump())])
    carry(network, conversation(s, 5, closed=0, ends=0))
    assert network.ledger["dropped"].tolist() == [15] * s.num_worlds
