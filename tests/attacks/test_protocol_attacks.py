"""Attacks on sessions, entitlements, duties, names and agreement: what each does, and what stops it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from builders import attack, comms, defense, team, team_shape, team_shape_of
from torch import Tensor

from agentcomm.conformance.conversations import carry, conversation, heard
from agentcomm.contracts.defense import Defense, DefenseConfig
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.traffic import Links
from agentcomm.contracts.verdicts import Delivered, Verdicts
from agentcomm.evaluation.attribution import Auditor
from agentcomm.evaluation.play import play


class Repeats(Defense):
    """Refuses sequence numbers that are not above the sender's last; knows of no seals."""

    name, order = "repeats", "freshness"

    def __init__(self, s: TeamShape) -> None:
        super().__init__(DefenseConfig(), s)

    def memory(self) -> dict[str, Tensor]:
        s = self.team_shape
        return {"last": torch.full((s.num_worlds, s.num_agents, s.num_agents + 1), -1)}

    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        new = delivered.present & (delivered.sequence > memory["last"].gather(2, delivered.sender))
        memory["last"].scatter_reduce_(2, delivered.sender, torch.where(new, delivered.sequence, -1), "amax")
        return Verdicts(refuse=~new)


def rounds_of(s: TeamShape, steps: int) -> Any:
    """Everybody listens to its next ``degree`` neighbors, in every step of one episode."""
    agents = torch.arange(s.num_agents).view(1, -1, 1)
    source = ((agents + 1 + torch.arange(s.degree)) % s.num_agents).expand(s.num_worlds, -1, -1)
    links = Links(source, torch.ones(s.num_worlds, s.num_agents, dtype=torch.bool))
    g = torch.Generator().manual_seed(0)
    for step in range(steps):
        for kind in range(s.rounds):
            spoken = torch.randn(s.num_worlds, s.num_agents, s.width, generator=g)
            yield spoken, links, torch.full((s.num_worlds,), step), kind


# ---- partial


@pytest.mark.parametrize("missing", [0.0, 0.25, 0.8, 1.0])
@pytest.mark.parametrize("pattern", ["random", "last"])
def test_a_share_of_each_payload_is_missing(missing: float, pattern: str) -> None:
    s = team_shape(worlds=32, width=20)
    n = comms(s, [attack("partial", s, parts=20, missing=missing, pattern=pattern)])
    exchanges = conversation(s, 6)
    gone = total = 0
    for e, inbox in zip(exchanges, carry(n, exchanges), strict=True):
        said = comms(s).exchange(e.spoken, e.links, e.step, e.round)
        here, there = heard(inbox)[inbox.mask], heard(said)[said.mask]
        lost = here == 0
        assert torch.equal(here[~lost], there[~lost]), "what is there is what was said"
        gone, total = gone + int(lost.sum()), total + lost.numel()
        if pattern == "last":
            assert (lost.sum(-1) == round(missing * 20)).all()
    assert abs(gone / total - missing) < 0.02


# ---- hijack


@pytest.mark.parametrize("lead", [1, 4])
def test_a_hijacked_session_refuses_its_owner(lead: int) -> None:
    s = team_shape(agents=4, degree=3)
    n = comms(s, [attack("hijack", s, victim=1, lead=lead)], [Repeats(s)])
    for number, (spoken, links, step, kind) in enumerate(rounds_of(s, 5)):
        inbox = n.exchange(spoken, links, step, kind)
        owner = (links.source == 1) & inbox.mask[..., :3]
        others = (links.source != 1) & inbox.mask[..., :3]
        assert owner.any() == (number == 0), "only the first message comes before the first forgery"
        assert int(others.sum()) == s.num_worlds * 9, "sessions of others go on"
        assert int(inbox.mask[..., 3:].sum()) == 3 * s.num_worlds, "each forgery is accepted"


def test_seals_stop_a_hijacker_and_its_control_runs_ahead_of_nobody() -> None:
    s = team_shape(agents=4, degree=3)
    sealed = comms(s, [attack("hijack", s)], [defense("authenticate", s)])
    control = comms(s, [attack("hijack", s, run_as="control")], [Repeats(s)])
    for exchange in rounds_of(s, 5):
        for n in (sealed, control):
            assert n.exchange(*exchange).mask[..., :3].all()
    assert not sealed.ledger["accepted_forged"].any()
    assert sealed.ledger["forged"].all()


