"""Gathered attention equals attention over all pairs, as the paper writes it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import dense_attention, pairs

from agentcomm.contracts.inbox import Inbox
from policies.parts.attention import ListeningBlock


@given(
    seed=st.integers(0, 2**31),
    agents=st.integers(2, 16),
    heads=st.sampled_from([1, 2, 4]),
    disturbed=st.booleans(),
)
@settings(max_examples=40, deadline=None)
@torch.no_grad()
def test_block_equals_dense_relation_enhanced_attention(seed: int, agents: int, heads: int, disturbed: bool) -> None:
    """Any links, any losses; and in slots after them what somebody injected in another agent's name."""
    torch.manual_seed(seed)
    width, worlds = 16, 2
    block = ListeningBlock(width, heads).double()
    block.relation.normal_()
    block.query_bias.normal_()
    token = torch.randn(worlds, agents, width, dtype=torch.float64)
    slots = int(torch.randint(1, agents, ()))
    degree = int(torch.randint(0, slots + 1, ()))
    keys = torch.rand(worlds, agents, agents)
    keys.diagonal(dim1=1, dim2=2).fill_(-1)
    source = keys.topk(slots, -1).indices
    links = source[..., :degree]
    mask = torch.rand(source.shape) < 0.7
    scale = torch.rand(source.shape).double() if disturbed else None
    delta = torch.randn(*source.shape, width).double() if disturbed else None
    inbox = Inbox(token, source, mask, links, scale, delta)
    expected = dense_attention(block, token, pairs(source, inbox.payload()), pairs(source, mask), pairs(links))
    torch.testing.assert_close(block(token, inbox), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("part", ["relation", "query_bias"])
@torch.no_grad()
def test_the_relation_and_the_bias_matter(part: str) -> None:
    """Otherwise the test above would not say that they are where they belong."""
    torch.manual_seed(0)
    block = ListeningBlock(8, 2)
    token = torch.randn(1, 3, 8)
    # 0 and 1 listen to each other, 2 to 0 alone, who does not listen to it.
    source = torch.tensor([[[1], [0], [0]]])
    inbox = Inbox(token, source, torch.ones_like(source, dtype=torch.bool), source)
    assert inbox.mutual().flatten().tolist() == [True, True, False]
    before = block(token, inbox)
    changed = getattr(block, part)
    changed[0 if part == "relation" else ...] += torch.randn(8)
    differs = (block(token, inbox) - before).abs().sum(-1)[0] > 1e-6
    assert differs.tolist() == ([False, False, True] if part == "relation" else [True, True, True])
