"""cross_check counts links, not names; timeliness discounts late messages by their sender's intent."""

from __future__ import annotations

import torch
from builders import Scripted, comms, conversation, defense, forge, team_shape
from torch import Tensor

from agentcomm.conformance.conversations import carry
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.inbox import Inbox
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.threat_model import Position
from agentcomm.contracts.traffic import Links
from agentcomm.contracts.views import MessageView

S = team_shape(worlds=2, agents=5, degree=4, width=8, rounds=1)


def full(s: TeamShape) -> Links:
    source = torch.tensor([[j for j in range(s.num_agents) if j != i] for i in range(s.num_agents)])
    return Links(source.expand(s.num_worlds, -1, -1), torch.ones(s.num_worlds, s.num_agents, dtype=torch.bool))


def at(step: int) -> Tensor:
    return torch.full((S.num_worlds,), step)


def consensus(liars: int, lie: float = 1.0) -> Tensor:
    """[B, N, D]: all say about the same, but for liars that agree with each other."""
    said = torch.ones(2, 5, 8) + 0.01 * torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))
    said[:, :liars] = -lie
    return said


def test_what_nobody_confirms_is_refused() -> None:
    network = comms(S, [], [defense("cross_check", S, quorum=2)])
    inbox = network.exchange(consensus(1), full(S), at(0), 0)
    assert torch.equal(inbox.mask, inbox.source != 0)
    colluding = network.exchange(consensus(2), full(S), at(1), 0)
    honest = colluding.source > 1
    assert (colluding.mask | ~honest).all()
    # Receivers of both liars hear them confirm each other; the liars themselves hear one of them only.
    assert torch.equal(colluding.mask[:, 2:], torch.ones_like(colluding.mask[:, 2:]))
    strict = comms(S, [], [defense("cross_check", S, quorum=3)]).exchange(consensus(2), full(S), at(0), 0)
    assert torch.equal(strict.mask[:, :2], honest[:, :2])  # liars hear three honest agents
    assert not strict.mask[:, 2:].any()  # others hear two, so that nothing is confirmed three times


def test_copies_that_come_in_by_no_link_confirm_nothing() -> None:
    """An attacker that injects the lie once more, in another's name, has still one source."""

    def edits(view: MessageView) -> MessageEdits:
        return MessageEdits(inject=forge(view, S, payload=torch.full((2, 5, 1, 8), -1.0)))

    made = Scripted(S, {"inject"}, edits, Position(kind="newcomer"))
    inbox = comms(S, [made], [defense("cross_check", S, quorum=2)]).exchange(consensus(1), full(S), at(0), 0)
    assert torch.equal(inbox.mask[..., :4], inbox.source[..., :4] != 0)
    assert not inbox.mask[..., 4:].any()


def test_payloads_that_are_not_finite_are_refused() -> None:
    said = consensus(2, float("inf"))
    inbox = comms(S, [], [defense("cross_check", S, quorum=2)]).exchange(said, full(S), at(0), 0)
    assert not (inbox.mask & (inbox.source < 2)).any()


class Late(Scripted):
    """Holds back everything on the links of agent 0 in step ``when``, for ``steps``."""

    def __init__(self, steps: int, when: int = 1) -> None:
        def edits(view: MessageView) -> MessageEdits:
            held = view.reach & (view.step == when).view(-1, 1, 1)
            return MessageEdits(delay=held.long() * steps)

        links = tuple((0, receiver) for receiver in range(1, 5))
        super().__init__(S, {"delay"}, edits, Position(kind="edge", links=links), injections=0)


def run(steps: int, payloads: list[Tensor], **arguments: float) -> list[Inbox]:
    network = comms(S, [Late(steps)], [defense("timeliness", S, **arguments)])
    quiet = full(S)
    out = []
    for step, said in enumerate(payloads):
        silent = torch.arange(5).eq(0).expand(2, 5) & (step > 1)  # agent 0 says nothing after step 1
        carried = ~silent.unsqueeze(1).expand(-1, 5, -1).gather(2, quiet.source)
        out.append(network.exchange(said, quiet._replace(carried=carried), at(step), 0))
    return out


def test_late_messages_count_less_unless_intents_are_stable() -> None:
    g = torch.Generator().manual_seed(1)
    first, other = torch.randn(2, 5, 8, generator=g), torch.randn(2, 5, 8, generator=g)
    opposite = first.clone()
    opposite[:, 0] = -first[:, 0]
    for later, expected in ((first, 1.0), (opposite, 0.5**2)):
        inboxes = run(2, [first, later, other, other], discount=0.5)
        slot = inboxes[3].source[:, 1:] == 0
        assert inboxes[3].mask[:, 1:][slot].all()
        got, said = inboxes[3].payload()[:, 1:][slot], later[:, :1].expand(-1, 4, -1).reshape(-1, 8)
        torch.testing.assert_close(got, expected * said)
    assert not run(2, [first, first, other, other], oldest=1)[3].mask[:, 1:][slot].any()


def test_superseded_messages_are_refused() -> None:
    g = torch.Generator().manual_seed(2)
    said = [torch.randn(2, 5, 8, generator=g) for _ in range(4)]
    network = comms(S, [Late(2, when=0)], [defense("timeliness", S)])
    got = [network.exchange(one, full(S), at(step), 0) for step, one in enumerate(said)]
    assert got[2].payload().isfinite().all()
    for step, inbox in enumerate(got[1:], 1):  # the slot of agent 0 holds what it said in that step, or nothing
        held = inbox.mask[:, 1:] & (inbox.source[:, 1:] == 0)
        heard = inbox.payload()[:, 1:][held]
        now = said[step][:, :1].expand(-1, 4, -1)[held.any(-1)]
        torch.testing.assert_close(heard, now)


def test_clean_messages_pass() -> None:
    exchanges = conversation(S, 4)
    for defended, plain in zip(
        carry(comms(S, [], [defense("timeliness", S)]), exchanges), carry(comms(S), exchanges), strict=True
    ):
        assert torch.equal(defended.payload(), plain.payload())