# ---- abuse


@pytest.mark.parametrize("distance", [0, 1, 2, 3])
def test_abuse_goes_as_far_beyond_its_scope_as_it_says(distance: int) -> None:
    s = team_shape(agents=5, degree=2)
    abuse = attack("abuse", s, node=1, distance=distance)
    n, sealed = comms(s, [abuse]), comms(s, [abuse], [defense("authenticate", s)])
    for spoken, links, step, kind in rounds_of(s, 4):
        n.network.trace = []
        inbox = n.exchange(spoken, links, step, kind)
        sealed.exchange(spoken, links, step, kind)
        listens = (links.source == 1).any(-1)
        told = inbox.mask[..., 2:].any(-1)
        scope = listens if distance == 0 else ~listens
        scope[:, 1] = False
        assert torch.equal(told, scope)
        assert (n.network.trace[0].fields["sender"][..., 2:][told] == 1).all(), "under its own name"
    accepted = int(sealed.ledger["accepted_forged"].sum())
    # A valid key says who it is, not what it may do: only a wrong round or audience shows. At distance 0 its own
    # message of that number is there already.
    assert (accepted > 0) == (distance == 1)


def test_shut_gates_keep_abuse_out() -> None:
    s = team_shape(agents=4, degree=2)
    n = comms(s, [attack("abuse", s, node=0)])
    for spoken, links, step, kind in rounds_of(s, 3):
        inbox = n.exchange(spoken, links._replace(open=torch.zeros_like(links.open)), step, kind)
        assert not inbox.mask.any()
    assert n.ledger["refused"].all()


# ---- insider


def test_an_insider_is_honest_until_its_step() -> None:
    s = team_shape(worlds=64, agents=4, degree=2, rounds=1)
    n, clean = comms(s, [attack("insider", s, node=1, after=3, duty=0.4)]), comms(s)
    share = []
    for spoken, links, step, kind in rounds_of(s, 12):
        a, b = n.exchange(spoken, links, step, kind), clean.exchange(spoken, links, step, kind)
        turned = (heard(a) != heard(b)).any(-1)
        assert not turned[links.source != 1].any()
        hit = turned[links.source == 1]
        assert torch.equal(heard(a)[turned], -heard(b)[turned])
        share.append(float(hit.float().mean()))
    assert not any(share[:3])
    assert abs(np.mean(share[3:]) - 0.4) < 0.08


def test_an_insider_waits_for_its_pattern() -> None:
    s = team_shape(worlds=64, agents=4, degree=2, rounds=1)
    insider = attack("insider", s, node=1, trigger="pattern", threshold=1.5, duty=1.0)
    n, clean = comms(s, [insider]), comms(s)
    armed = torch.zeros(64, dtype=torch.bool)
    early = 0
    for spoken, links, step, kind in rounds_of(s, 8):
        a, b = n.exchange(spoken, links, step, kind), clean.exchange(spoken, links, step, kind)
        armed |= spoken[:, 1] @ insider._pattern > 1.5  # type: ignore[attr-defined]
        turned = (heard(a) != heard(b)).any(-1).flatten(1).any(1)
        assert torch.equal(turned, armed)
        early += int((~armed).sum())
    assert armed.any()
    assert early > 100


# ---- evade


@pytest.mark.parametrize(("share", "accuracy"), [(0.0, 1.0), (1.0, 0.0)])
def test_an_auditor_of_envelopes_blames_whom_they_name(share: float, accuracy: float) -> None:
    s = team_shape(worlds=16, agents=4, degree=2)
    n = comms(s, [attack("evade", s, node=1, share=share, scapegoat=3)])
    sealed = comms(s, [attack("evade", s, node=1, share=share, scapegoat=3)], [defense("authenticate", s)])
    auditor = Auditor(s.num_worlds, s.num_agents)
    for exchange in rounds_of(s, 6):
        n.network.trace = []
        n.exchange(*exchange)
        sealed.exchange(*exchange)
        for notes in n.network.trace:
            auditor.read(notes, np.arange(s.num_worlds) < 12)
    verdict = auditor.verdict()
    assert (verdict.culprit[:12] == 1).all()
    assert (verdict.culprit[12:] == -1).all(), "nothing was read of these"
    assert (verdict.attributed[:12] == (3 if share else 1)).all()
    assert verdict.accuracy == accuracy
    assert verdict.covered == 1 - share
    if share:
        assert auditor.counts[:12].sum(0)[[3, 0], 1].tolist() == [2 * 144, 144], "to the scapegoat as somebody else"
    assert bool(sealed.ledger["accepted_forged"].any()) == (share == 0), "with seals nobody passes for another"


