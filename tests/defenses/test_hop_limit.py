"""hop_limit: forwarded content keeps its root and depth, whoever claims to be its author."""

from __future__ import annotations

import pytest
import torch
from builders import Attacked, Scripted, attack, comms, defense, known_channel, team_shape
from torch import Tensor

from agentcomm.conformance.conversations import carry, conversation
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.traffic import HOPS, Links
from agentcomm.contracts.views import MessageView

LINE = team_shape(worlds=3, agents=6, degree=1, rounds=1)


def line(network: Attacked, steps: int) -> list[Tensor]:
    """Agents in a line, each of which hears the one before it; returns who is infected after each step."""
    source = torch.tensor([5, 0, 1, 2, 3, 4]).view(1, 6, 1).expand(3, -1, -1)
    g = torch.Generator().manual_seed(1)
    out = []
    for step in range(steps):
        links = Links(source, torch.ones(3, 6, dtype=torch.bool))
        network.exchange(torch.randn(3, 6, LINE.width, generator=g), links, torch.full((3,), step), 0)
        out.append(network.adversary.message_guards[0]._infected[0].clone())
    return out


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_an_infection_goes_as_deep_as_the_limit(limit: int) -> None:
    """Infected agents re-root: what they pass on is sealed with their own keys and has all hops left."""
    free = comms(LINE, [attack("pollute", LINE, node=0)], [defense("authenticate", LINE)])
    assert line(free, 8)[-1][1:].all(), "without it everybody is infected"
    guarded = [defense("authenticate", LINE), defense("hop_limit", LINE, limit=limit)]
    network = comms(LINE, [attack("pollute", LINE, node=0)], guarded)
    infected = line(network, 20)[-1].tolist()
    assert infected[1:] == [n <= limit for n in range(1, 6)]


def test_an_infection_that_mutates_is_not_recognized() -> None:
    """The adaptive attack: every copy differs from all others by more than the tolerance."""
    guarded = [defense("authenticate", LINE), defense("hop_limit", LINE)]
    assert line(comms(LINE, [attack("pollute", LINE, node=0, mutation=0.1)], guarded), 8)[-1][1:].all()
    small = comms(LINE, [attack("pollute", LINE, node=0, mutation=1e-5)], guarded)
    assert not line(small, 8)[-1][2:].any()


def test_content_that_comes_back_to_its_root_is_a_loop() -> None:
    network = comms(
        LINE, [attack("pollute", LINE, node=0)], [defense("hop_limit", LINE, limit=64, unauthenticated=True)]
    )
    network.network.trace = []
    line(network, 12)
    refused = torch.stack([torch.as_tensor(r.refused["hop_limit"][0, :, 0]) for r in network.network.trace])
    assert refused[-1].tolist() == [True] + [False] * 5, "only agent 0, the root, refuses it"


def test_agents_that_say_different_things_are_heard() -> None:
    s = team_shape(worlds=4, agents=5, degree=3)
    network = comms(s, [], [defense("hop_limit", s, unauthenticated=True)])
    carry(network, conversation(s, 20, seed=2))
    assert not network.ledger["refused"].any()


@pytest.mark.parametrize(("nudge", "passes"), [(1e-5, False), (0.5, True)])
def test_its_limit_is_content_that_changes_on_the_way(nudge: float, passes: bool) -> None:
    """Repeats what agent 0 has said, a little changed, under agent 1's name."""
    kept: list[Tensor] = []

    def edits(view: MessageView) -> MessageEdits:
        kept.append(view.payload[:, 1, 0].clone())  # what agent 0 says to agent 1
        mine = view.reach & (view.sender == 1)
        before = kept[max(len(kept) - 2, 0)].view(3, 1, 1, -1)
        return MessageEdits(modify=mine, change=before + nudge - view.payload)

    relay = Scripted(LINE, ["read", "modify"], edits)
    network = comms(LINE, [relay], [defense("hop_limit", LINE, unauthenticated=True)])
    line_, network.network.trace = [], []
    source = torch.tensor([5, 0, 1, 2, 3, 4]).view(1, 6, 1).expand(3, -1, -1)
    for step in range(6):
        links = Links(source, torch.ones(3, 6, dtype=torch.bool))
        said = torch.randn(3, 6, LINE.width, generator=torch.Generator().manual_seed(step))
        line_.append(network.exchange(said, links, torch.full((3,), step), 0))
    assert bool(torch.stack([inbox.mask[:, 2, 0] for inbox in line_[2:]]).all()) == passes
    assert torch.stack([inbox.mask[:, [0, 1, 3, 4, 5], 0] for inbox in line_]).all()


@pytest.mark.parametrize(("relays", "reached"), [(HOPS, 5), (2, 2), (1, 1)])
def test_honest_relays_are_bounded_by_the_envelope(relays: int, reached: int) -> None:
    s = team_shape(worlds=1, agents=6, degree=5, rounds=1)
    chain = [known_channel("relay", s, s.degree)]
    chain[0] = type(chain[0])(type(chain[0]).Config(seconds=0.0), s, s.degree)
    network = comms(s, [], [defense("hop_limit", s, relays=relays, unauthenticated=True)], channels=chain)
    for e, inbox in zip(talk := conversation(s, 3, closed=0, ends=0), carry(network, talk), strict=True):
        apart = (e.links.source - torch.arange(6).view(1, -1, 1)).abs()
        assert torch.equal(inbox.mask, apart <= reached)


@pytest.mark.parametrize("hops", [-1, HOPS + 1, 255])
def test_impossible_hop_counts_are_refused(hops: int) -> None:
    from builders import forge

    s = team_shape(worlds=2, rounds=1)

    def edits(view: MessageView) -> MessageEdits:
        made = forge(view, s)
        return MessageEdits(inject=type(made)(**{**vars(made), "hops": torch.full_like(made.sender, hops)}))

    network = comms(s, [Scripted(s, ["inject"], edits)], [defense("hop_limit", s, unauthenticated=True)])
    carry(network, conversation(s, 3, closed=0, ends=0))
    assert torch.equal(network.ledger["refused"], network.ledger["forged"])


def test_payloads_that_are_not_finite_or_huge_are_judged() -> None:
    s = team_shape(worlds=2, rounds=1)
    network = comms(s, [attack("noise", s, epsilon=3e38)], [defense("hop_limit", s, unauthenticated=True)])
    network.network.trace = []
    carry(network, conversation(s, 4, closed=0, ends=0))
    for record in network.network.trace:
        assert torch.as_tensor(record.scores["hop_limit"]).isfinite().all()
