"""Copies and names: only what was seen can be replayed, and nobody signs with another's key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from builders import Attacked, Scripted, comms, defense, forge, same_inbox
from guarded import EDGE, HEADER, NEWCOMER, S, attacked, clean, ring
from torch import Tensor

from agentcomm.conformance.conversations import same_heard
from agentcomm.contracts.edits import Envelopes, MessageEdits
from agentcomm.contracts.inbox import Inbox
from agentcomm.contracts.threat_model import Position
from agentcomm.contracts.views import MessageView

# ---- copies


def shown(view: MessageView) -> dict[str, Tensor]:
    """The message in everybody's first slot, as the attack is shown it."""
    fields = {name: getattr(view, name)[..., :1].clone() for name in HEADER}
    return fields | {"payload": view.payload[..., :1, :].clone(), "where": view.reach[..., :1].clone()}


def replaying(
    change: Callable[[dict[str, Tensor]], dict[str, Tensor]], record_at: int = 0, play_at: int = 1, **kwargs: Any
) -> Scripted:
    kept: list[dict[str, Tensor]] = []

    def edits(view: MessageView) -> MessageEdits:
        step = int(view.step.max())
        if step == record_at and not kept:
            kept.append(shown(view))
        if step == play_at and kept:
            return MessageEdits(inject=Envelopes(**change(dict(kept[0]))))  # type: ignore[arg-type]
        return MessageEdits()

    return Scripted(S, ["read", "replay"], edits, **kwargs)


def play(attack: Scripted, steps: int = 2, seals: bool = False, reset: Tensor | None = None) -> tuple[Attacked, Inbox]:
    network = comms(S, [attack], [defense("authenticate", S)] if seals else [])
    inbox = None
    for step in range(steps):
        e = ring(step)
        inbox = network.exchange(e.spoken, e.links, e.step, 0)
        if reset is not None and step == 0:
            network.reset(reset)
    assert inbox is not None
    return network, inbox


def test_exact_copies_pass() -> None:
    network, inbox = play(replaying(lambda kept: kept))
    assert inbox.mask[..., S.degree].all()
    assert torch.equal(inbox.payload()[..., S.degree, :], ring(0).spoken.roll(-1, 1))
    assert not network.guards[0].violations


def test_copies_of_old_messages_pass_however_long_the_episode() -> None:
    """Nothing that was seen in the episode is forgotten, in large teams as well."""
    network, inbox = play(replaying(lambda kept: kept, play_at=299), steps=300)
    assert inbox.mask[..., S.degree].all()
    assert not network.guards[0].violations


@pytest.mark.parametrize("seals", [False, True])
@pytest.mark.parametrize("field", [*HEADER, "payload"])
def test_altered_copies_do_not(field: str, seals: bool) -> None:
    network, inbox = play(replaying(lambda kept: kept | {field: kept[field] + 1}), seals=seals)
    assert not inbox.mask[..., S.degree :].any()
    violations = network.guards[0].violations
    assert violations["replay of what it has not seen"] == S.num_worlds * S.num_agents


@pytest.mark.parametrize("field", HEADER[:-1])
@pytest.mark.parametrize("factor", [0, 1, 31, 0x100000001B3])
def test_one_field_cannot_make_up_for_another(field: str, factor: int) -> None:
    """The seal is 64 free bits: it must not be a way to balance a forged header, as in a polynomial hash."""
    balance = (factor ** (len(HEADER) - 1 - HEADER.index(field)) + 2**63) % 2**64 - 2**63

    def change(kept: dict[str, Tensor]) -> dict[str, Tensor]:
        return kept | {field: kept[field] + 1, "seal": kept["seal"] - balance}

    network, inbox = play(replaying(change))
    assert not inbox.mask[..., S.degree :].any()
    assert sum(network.guards[0].violations.values()) == S.num_worlds * S.num_agents


def test_signing_a_copy_is_not_copying() -> None:
    network, inbox = play(replaying(lambda kept: kept | {"sign": True}))  # type: ignore[dict-item]
    assert not inbox.mask[..., S.degree :].any()
    assert network.guards[0].violations


def test_copies_do_not_cross_worlds_or_episodes() -> None:
    """An attack may keep what it likes in Python; what it saw elsewhere is a forgery here."""
    network, inbox = play(replaying(lambda kept: {name: value.roll(1, 0) for name, value in kept.items()}))
    assert not inbox.mask[..., S.degree :].any()
    assert network.guards[0].violations["replay of what it has not seen"] == S.num_worlds * S.num_agents
    network, inbox = play(replaying(lambda kept: kept), reset=torch.tensor([0, 2]))
    assert inbox.mask[..., S.degree].any(-1).tolist() == [False, True, False]
    assert network.guards[0].violations["replay of what it has not seen"] == 2 * S.num_agents