def test_among_three_it_is_the_others_who_are_blamed() -> None:
    s = team_shape(worlds=16, agents=3, degree=2)
    n, auditor = comms(s, [attack("evade", s, node=0)]), Auditor(16, 3)
    for exchange in rounds_of(s, 5):
        n.network.trace = []
        n.exchange(*exchange)
        for notes in n.network.trace:
            auditor.read(notes, np.ones(16, bool))
    assert auditor.verdict().accuracy == 0
    with pytest.raises(ValueError, match="scapegoat=0 is not another agent"):
        attack("evade", s, node=0, scapegoat=0)


def test_an_audit_follows_played_episodes() -> None:
    world, policy = team(8)
    s = team_shape_of(world, policy)
    auditor = Auditor(8, s.num_agents)
    played = play(world, policy, comms(s, [attack("evade", s, node=0, share=0.0)]), 3, follow=auditor.follow)
    assert np.array_equal(auditor.counts.sum((1, 2)), played.messages["accepted_forged"].numpy())
    assert auditor.verdict().accuracy == 1.0
    assert np.isnan(Auditor(2, 3).verdict().accuracy)


# ---- contradict, churn


def test_a_contradiction_is_told_to_half_of_the_team_and_then_to_the_others() -> None:
    s = team_shape(agents=4, degree=3, rounds=1)
    n, clean = comms(s, [attack("contradict", s, node=0)]), comms(s)
    told = []
    for spoken, links, step, kind in rounds_of(s, 4):
        a, b = n.exchange(spoken, links, step, kind), clean.exchange(spoken, links, step, kind)
        turned = (heard(a) != heard(b)).any(-1)
        assert not turned[links.source != 0].any()
        told.append({int(r) for r in turned.any(-1).nonzero()[:, 1]})
    assert told == [{1}, {2, 3}, {1}, {2, 3}]  # 0 hears itself say nothing


def test_members_seem_to_leave_and_to_come_back() -> None:
    s = team_shape(agents=4, degree=3, rounds=1)
    n = comms(s, [attack("churn", s, away=1, period=2)])
    receiver = torch.arange(4).view(1, -1, 1)
    for spoken, links, step, kind in rounds_of(s, 10):
        away = int(step[0]) // 2 % 4
        expected = (links.source != away) & (receiver != away)
        assert torch.equal(n.exchange(spoken, links, step, kind).mask, expected)


# ---- stall


@pytest.mark.parametrize("deviation", [None, 0.2, 0.0])
def test_a_staller_never_does_what_is_expected_of_it(deviation: float | None) -> None:
    s = team_shape(worlds=200, agents=2, degree=1)
    n = comms(s, [attack("stall", s, node=1, budget={"deviation": deviation})])
    g = torch.Generator().manual_seed(0)
    logits = torch.tensor([2.0, 0.0]).expand(400, 2)
    noise = -torch.empty(400, 2).exponential_(generator=g).log_()
    at, rows = torch.zeros(200, dtype=torch.int64), torch.arange(400)
    would = (logits + noise).argmax(-1)
    done = n.on_action(logits, would, noise, at, rows)
    assert torch.equal(done[::2], would[::2])
    usual = float(logits[0].softmax(-1)[0])
    law = {None: 1 - usual, 0.2: usual - 0.2, 0.0: usual}[deviation]
    assert abs(float((done[1::2] == 0).float().mean()) - law) < 0.1
    assert not n.guards[0].violations
    guard = n.adversary.action_guards[0]
    assert guard is not None
    assert float(guard.deviation.max()) <= (1.0 if deviation is None else deviation)
    if deviation is None:
        greedy = n.on_action(logits, logits.argmax(-1), None, at, rows)
        assert greedy.view(200, 2).tolist() == [[0, 1]] * 200
