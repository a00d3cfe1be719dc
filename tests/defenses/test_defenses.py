"""What each defense refuses, what it lets pass, and that it costs nothing on clean traffic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from builders import (
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
)
from forms import KINDS, MESSAGE_FORMS, MISSING, STACKS, kind
from hypothesis import given, settings
from hypothesis import strategies as st
from thinning import thinned
from torch import Tensor

from agentcomm.base import registry
from agentcomm.base.errors import ConfigError
from agentcomm.conformance.conversations import carry, conversation, heard
from agentcomm.contracts.edits import Envelopes, MessageEdits
from agentcomm.contracts.threat_model import Position
from agentcomm.contracts.views import MessageView

S = team_shape()


# ---- clean traffic


@given(
    seed=st.integers(0, 10_000), agents=st.integers(2, 6), rounds=st.integers(1, 3), shut=st.sampled_from([0, 0.3, 0.9])
)
@settings(max_examples=12, deadline=None)
@pytest.mark.parametrize("defenses", [d for d in STACKS if d != "none"])
def test_clean_messages_all_pass(defenses: str, seed: int, agents: int, rounds: int, shut: float) -> None:
    s = team_shape(worlds=5, agents=agents, degree=min(2, agents - 1), rounds=rounds)
    exchanges = conversation(s, 12, seed=seed, closed=shut, ends=0.3)
    network = comms(s, [], known_defenses(defenses, s))
    for a, b in zip(carry(network, exchanges), carry(comms(s), exchanges), strict=True):
        assert same_inbox(a, b)
    assert not network.ledger["refused"].any()


@pytest.mark.parametrize("gate", [None, {"initial_logit": 0.0}])
@pytest.mark.parametrize("defenses", [d for d in STACKS if d != "none"])
def test_clean_rollouts_are_bit_identical(defenses: str, gate: dict[str, float] | None) -> None:
    """Gates shut and worlds start anew at different times."""
    columns = []
    for used in ("none", defenses):
        world, policy = team(64, "predator_prey", world={"size": 2, "predators": 2}, gate=gate)
        s = sampler(world, policy, None, used)
        fragments = [s.collect(15), s.collect(15)]
        assert fragments[1].columns["action"].shape[0] == 15 * 64
        assert 0 < fragments[1].episodes != 64, "worlds start anew at different times"
        assert not s.comms.network.ledger["refused"].any()
        columns.append([value for f in fragments for _, value in sorted(f.columns.items())])
    assert len(columns[0]) == len(columns[1]), "nothing more is recorded, either"
    assert all(torch.equal(a, b) for a, b in zip(*columns, strict=True))


# ---- the matrix: which attacked messages does a defended team still accept?

# MISSING: messages are taken away, and nothing false is accepted, whoever defends.
# Some of each kind, or messages that come late: what becomes of these is asserted where the attack's own tests are.
MIXED = ["tamper swap", "flood", "trickle", "drift", "evade", "evade sometimes", "directive at node"]
MIXED += [form for form in MESSAGE_FORMS if kind(form).powers & {"delay", "reorder"}]
# A compromised agent seals its own lie, and an outsider what it says in its own name. Authentication must let it pass.
OWN = [form for form in MESSAGE_FORMS if kind(form).position == "node" and form not in (*MIXED, *MISSING)]
OWN = [form for form in OWN if form != "abuse wrong audience"] + ["directive"]
# Changed on the wire, or sent in another's name: authentication refuses all of it, nothing else does.
FALSE = [form for form in MESSAGE_FORMS if form not in (*MISSING, *MIXED, *OWN)]
# Each form without and with authentication; what clipping adds to either, one form of each kind.
ASKED = [*MISSING, *FALSE, *OWN]
CROSSED = [f for f in ASKED if f in KINDS]
MATRIX = [*product(ASKED, ("none", "both")), *product(CROSSED, ("clip", "authenticate"))]
# Every form with both; every kind without, and with the one or the other.
FAST = [
    *product(ASKED, ("both",)),
    *product(CROSSED, ("none",)),
    *product(CROSSED[::2], ("clip",)),
    *product(CROSSED[1::2], ("authenticate",)),
]


@pytest.mark.parametrize(("form", "defenses"), thinned(MATRIX, FAST))
def test_matrix_of_verdicts(form: str, defenses: str) -> None:
    s = team_shape(worlds=6)
    network = comms(s, [known_attack(form, s)], known_defenses(defenses, s))
    carry(network, conversation(s, 12, seed=9, closed=0))
    n = network.ledger
    attacked = n["forged"] + n["replayed"] + n["tampered"]
    false = n["accepted_forged"] + n["accepted_replayed"] + n["accepted_tampered"]
    honest = n["sent"] - n["dropped"] - n["tampered"]
    assert (attacked.sum() > 0) == (form not in MISSING)
    if form in OWN or defenses in ("none", "clip"):
        assert torch.equal(false, attacked)
        assert not n["refused"].any()
    else:
        assert not false.any()
        assert torch.equal(n["refused"], attacked)
    assert torch.equal(n["accepted"] - false, honest), "no honest message is refused for an attack on another"


# ---- authenticate


def test_a_compromised_agents_own_lie_passes() -> None:
    """The limit of authentication, and the reason for the defenses after it."""
    exchanges = conversation(S, 4, closed=0)
    network = comms(S, [attack("noise", S, position="node", node=1)], [defense("authenticate", S)])
    for e, inbox in zip(exchanges, carry(network, exchanges), strict=True):
        assert inbox.mask.all()
        lie = e.links.source == 1
        assert ((heard(inbox) - comms(S).exchange(e.spoken, e.links, e.step, e.round).payload()).abs().amax(-1) > 1)[
            lie
        ].all()


def echo(alter: Callable[[dict[str, Any], MessageView], dict[str, Any]], play_at: int, record_at: int = 0) -> Scripted:
    """An attacker on all links with every power but keys: keeps what was on them once, alters and sends it."""
    kept: dict[str, Any] = {}

    def edits(view: MessageView) -> MessageEdits:
        step, first = int(view.step.max()), view.round == 0
        if step == record_at and first:
            for name in ("sender", "audience", "sequence", "sent_at", "sent_round", "key", "seal"):
                kept[name] = getattr(view, name)[..., :1].clone()
            kept["payload"], kept["where"] = view.payload[..., :1, :].clone(), view.reach[..., :1].clone()
        if step == play_at and first:
            return MessageEdits(inject=Envelopes(**alter(dict(kept), view)))
        return MessageEdits()

    return Scripted(S, ["read", "inject"], edits)


def accepted(attack_: Scripted, window: int = 1, steps: int = 4) -> tuple[int, Tensor]:
    network = comms(S, [attack_], [defense("authenticate", S, window=window)])
    inboxes = carry(network, conversation(S, steps, closed=0, ends=0))
    assert network.ledger["forged"].sum() > 0
    assert torch.equal(network.ledger["accepted"] - network.ledger["accepted_forged"], network.ledger["sent"])
    return int(network.ledger["accepted_forged"].sum()), inboxes[-1].mask


@pytest.mark.parametrize("age", [0, 1, 2])
def test_copies_are_refused_at_any_age(age: int) -> None:
    assert accepted(echo(lambda kept, view: kept, play_at=1 + age, record_at=1), window=5)[0] == 0


@pytest.mark.parametrize(
    ("field", "by"),
    [("sequence", 50), ("sent_at", 1), ("sent_round", 1), ("sender", 1), ("audience", 1), ("key", 1), ("seal", 1)],
)
def test_freshened_copies_are_refused(field: str, by: int) -> None:
    def alter(kept: dict[str, Any], view: MessageView) -> dict[str, Any]:
        return kept | {field: kept[field] + by}

    assert accepted(echo(alter, play_at=1), window=5)[0] == 0


def test_a_message_for_another_is_refused() -> None:
    """Redirected word for word: the seal is good and the sender true, but it was not written for this receiver."""
    seen: list[Tensor] = []

    def redirect(kept: dict[str, Any], view: MessageView) -> dict[str, Any]:
        moved = {name: value.roll(1, 1) for name, value in kept.items()}
        seen.append(moved["audience"])
        return moved

    assert accepted(echo(redirect, play_at=2, record_at=2))[0] == 0
    receiver = torch.arange(S.num_agents).view(1, -1, 1)
    assert torch.equal(seen[0], ((receiver - 1) % S.num_agents).expand_as(seen[0]))


def hold_back(steps: int) -> Scripted:
    """Takes the messages of step 1 in everybody's first slot off the wire and delivers round 0's later."""
    kept: dict[str, Any] = {}

    def edits(view: MessageView) -> MessageEdits:
        taken = torch.zeros_like(view.reach)
        if int(view.step.max()) == 1 and view.round == 0:
            for name in ("sender", "audience", "sequence", "sent_at", "sent_round", "key", "seal"):
                kept[name] = getattr(view, name)[..., :1].clone()
            kept["payload"], kept["where"] = view.payload[..., :1, :].clone(), view.reach[..., :1].clone()
        if int(view.step.max()) == 1:
            taken = view.reach & (torch.arange(view.reach.shape[-1]) == 0)
        if int(view.step.max()) == 1 + steps and view.round == (1 if steps == 0 else 0):
            return MessageEdits(drop=taken, inject=Envelopes(**kept))
        return MessageEdits(drop=taken)

    return Scripted(S, ["read", "drop", "replay"], edits)


@pytest.mark.parametrize(
    ("window", "late", "passes"), [(0, 1, False), (1, 1, True), (1, 2, False), (2, 2, True), (3, 4, False)]
)
def test_held_back_messages_pass_only_within_the_window(window: int, late: int, passes: bool) -> None:
    """A message that never arrived is no replay when it comes late: the window says how late it may be.

    It must also be the newest of its sender so far, so the attacker has to hold back all that followed.
    """
    network = comms(S, [hold_back(late)], [defense("authenticate", S, window=window)])
    carry(network, [e for e in conversation(S, 7, closed=0, ends=0) if e.step.max() not in range(2, 1 + late)])
    assert network.ledger["dropped"].sum() == 2 * S.num_worlds * S.num_agents
    assert network.ledger["accepted_replayed"].sum() == passes * S.num_worlds * S.num_agents


def test_a_held_back_message_is_not_read_in_another_round() -> None:
    """Rounds carry different things: an observation's token must not pass for the encoder's."""

    network = comms(S, [hold_back(0)], [defense("authenticate", S)])
    carry(network, conversation(S, 3, closed=0, ends=0))
    assert network.ledger["replayed"].sum() == S.num_worlds * S.num_agents
    assert not network.guards[0].violations
    assert not network.ledger["accepted_replayed"].any()


@pytest.mark.parametrize("copies", [2, 4])
def test_of_equal_messages_in_one_inbox_the_first_counts(copies: int) -> None:
    """A compromised agent sends the same sealed message several times at once."""

    def edits(view: MessageView) -> MessageEdits:
        one = forge(view, S, sender=1)
        fields = {
            n: getattr(one, n).repeat_interleave(copies, 2)
            for n in Envelopes.__dataclass_fields__
            if n not in ("sign", "expiry", "hops")
        }
        fields["sequence"] = fields["sequence"] + 1000
        return MessageEdits(inject=Envelopes(**fields, sign=True))

    node = Scripted(S, ["inject"], edits, Position(kind="node", node=1), injections=copies)
    network = comms(S, [node], [defense("authenticate", S)])
    e = conversation(S, 1, closed=0)[0]
    inbox = network.exchange(e.spoken, e.links, e.step, 0)
    assert inbox.mask[..., S.degree :].sum(-1).eq(1).all()
    assert inbox.mask[..., S.degree].all()
    assert inbox.mask[..., : S.degree].all(), "its ordinary message has another number"


@pytest.mark.parametrize("at", [1, 100])
def test_messages_from_the_future_are_refused(at: int) -> None:
    """Otherwise a compromised agent could sell today what it may say tomorrow, when nobody trusts it any more."""

    def edits(view: MessageView) -> MessageEdits:
        made = forge(view, S, sender=1)
        return MessageEdits(inject=replace(made, sent_at=made.sent_at + at, sequence=made.sequence + 2 * at, sign=True))

    node = Scripted(S, ["inject"], edits, Position(kind="node", node=1))
    network = comms(S, [node], [defense("authenticate", S)])
    carry(network, conversation(S, 3, closed=0))
    assert not network.ledger["accepted_forged"].any()


def test_forgeries_do_not_burn_sequence_numbers() -> None:
    """A forged message with a high number must not lock out the sender it names."""

    def edits(view: MessageView) -> MessageEdits:
        return MessageEdits(inject=replace(forge(view, S), sequence=torch.full((S.num_worlds, 4, 1), 2**40), sign=True))

    network = comms(S, [Scripted(S, ["inject"], edits)], [defense("authenticate", S)])
    carry(network, conversation(S, 6))
    assert torch.equal(network.ledger["accepted"], network.ledger["sent"])


# ---- clip


@pytest.mark.parametrize("radius", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("epsilon", [0.1, 5.0, 1e6])
def test_clip_bounds_the_length(radius: float, epsilon: float) -> None:
    network = comms(S, [attack("noise", S, epsilon=epsilon)], [defense("clip", S, radius=radius)])
    exchanges = conversation(S, 4)
    raw = carry(comms(S, [attack("noise", S, epsilon=epsilon)]), exchanges)
    for inbox, before in zip(carry(network, exchanges), raw, strict=True):
        length, was = heard(inbox).norm(dim=-1), heard(before).norm(dim=-1)
        limit = radius * S.width**0.5
        assert (length <= 1.01 * limit + 1e-5).all()
        short = was <= limit
        torch.testing.assert_close(length[short], was[short])
        assert torch.cosine_similarity(heard(inbox), heard(before), dim=-1)[before.mask].min() > 0.999, "only shorter"


def test_clip_takes_nothing_back_of_adaptive_noise() -> None:
    arguments = {"epsilon": 1.0, "adaptive": True}
    exchanges = conversation(S, 4)
    clipped = carry(comms(S, [attack("noise", S, **arguments)], [defense("clip", S)]), exchanges)
    open_ = carry(comms(S, [attack("noise", S, **arguments)]), exchanges)
    assert all(same_inbox(a, b) for a, b in zip(clipped, open_, strict=True))
    plain = carry(comms(S, [attack("noise", S, epsilon=1.0)], [defense("clip", S)]), exchanges)
    assert all(i.scale is not None for i in plain), "while plain noise is cut"


@pytest.mark.parametrize("huge", [1e10, 1e25, 3e38])
def test_clip_survives_lengths_that_overflow(huge: float) -> None:
    exchanges = conversation(S, 2)
    network = comms(S, [attack("noise", S, epsilon=huge)], [defense("clip", S)])
    for inbox in carry(network, exchanges):
        assert heard(inbox).isfinite().all()
        assert (heard(inbox).norm(dim=-1) <= 1.02 * S.width**0.5).all()


# ---- configs


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("authenticate", {"window": -1}, "window: .*from 0 to 64"),
        ("authenticate", {"windw": 1}, "windw: unknown key; did you mean 'window'"),
        ("clip", {"radius": 0}, "radius: .*above 0"),
        ("clip", {"radius": float("nan")}, "radius: "),
        ("clip", {"radius": "big"}, "radius: .*number.*'big'"),
    ],
)
def test_bad_arguments_are_named(name: str, arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=f"defense '{name}' cannot be used:\n  {says}"):
        registry.build_config("defense", name, arguments)
