"""Attacks that were written against defenses: each stays within what its defense notices, and does what it says."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from builders import Attacked, attack, comms, defense, team_shape
from torch import Tensor

from agentcomm.base import registry
from agentcomm.conformance.conversations import Exchange, conversation, reader
from agentcomm.contracts.inbox import Inbox
from agentcomm.contracts.shape import TeamShape
from agentcomm.runs.choices import Choice, build

S = team_shape(worlds=4, agents=5, degree=4)
WIDE = 1.0001 * S.width**0.5


def run(network: Attacked, exchanges: Sequence[Exchange]) -> list[Inbox]:
    out = [network.exchange(e.spoken, e.links, e.step, e.round, reader) for e in exchanges]
    assert not any(guard.violations for guard in network.guards)
    return out


def talk(steps: int, seed: int = 0, s: TeamShape = S) -> list[Exchange]:
    return conversation(s, steps, seed, closed=0, ends=0)


def spoken(e: Exchange) -> Tensor:
    """[B, N, k, D], what was said on each link."""
    index = e.links.source.flatten(1).unsqueeze(-1).expand(-1, -1, S.width)
    return e.spoken.gather(1, index).view(*e.links.source.shape, S.width)


def test_a_little_stays_inside_the_range_of_honest_messages() -> None:
    exchanges = talk(2)
    for e, inbox in zip(exchanges, run(comms(S, [attack("little", S, z=[1.0])]), exchanges), strict=True):
        honest, heard = spoken(e), inbox.payload()
        changed = (heard - honest).abs().amax(-1) > 1e-6
        assert (changed.sum(-1) == 1).all()  # a minority of four
        low, high = honest.amin(2, keepdim=True), honest.amax(2, keepdim=True)
        # One standard deviation from the mean of four values is never beyond the outermost of them by much.
        assert ((heard >= low - 0.4 * (high - low)) & (heard <= high + 0.4 * (high - low))).all()
    unseen = run(comms(S, [attack("little", S, z=[1.0])], [defense("median", S)]), exchanges)
    plain = run(comms(S, [], [defense("median", S)]), exchanges)
    for e, ours, theirs in zip(exchanges, unseen, plain, strict=True):
        honest = spoken(e)
        assert (ours.payload() - theirs.payload()).abs().max() > 1e-3  # the median moves, among honest values
        assert ((ours.payload() >= honest.amin(2, keepdim=True) - 1e-4).all(2)).all()
        assert ((ours.payload() <= honest.amax(2, keepdim=True) + 1e-4).all(2)).all()


def test_a_sleeper_is_honest_between_strikes() -> None:
    exchanges = talk(7)
    network = comms(S, [attack("sleeper", S, node=2, after=2, strikes=1, rest=1)], [defense("authenticate", S)])
    for e, inbox in zip(exchanges, run(network, exchanges), strict=True):
        changed = (inbox.payload() - spoken(e)).abs().amax(-1) > 1e-6
        struck = int(e.step[0]) in (2, 4, 6)
        assert torch.equal(changed, (e.links.source == 2) & struck)
        assert inbox.mask.all()  # its seals are valid


def test_framing_gets_an_honest_senders_link_closed() -> None:
    s = team_shape(worlds=2, agents=4, degree=3, rounds=1)
    exchanges = talk(6, s=s)
    stack = [defense("authenticate", s), defense("quarantine", s, limit=1, steps=5)]
    framed = comms(s, [attack("frame", s, how="tamper", victim=1, burst=1, period=6)], stack)
    heard = [inbox.mask & (e.links.source == 1) for e, inbox in zip(exchanges, run(framed, exchanges), strict=True)]
    assert not any(bool(mask.any()) for mask in heard)  # one step of tampering, five of silence
    assert (framed.guards[0].total == 3).all()
    forged = comms(s, [attack("frame", s, victim=1, burst=1, period=3)])
    inbox = run(forged, exchanges[:2])
    assert (inbox[0].mask[..., 3] == (torch.arange(4) != 1)).all()
    assert inbox[1].mask.shape[-1] == 3  # none in the second step


def test_a_slow_drift_moves_by_its_stride_and_keeps_the_length() -> None:
    exchanges = talk(6)
    network = comms(S, [attack("slow_drift", S, stride=0.2, deviation=0.5)], [defense("clip", S)])
    for e, inbox in zip(exchanges, run(network, exchanges), strict=True):
        moved = (inbox.payload() - spoken(e)).norm(dim=-1) / S.width**0.5
        assert (moved <= min(0.5, 0.2 * (int(e.step[0]) + 1)) * 1.5 + 1e-4).all()
        assert (inbox.payload().norm(dim=-1) <= WIDE).all()
    assert moved.min() > 0.05


@pytest.mark.parametrize("exact", [False, True])
def test_what_is_substituted_was_said(exact: bool) -> None:
    exchanges = talk(4)
    said: list[set[tuple[float, ...]]] = [set(), set()]
    changed = 0
    network = comms(S, [attack("substitute", S, tries=2, exact=exact)])
    for e, inbox in zip(exchanges, run(network, exchanges), strict=True):
        said[e.round] |= {tuple(row.tolist()) for row in e.spoken.flatten(0, 1)}
        known = torch.tensor(sorted(said[e.round]))
        heard = inbox.payload()[inbox.mask]
        distance = torch.cdist(heard, known, compute_mode="donot_use_mm_for_euclid_dist").amin(-1)
        assert (distance == 0).all() if exact else (distance < 1e-5).all()
        assert len(heard) == S.num_worlds * S.num_agents * S.degree
        changed += int(inbox.mask[..., S.degree :].sum())
    assert exact == (changed > 0)


def test_codewords_that_are_substituted_pass() -> None:
    codec = build("codec", Choice(name="vq"))
    made = registry.find("codec", "vq")(codec, S)
    arguments = {name: getattr(codec, name) for name in registry.find("defense", "codeword").Config.model_fields}
    network = comms(S, [attack("substitute", S, exact=True)], [defense("codeword", S, **arguments)], codec=made)
    inboxes = run(network, talk(3))
    assert all(inbox.mask.sum() == S.num_worlds * S.num_agents * S.degree for inbox in inboxes)
    assert any(inbox.mask.shape[-1] > S.degree for inbox in inboxes)


def test_late_messages_are_accepted_and_old() -> None:
    exchanges = talk(4)
    network = comms(S, [attack("late", S)], [defense("authenticate", S)])
    inboxes = run(network, exchanges)
    assert not inboxes[0].mask.any()
    for before, inbox in zip(exchanges, inboxes[S.rounds :], strict=False):
        assert inbox.mask.all()
        assert torch.equal(inbox.payload(), spoken(before))


def test_a_trickle_keeps_to_its_rate_under_each_name() -> None:
    s = team_shape(worlds=2, agents=4, degree=2, rounds=1)
    network = comms(s, [attack("trickle", s, names=3, every=2)])
    counts = torch.zeros(s.num_agents, dtype=torch.int64)
    for inbox in run(network, talk(4, s=s)):
        counts += inbox.mask[0, :, s.degree :].sum(-1)
    assert (counts == 2 * 3).all()  # three names, each in every other of four steps


def test_laundered_messages_are_new_by_their_headers() -> None:
    exchanges = talk(4)
    network = comms(S, [attack("launder", S, age=1)])
    network.network.trace = []
    run(network, exchanges)
    for record, e in zip(network.network.trace[S.rounds :], exchanges[S.rounds :], strict=True):
        copies = slice(S.degree, None)
        assert (record.fields["sent_at"][..., copies] == int(e.step[0])).all()
        assert (record.fields["hops"] == 8).all()
        assert (record.fields["sender"][..., copies] != e.links.source.numpy()).all()


def test_colluders_say_one_thing() -> None:
    exchanges = talk(2)
    for e, inbox in zip(exchanges, run(comms(S, [attack("collude", S)]), exchanges), strict=True):
        heard = inbox.payload()
        told = (heard - spoken(e)).abs().amax(-1) > 1e-6
        assert (told.sum(-1) == 3).all()
        lie = heard[told].view(*told.shape[:2], 3, -1)
        torch.testing.assert_close(lie, lie[:, :, :1].expand_as(lie))


def test_every_defense_has_adaptive_attacks_that_exist() -> None:
    for name in registry.names("defense"):
        for text in registry.find("defense", name).adaptive:
            choice = Choice.parse(text)
            build("attack", choice)
