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


def test_sparse_and_changed_messages_are_gathered() -> None:
    spoken = torch.randn(1, 9, 4)
    links = torch.zeros(1, 9, 3, dtype=torch.int64)
    mask = torch.ones(1, 9, 3, dtype=torch.bool)
    assert not attention._is_dense(Inbox(spoken, links, mask, links))
    wide, heard = links.expand(1, 9, 3).repeat(1, 1, 2), mask.repeat(1, 1, 2)
    assert attention._is_dense(Inbox(spoken, wide, heard, wide))
    assert not attention._is_dense(Inbox(spoken, wide, heard, wide, scale=torch.ones(1, 9, 6)))
