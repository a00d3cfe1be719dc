"""authenticate: delayed and overtaken messages pass once, copies never (RFC 4303, section 3.4.3)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from builders import Attacked, Scripted, attack, channel, comms, defense, forge, team_shape
from torch import Tensor

from agentcomm.conformance.conversations import carry, conversation
from agentcomm.contracts.edits import Envelopes, MessageEdits
from agentcomm.contracts.threat_model import Position
from agentcomm.contracts.views import MessageView
from agentcomm.defenses import authenticate

S = team_shape()
FIELDS = ("sender", "audience", "sequence", "sent_at", "sent_round", "key", "seal")
TALK = conversation(S, 12, closed=0, ends=0)


@pytest.fixture(params=[128, 0], ids=["windows", "log"])
def books(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What receivers of small and of large teams keep of accepted messages."""
    monkeypatch.setattr(authenticate, "MOST_BY_SENDER", request.param)


def counts(network: Attacked) -> dict[str, int]:
    return {name: int(network.ledger[name].sum()) for name in ("sent", "accepted", "refused", "late", "lost")}


@pytest.mark.usefixtures("books")
@pytest.mark.parametrize("transport", ["batch", "objects"])
def test_overtaken_honest_messages_pass(transport: str) -> None:
    """Half of the messages take two steps: every sender's numbers arrive out of order."""
    delay = attack("delay", S, steps=2, probability=0.5)
    network = comms(S, [delay], [defense("authenticate", S, window=2)], transport=transport)
    carry(network, TALK if transport == "batch" else TALK[:12])
    n = network.ledger
    assert int(n["delayed"].sum()) > 20
    assert not n["refused"].any(), "delay is no replay"
    network.reset(torch.arange(S.num_worlds))
    assert torch.equal(n["accepted"], n["sent"] - n["late"])


@pytest.mark.usefixtures("books")
@pytest.mark.parametrize(("window", "passes"), [(1, False), (2, True)])
def test_freshness_says_how_late_a_message_may_be(window: int, passes: bool) -> None:
    network = comms(S, [attack("delay", S, steps=2)], [defense("authenticate", S, window=window)])
    carry(network, TALK)
    assert (counts(network)["accepted"] > 0) == passes
    assert (counts(network)["refused"] == 0) == passes


@pytest.mark.usefixtures("books")
def test_a_channel_with_jitter_costs_nothing() -> None:
    slow = channel("delay", S, S.degree, seconds=0.15, jitter=0.15)
    open_ = comms(S, [], [], channels=[slow], seed=1)
    guarded = comms(S, [], [defense("authenticate", S, window=16)], channels=[slow], seed=1)
    a, b = carry(open_, TALK), carry(guarded, TALK)
    assert all(torch.equal(one.mask, other.mask) for one, other in zip(a, b, strict=True))
    assert int(open_.ledger.steps.sum()) > 0


def replaying(ages: tuple[int, ...]) -> Scripted:
    """Copies every sender's first-slot message of round 0 and sends it again after some steps."""
    kept: dict[int, dict[str, Any]] = {}

    def edits(view: MessageView) -> MessageEdits:
        step = int(view.step.max())
        if view.round:
            return MessageEdits()
        kept[step] = {name: getattr(view, name)[..., :1].clone() for name in FIELDS}
        kept[step] |= {"payload": view.payload[..., :1, :].clone(), "where": view.reach[..., :1].clone()}
        old = [kept[step - age] for age in ages if step - age in kept]
        if len(old) < len(ages):
            return MessageEdits()
        return MessageEdits(
            inject=Envelopes(**{n: torch.cat([k[n] for k in old], 2) for n in (*FIELDS, "payload", "where")})
        )

    return Scripted(S, ["read", "replay"], edits, injections=len(ages))


@pytest.mark.usefixtures("books")
@pytest.mark.parametrize("window", [1, 4, 16])
@pytest.mark.parametrize("ages", [(0,), (1, 1), (3, 2, 1), (5,)])
def test_copies_are_refused_whatever_their_order(window: int, ages: tuple[int, ...]) -> None:
    network = comms(S, [replaying(ages)], [defense("authenticate", S, window=window)])
    carry(network, TALK)
    n = network.ledger
    assert int(n["replayed"].sum()) > 0
    assert not n["accepted_replayed"].any()
    assert torch.equal(n["accepted"], n["sent"]), "no honest message is refused for its copies"


