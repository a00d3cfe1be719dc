"""reputation: trust in senders, and whom an attacker can get excluded; repair, shut_gate, rekey with real defenses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from builders import Attacked, Scripted, attack, comms, defense, team_shape
from torch import Tensor

from agentcomm.conformance.conversations import carry, conversation
from agentcomm.contracts.defense import Defense, misplaced
from agentcomm.contracts.deployment import Deployment
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.forging import receivers, written
from agentcomm.contracts.threat_model import Position
from agentcomm.contracts.verdicts import Delivered, Verdicts
from agentcomm.contracts.views import MessageView

S = team_shape(agents=4, degree=3)
TALK = conversation(S, 8, closed=0, ends=0)
VICTIM = 2


class TooLong(Defense):
    """Refuses payloads that no honest sender writes."""

    name = "too_long"
    order = "content"

    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        length = delivered.payload.norm(dim=-1)
        return Verdicts(refuse=delivered.present & ~(length < 2 * self.team_shape.width**0.5))


def frame(view: MessageView) -> MessageEdits:
    """An outsider writes bad messages in the victim's name to all others."""
    receiver = receivers(S)
    bad = torch.full((*receiver.shape, S.width), 100.0)
    return MessageEdits(inject=written(view, S, receiver != VICTIM, bad, torch.full_like(receiver, VICTIM)))


def outsider() -> Scripted:
    return Scripted(S, ("inject",), frame, Position(kind="newcomer"))


def too_long() -> Defense:
    return TooLong(TooLong.Config(), S)


def share_heard(network: Attacked, sender: int = VICTIM) -> float:
    """Share of the sender's own messages in the second half of the conversation that were accepted."""
    heard = sent = 0
    for e, inbox in zip(TALK, carry(network, TALK), strict=True):
        if int(e.step[0]) >= 4:
            own = e.links.source == sender
            heard, sent = heard + int((inbox.mask[..., : S.degree] & own).sum()), sent + int(own.sum())
    return heard / sent


def test_trust_before_authentication_frames_honest_senders_and_after_it_does_not() -> None:
    """The attacker never holds the victim's key."""
    trusting = {"probation": 0.0}
    before = comms(S, [outsider()], [too_long(), defense("reputation", S, unauthenticated=True, **trusting)])
    after = comms(S, [outsider()], [too_long(), defense("reputation", S, **trusting), defense("authenticate", S)])
    link = comms(S, [outsider()], [too_long(), defense("reputation", S, by="link", **trusting)])
    assert share_heard(before) == 0.0, "nobody hears the framed member any more"
    assert share_heard(after) == share_heard(link) == 1.0
    assert not after.ledger["accepted_forged"].any()


def test_a_member_that_turns_bad_is_refused_and_readmitted_slowly() -> None:
    """Its messages are too long in steps 1 and 2; after that they are as all others."""

    def turn(view: MessageView) -> MessageEdits:
        bad = ((view.step == 1) | (view.step == 2)).view(-1, 1, 1)
        return MessageEdits(modify=view.reach & bad, change=torch.full((*view.reach.shape, S.width), 50.0))

    def network(**arguments: Any) -> Attacked:
        bad = Scripted(S, ("read", "modify"), turn, Position(kind="node", node=VICTIM))
        return comms(S, [bad], [defense("authenticate", S), too_long(), defense("reputation", S, **arguments)])

    assert share_heard(network(probation=0.0)) == 0.0
    assert 0.1 < share_heard(network(probation=0.5, recovery=0.01)) < 0.9
    quick = network(probation=0.5, recovery=0.5)
    assert share_heard(quick) > 0.8
    assert share_heard(network(probation=0.0), sender=1) == 1.0


def test_scores_of_others_can_count() -> None:
    bold = attack("noise", S, links=[[0, 1]], epsilon=9.0)
    clip, trust = defense("clip", S), defense("reputation", S, by="link", suspicion=0.5, probation=0.0)
    assert trust.unmet(Deployment(S, "test", defenses=(clip, trust))) is None
    network = comms(S, [bold], [clip, trust])
    carry(network, TALK)
    assert network.ledger.refused_by["reputation"].sum() > 0
    plain = defense("reputation", S, by="link")
    assert "(here: clip)" in str(plain.unmet(Deployment(S, "test", defenses=(clip, plain))))


def test_refused_messages_are_replaced_by_the_last_accepted_ones() -> None:
    """Step 0 is clean; then the link from 0 to 1 is attacked. Repeated payloads count as neither accepted nor sent."""
    noise = attack("noise", S, links=[[0, 1]], epsilon=5.0, budget={"start_step": 1})
    network = comms(S, [noise], [defense("authenticate", S), defense("repair", S, steps=2)])
    inboxes, first = carry(network, TALK), {}
    for e, inbox in zip(TALK, inboxes, strict=True):
        slot = (e.links.source[:, 1] == 0).nonzero()[:, 1]
        got = inbox.payload()[torch.arange(3), 1, slot]
        heard = inbox.mask[torch.arange(3), 1, slot]
        step = int(e.step[0])
        if step == 0:
            first[e.round] = got
        assert heard.all() == (step <= 2)
        if step <= 2:
            assert torch.allclose(got, first[e.round])
    assert network.ledger["refused"].tolist() == [14] * 3
    assert torch.equal(network.ledger["accepted"] + network.ledger["refused"], network.ledger["sent"])
    assert not network.ledger["accepted_tampered"].any()


def test_a_receiver_under_fire_shuts_its_gate() -> None:
    noise = attack("noise", S, links=[[0, 1]], epsilon=5.0)
    network = comms(S, [noise], [defense("authenticate", S), defense("shut_gate", S, limit=1, leak=0.5, steps=1)])
    deaf = [not bool(inbox.mask[:, 1].any()) for inbox in carry(network, TALK)]
    # Level 1 after the first exchange, 1.5 after the second: the gate is closed in the step that follows.
    assert deaf == [False, False, True, True] * 4
    others = sum(int(inbox.mask[:, 2:].sum()) for inbox in carry(comms(S), TALK))
    assert int(network.ledger.refused_by["shut_gate"].sum()) == 3 * 3 * 8
    assert others == 16 * 3 * 2 * 3


def test_keys_are_renewed_after_failures_and_honest_messages_still_verify() -> None:
    forged = attack("impersonate", S)
    network = comms(S, [forged], [defense("authenticate", S), defense("rekey", S, limit=2, every=3)])
    carry(network, TALK)
    assert (network.keyring.generation[:, :4] > 1).all()
    assert torch.equal(network.ledger["accepted"], network.ledger["sent"])


@pytest.mark.parametrize(
    ("group", "fix"),
    [
        (["clip", "codeword"], "list them as codeword+clip"),
        (["hold_last", "clip", "codeword"], "list them as codeword+hold_last"),
        (["codeword", "clip"], None),
        (["median", "codeword"], None),
    ],
)
def test_orders_that_cannot_work_are_named_with_a_fix(group: list[str], fix: str | None) -> None:
    problem = misplaced([defense(name, S) for name in group])
    assert (problem is None) == (fix is None)
    assert fix is None or fix in str(problem)
