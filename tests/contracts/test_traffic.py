"""Payloads in affine form equal payloads written out, however often stages touch them."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from agentcomm.contracts.inbox import Inbox, gather_agents
from agentcomm.contracts.traffic import Links, Traffic

B, N, K, D = 2, 4, 3, 5


def traffic(seed: int, spare: int = 1) -> Traffic:
    g = torch.Generator().manual_seed(seed)
    source = torch.randint(N, (B, N, K), generator=g)
    links = Links(source, torch.rand(B, N, generator=g) < 0.7)
    return Traffic.on_links(torch.randn(B, N, D, generator=g), links, torch.tensor([3, 0]), 1, 2, spare)


def test_envelopes_on_links_say_what_they_are() -> None:
    t = traffic(0)
    assert t.slots == K + 1
    assert not t.present[..., K:].any()
    for b in range(B):
        for i in range(N):
            for m in range(K):
                j = int(t.source[b, i, m])
                assert t.sender[b, i, m] == t.origin[b, i, m] == j
                assert t.audience[b, i, m] == t.receiver[b, i, m] == i
                assert t.sent_at[b, i, m] == (3, 0)[b]
                assert t.sequence[b, i, m] == (7, 1)[b], "step * rounds + round"
                assert torch.equal(t.payload()[b, i, m], t.spoken[b, j])
    assert (t.sent_round == 1).all()
    assert (t.key == -1).all()
    assert not t.seal.any()


def test_gather_agents_picks_within_the_world() -> None:
    values, index = torch.randn(B, N, D), torch.randint(N, (B, N, K))
    picked = gather_agents(values, index)
    for b in range(B):
        for i in range(N):
            for m in range(K):
                assert torch.equal(picked[b, i, m], values[b, index[b, i, m]])


@given(seed=st.integers(0, 999), edits=st.lists(st.sampled_from(["edit", "add", "scale"]), max_size=5))
@settings(max_examples=60, deadline=None)
def test_any_edits_equal_those_on_written_out_payloads(seed: int, edits: list[str]) -> None:
    g = torch.Generator().manual_seed(seed)
    t = traffic(seed)
    plain = t.payload()
    for edit in edits:
        where = torch.rand(t.present.shape, generator=g) < 0.5
        change = torch.randn(*t.present.shape, D, generator=g)
        factor = torch.rand(t.present.shape, generator=g) * 2
        if edit == "edit":
            t, plain = t.edit_payload(where, change), torch.where(where.unsqueeze(-1), change, plain)
        elif edit == "add":
            t, plain = t.add_payload(where, change), torch.where(where.unsqueeze(-1), plain + change, plain)
        else:
            t, plain = t.scale_payload(factor), plain * factor.unsqueeze(-1)
    torch.testing.assert_close(t.payload(), plain, rtol=1e-5, atol=1e-5)
    if not edits:
        assert t.scale is None
        assert t.delta is None, "untouched traffic costs nothing"


@given(seed=st.integers(0, 999), scaled=st.booleans(), shifted=st.booleans(), cached=st.booleans())
@settings(max_examples=60, deadline=None)
def test_projecting_equals_projecting_the_payload(seed: int, scaled: bool, shifted: bool, cached: bool) -> None:
    g = torch.Generator().manual_seed(seed)
    t = traffic(seed)
    scale = torch.randn(t.present.shape, generator=g) if scaled else None
    delta = torch.randn(*t.present.shape, D, generator=g) if shifted else None
    inbox = Inbox(t.spoken, t.source, t.present, t.source[..., :K], scale, delta)
    linear = nn.Linear(D, 7, bias=False)
    with torch.no_grad():
        plain = t.spoken @ linear.weight.T if cached else None
        torch.testing.assert_close(inbox.project(linear.weight, plain), linear(inbox.payload()), rtol=1e-5, atol=1e-5)


def test_gradients_reach_only_who_is_still_heard() -> None:
    """A replaced payload says nothing of what was spoken; a shifted one still does, a scaled one in proportion."""
    spoken = torch.randn(1, 3, D, requires_grad=True)
    source = torch.tensor([[[1, 2], [0, 2], [0, 1]]])
    t = Traffic.on_links(spoken, Links(source, torch.ones(1, 3, dtype=torch.bool)), torch.zeros(1, dtype=int), 0, 1, 0)
    from_one = source == 1
    replaced = t.edit_payload(from_one, torch.randn(1, 3, 2, D)).add_payload(~from_one, torch.randn(1, 3, 2, D))
    halved = replaced.scale_payload(torch.full((1, 3, 2), 0.5))

    def gradient(x: Tensor) -> Tensor:
        return torch.autograd.grad(x.sum(), spoken)[0][0, :, 0]

    assert gradient(replaced.payload()).tolist() == [2, 0, 2]
    assert gradient(halved.payload()).tolist() == [1, 0, 1]