def test_what_is_out_of_reach_is_not_seen_and_cannot_be_copied() -> None:
    guessed = forge  # a perfect guess of an envelope it was never shown is a forgery all the same

    def edits(view: MessageView) -> MessageEdits:
        return MessageEdits(inject=guessed(view, S, payload=ring(int(view.step[0])).spoken.roll(-1, 1).unsqueeze(2)))

    attack = Scripted(S, ["read", "replay"], edits, Position(kind="edge", links=((2, 1),)))
    network, inbox = attacked(attack)
    allowed = inbox.mask[..., S.degree]
    assert allowed.nonzero()[:, 1].unique().tolist() == [1]
    assert network.guards[0].violations["replay of what it has not seen"] == 3 * S.num_worlds


def test_blind_attackers_and_newcomers_have_nothing_to_copy() -> None:
    def edits(view: MessageView) -> MessageEdits:
        return MessageEdits(inject=forge(view, S, payload=ring(int(view.step[0])).spoken.roll(-1, 1).unsqueeze(2)))

    for powers, position in ((["replay"], EDGE), (["read", "replay"], NEWCOMER)):
        network, inbox = attacked(Scripted(S, powers, edits, position))  # type: ignore[arg-type]
        assert same_inbox(inbox, clean())
        assert network.guards[0].violations == {"replay of what it has not seen": S.num_worlds * S.num_agents}


# ---- identity


@pytest.mark.parametrize("sign", [False, True])
@pytest.mark.parametrize("position", [EDGE, NEWCOMER, Position(kind="node", node=0)])
def test_nobody_signs_with_anothers_key(sign: bool, position: Position) -> None:
    """Neither by naming it, nor with a guessed seal, nor with one copied from another message."""

    def edits(view: MessageView) -> MessageEdits:
        victim = (torch.arange(4).view(1, -1, 1).expand(S.num_worlds, 4, 1) + 1) % 4
        seal = torch.full_like(victim, 12345)
        if view.shows("seal") and position.kind == "edge":
            seal = view.seal[..., :1].clone()  # that of the victim's message of this very exchange
        sequence = torch.full_like(victim, 10)
        return MessageEdits(inject=replace(forge(view, S), key=victim, seal=seal, sequence=sequence, sign=sign))

    network, inbox = attacked(Scripted(S, ["read", "inject"], edits, position), seals=True)
    mine = position.node
    forged = network.ledger["accepted_forged"].sum()
    if mine is None:
        assert forged == 0
        assert same_heard([inbox], [clean()])
    else:  # a compromised agent may say whatever it likes in its own name
        assert forged == S.num_worlds
        assert inbox.mask[..., S.degree].nonzero()[:, 1].unique().tolist() == [3], "who takes agent 0 for its neighbor"


def test_a_newcomers_own_signature_is_valid_but_a_newcomers() -> None:
    """authenticate says who somebody is, not whether they belong to the team: that is for authorization."""
    network, _ = attacked(
        Scripted(S, ["inject"], lambda v: MessageEdits(inject=replace(forge(v, S, sender=4), sign=True)), NEWCOMER),
        seals=True,
    )
    assert network.ledger["accepted_forged"].sum() == S.num_worlds * S.num_agents


def test_an_edge_attacker_cannot_borrow_a_node() -> None:
    with pytest.raises(ValueError, match="name a node"):
        Position(kind="edge", node=1)
    with pytest.raises(ValueError, match="name a node"):
        Position(kind="node")
    with pytest.raises(ValueError, match="no links"):
        Position(kind="newcomer", links=((0, 1),))


def test_the_origin_of_an_injection_is_the_attackers_own() -> None:
    """Books count it as forged, and an attack on other links cannot claim to have heard it there."""
    seen: list[MessageView] = []

    def look(view: MessageView) -> MessageEdits:
        seen.append(view)
        return MessageEdits()

    forger = Scripted(S, ["inject"], lambda v: MessageEdits(inject=forge(v, S)), NEWCOMER)
    onlooker = Scripted(S, ["read"], look, Position(kind="edge", links=((1, 0),)), injections=0)
    network = comms(S, [forger, onlooker])
    e = ring()
    network.exchange(e.spoken, e.links, e.step, 0)
    assert seen[0].reach.sum() == S.num_worlds, "only the true message of agent 1 is on that link"
    assert network.ledger["accepted_forged"].tolist() == [4, 4, 4]
