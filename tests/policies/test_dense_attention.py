"""Large dense teams attend by products of all pairs, which equals attention to gathered messages."""

from __future__ import annotations

import pytest
import torch

from agentcomm.contracts.inbox import Inbox
from policies.parts import attention
from policies.parts.attention import ListeningBlock

WORLDS, AGENTS, WIDTH = 5, 9, 12


@pytest.mark.parametrize("degree", [5, 8])
@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("own", [True, False])
def test_both_ways_are_equal(degree: int, heads: int, own: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(degree + heads)
    block = ListeningBlock(WIDTH, heads)
    others = torch.stack([torch.tensor([j for j in range(AGENTS) if j != i]) for i in range(AGENTS)])
    links = torch.stack([others[:, torch.randperm(AGENTS - 1)[:degree].sort().values] for _ in range(WORLDS)])
    mask = torch.rand(WORLDS, AGENTS, degree) < 0.7
    mask[0, 0] = False  # hears nobody
    results = []
    for smallest in (AGENTS, AGENTS + 1):  # dense, gathered
        monkeypatch.setattr(attention, "DENSE_AGENTS", smallest)
        generator = torch.Generator().manual_seed(1)
        token = torch.randn(WORLDS, AGENTS, WIDTH, generator=generator).requires_grad_()
        spoken = token if own else torch.randn(WORLDS, AGENTS, WIDTH, generator=generator).requires_grad_()
        inbox = Inbox(spoken, links, mask, links)
        assert attention._is_dense(inbox) == (smallest == AGENTS)
        out = block(token, inbox)
        results.append([out, *torch.autograd.grad(out.square().sum(), [token, spoken, *block.parameters()])])
    for dense, gathered in zip(*results, strict=True):
        torch.testing.assert_close(dense, gathered, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("closes", [False, True])
def test_both_ways_give_links_the_same_gradient(closes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(2)
    block, token = ListeningBlock(WIDTH, 2), torch.randn(WORLDS, AGENTS, WIDTH)
    links = torch.stack([torch.tensor([j for j in range(AGENTS) if j != i]) for i in range(AGENTS)])
    links = links.expand(WORLDS, -1, -1)
    closed = (torch.rand(links.shape) < 0.5) if closes else torch.zeros(links.shape, dtype=torch.bool)
    weight = (~closed).float().requires_grad_()
    inbox = Inbox(token, links, ~closed, links, weight=weight, closed=closed if closes else None)
    found = []
    for smallest in (AGENTS, AGENTS + 1):
        monkeypatch.setattr(attention, "DENSE_AGENTS", smallest)
        found.append(torch.autograd.grad(block(token, inbox).square().sum(), [weight, *block.parameters()]))
    for dense, gathered in zip(*found, strict=True):
        torch.testing.assert_close(dense, gathered, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("degree", [1, 3, 8])
def test_who_also_listens_is_found_by_pairs_of_agents_or_of_links(degree: int) -> None:
    links = torch.rand(3, AGENTS, AGENTS).diagonal_scatter(torch.full((3, AGENTS), -1.0), 0, 1, 2).topk(degree).indices
    source = links[..., torch.randperm(degree)]
    inbox = Inbox(torch.randn(3, AGENTS, 2), source, torch.ones_like(source, dtype=torch.bool), links)
    expected = [[[i in links[w, j].tolist() for j in source[w, i].tolist()] for i in range(AGENTS)] for w in range(3)]
    assert inbox.mutual().tolist() == expected


def test_sparse_and_changed_messages_are_gathered() -> None:
    spoken = torch.randn(1, 9, 4)
    links = torch.zeros(1, 9, 3, dtype=torch.int64)
    mask = torch.ones(1, 9, 3, dtype=torch.bool)
    assert not attention._is_dense(Inbox(spoken, links, mask, links))
    wide, heard = links.expand(1, 9, 3).repeat(1, 1, 2), mask.repeat(1, 1, 2)
    assert attention._is_dense(Inbox(spoken, wide, heard, wide))
    assert not attention._is_dense(Inbox(spoken, wide, heard, wide, scale=torch.ones(1, 9, 6)))