@pytest.mark.usefixtures("books")
def test_copies_of_delayed_messages_pass_once_at_most() -> None:
    delay, copies = attack("delay", S, steps=2, probability=0.5), replaying((1, 3))
    network = comms(S, [copies, delay], [defense("authenticate", S, window=4)])
    seen: set[tuple[int, ...]] = set()
    for e in TALK:
        network.network.trace = []
        carry(network, [e])
        for record in network.network.trace:
            f = record.fields
            for at in zip(*f["accepted"].nonzero(), strict=True):
                name = (int(at[0]), int(at[1]), int(f["sender"][at]), int(f["sequence"][at]))
                assert name not in seen, "the same message is heard twice"
                seen.add(name)
    assert len(seen) > 100


def numbered(numbers: list[int]) -> Tensor:
    """Which messages with these sequence numbers, one per step, agent 1 gets past the window."""
    s = team_shape(worlds=1, rounds=1)

    def edits(view: MessageView) -> MessageEdits:
        made = forge(view, s, sender=1, sequence=numbers[int(view.step[0])])
        return MessageEdits(drop=view.reach, inject=Envelopes(**{**vars(made), "sign": True}))

    node = Scripted(s, ["inject", "drop"], edits, Position(kind="node", node=1))
    network = comms(s, [node], [defense("authenticate", s, window=7)])
    out = carry(network, conversation(s, len(numbers), closed=0, ends=0))
    return torch.stack([inbox.mask[0, 0, -1] & (inbox.mask.shape[2] > s.degree) for inbox in out])


def test_the_window_slides_with_the_highest_number() -> None:
    """As in RFC 6347: right of it, it slides; inside, once; left of it, never. It has eight places."""
    numbers = [10, 10, 14, 11, 11, 14, 7, 6, 30, 22, 23, 23]
    passes = [True, False, True, True, False, False, True, False, True, False, True, False]
    assert numbered(numbers).tolist() == passes


def test_windows_are_saved_and_reset() -> None:
    def build() -> Attacked:
        return comms(S, [replaying((1,))], [defense("authenticate", S, window=4)])

    network = build()
    carry(network, TALK[:8])
    memory = network.network.memories[0].tensors
    assert int((memory["seen"] >= 0).sum()) > 0
    again = comms(S, [], [defense("authenticate", S, window=4)])
    again.network.memories[0].restore(network.network.memories[0].snapshot())
    assert all(torch.equal(value, again.network.memories[0].tensors[name]) for name, value in memory.items())
    network.network.reset(torch.tensor([1]))
    assert int((memory["seen"][1] >= 0).sum()) == 0
    assert int((memory["seen"][0] >= 0).sum()) > 0


def test_a_log_is_emptied_with_its_world_and_bounds_what_one_exchange_brings(monkeypatch: pytest.MonkeyPatch) -> None:
    """What finds no place in the log is rejected; messages on links come first."""
    monkeypatch.setattr(authenticate, "MOST_BY_SENDER", 0)
    monkeypatch.setattr(authenticate, "SHARE", 1)
    s = team_shape(worlds=2, rounds=1)

    def edits(view: MessageView) -> MessageEdits:
        return MessageEdits(inject=Envelopes(**{**vars(forge(view, s, sender=1, sequence=500)), "sign": True}))

    node = Scripted(s, ["inject"], edits, Position(kind="node", node=1))
    network = comms(s, [node], [defense("authenticate", s)])
    carry(network, conversation(s, 1, closed=0, ends=0))
    assert torch.equal(network.ledger["accepted"], network.ledger["sent"])
    memory = network.network.memories[0].tensors
    assert ((memory["sender"] >= 0).sum((2, 3)) == s.degree).all()
    network.network.reset(torch.tensor([1]))
    assert (memory["sender"][0] >= 0).any()
    assert not (memory["sender"][1] >= 0).any()
