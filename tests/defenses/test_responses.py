"""What defenses declare, are shown and may answer with: bytes, identity, random numbers, closed gates, new keys."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from builders import attack, comms, defense, team_shape
from torch import Tensor

from agentcomm.base.errors import HookError
from agentcomm.conformance.conversations import carry, conversation, same_heard
from agentcomm.contracts.defense import Defense, IdentityConfig
from agentcomm.contracts.deployment import Deployment
from agentcomm.contracts.verdicts import Delivered, ExchangeOutcome, InboxView, Responses, Verdicts

S = team_shape(agents=4, degree=2)
TALK = conversation(S, 6, closed=0, ends=0)


class Named(Defense[IdentityConfig]):
    """Keeps books by claimed sender, and adds bytes."""

    order = "trust"
    needs_identity = True

    @property
    def message_bytes(self) -> int:
        return 7

    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        return Verdicts()


class Coin(Defense):
    """Refuses half of the messages, and notes what it is shown."""

    order = "content"
    draws = True
    lossless = False
    shown: ClassVar[list[Any]] = []

    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        self.shown.append(delivered)
        return Verdicts(refuse=delivered.rand(*delivered.present.shape) < 0.5)

    def aggregate(self, inbox: InboxView, memory: dict[str, Tensor]) -> Tensor | None:
        self.shown.append(inbox)
        return None


class Undeclared(Coin):
    draws = False


class Answering(Defense):
    """Gives the same answer at the end of step 1."""

    order = "response"
    answer: ClassVar[Responses] = Responses()

    def respond(self, outcome: ExchangeOutcome, memory: dict[str, Tensor]) -> Responses:
        assert outcome.audience.shape == outcome.link.shape
        return self.answer if int(outcome.step[0]) == 1 and outcome.round == 1 else Responses()


def made(kind: type[Defense], **arguments: Any) -> Defense:
    return kind(kind.Config(**arguments), S)


def where(*defenses: Defense) -> Deployment:
    return Deployment(S, "test", defenses=defenses)


def test_books_by_claimed_sender_need_authentication_or_consent() -> None:
    alone, sealed, consenting = made(Named), defense("authenticate", S), made(Named, unauthenticated=True)
    text = alone.unmet(where(alone))
    assert text is not None
    assert "authenticate+named" in text
    assert "unauthenticated=true" in text
    assert alone.unmet(where(sealed, alone)) is None
    assert alone.unmet(where(defense("challenge", S), alone)) is not None, "which proves cards, not messages"
    assert consenting.unmet(where(consenting)) is None


def test_bytes_that_a_defense_adds_are_counted_in_every_message() -> None:
    plain, longer = comms(S), comms(S, defenses=[made(Named)])
    carry(plain, TALK)
    carry(longer, TALK)
    assert torch.equal(longer.ledger.bytes, plain.ledger.bytes + 7 * plain.ledger["sent"])


@pytest.mark.parametrize("transport", ["batch", "objects"])
def test_views_show_links_sizes_and_the_receivers_own_payloads(transport: str) -> None:
    forge = attack("impersonate", S)
    Coin.shown.clear()
    network = comms(S, [forge], [made(Coin)], transport=transport)
    carry(network, TALK[:1])
    delivered, inbox = Coin.shown
    source = TALK[0].links.source
    assert torch.equal(delivered.link[..., :2], source)
    assert (delivered.link[..., 2:] == S.num_agents).all()
    assert int((delivered.size * delivered.present).sum()) == int(network.ledger.bytes.sum())
    assert torch.equal(inbox.own, TALK[0].spoken)
    assert torch.equal(inbox.link, delivered.link)
    assert (inbox.sent_at[inbox.present] == 0).all()


def test_random_numbers_are_seeded_saved_and_declared() -> None:
    first, second = comms(S, defenses=[made(Coin)]), comms(S, defenses=[made(Coin)])
    whole = carry(first, TALK)
    assert 0 < int(first.ledger["refused"].sum()) < int(first.ledger["sent"].sum())
    assert same_heard(whole, carry(comms(S, defenses=[made(Coin)]), TALK))
    third = comms(S, defenses=[made(Coin)])
    carry(third, TALK[:6])
    second.restore(third.snapshot())
    assert same_heard(whole[6:], carry(second, TALK[6:]))
    with pytest.raises(HookError, match="draws = True"):
        carry(comms(S, defenses=[made(Undeclared)]), TALK[:1])


def test_a_shut_gate_accepts_nothing_for_some_steps() -> None:
    shut = torch.zeros(S.num_worlds, S.num_agents, dtype=torch.int64)
    shut[1, 2] = 2
    Answering.answer = Responses(shut=shut)
    heard = carry(comms(S, defenses=[made(Answering)]), TALK)
    closed = torch.stack([~inbox.mask.any(-1) for inbox in heard])
    assert closed.sum() == 4
    assert closed[4:8, 1, 2].all(), "two rounds in each of steps 2 and 3"


@pytest.mark.parametrize("transport", ["batch", "objects"])
def test_seals_by_old_keys_do_not_verify(transport: str) -> None:
    """All messages are a step late. Those of step 1 are in transit when their sender, agent 0, gets a new key."""
    agents = torch.zeros(S.num_worlds, S.num_agents, dtype=torch.bool)
    heard = {}
    for renewed in (False, True):
        agents[:, 0] = renewed
        Answering.answer = Responses(rekey=agents.clone())
        delay = attack("delay", S, steps=1)
        patient = defense("authenticate", S, window=9)
        network = comms(S, [delay], [patient, made(Answering)], transport=transport)
        carry(network, TALK)
        heard[renewed] = network.ledger.refused_by["authenticate"]
        network.reset(torch.arange(S.num_worlds))
        assert not network.keyring.generation.any()
    late = sum(int((e.links.source == 0).sum()) for e in TALK if int(e.step[0]) == 1)
    assert int((heard[True] - heard[False]).sum()) == late > 0


def test_answers_of_the_wrong_form_are_named() -> None:
    Answering.answer = Responses(shut=torch.ones(S.num_worlds, S.num_agents))
    with pytest.raises(HookError, match="shut"):
        carry(comms(S, defenses=[made(Answering)]), TALK)
    Answering.answer = Responses(rekey=torch.zeros(1, dtype=torch.bool))
    with pytest.raises(HookError, match="rekey"):
        carry(comms(S, defenses=[made(Answering)]), TALK)
