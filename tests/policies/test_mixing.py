"""Closed links: nothing of them is heard, and their gradient is the difference that hearing them would make."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from agentcomm.contracts.inbox import Inbox
from policies.parts.mixing import mean_mix, softmax_mix, sum_mix

HEADS, WIDTH = 3, 4
Mix = Callable[[Tensor, Tensor, Inbox], Tensor]
MIXES: dict[str, Mix] = {
    "softmax": softmax_mix,
    "mean": lambda _, values, inbox: mean_mix(values[:, :, 1:].flatten(-2), inbox).unflatten(-1, (HEADS, WIDTH)),
    "sum": lambda _, values, inbox: sum_mix(values[:, :, 1:].flatten(-2), inbox).unflatten(-1, (HEADS, WIDTH)),
}


def made(seed: int = 0, slots: int = 5) -> tuple[Tensor, Tensor, Inbox]:
    """Scores, values and inboxes of some receivers: slots that were heard, closed, and lost; some hear nothing."""
    torch.manual_seed(seed)
    scores = 2 * torch.randn(2, 6, 1 + slots, HEADS, dtype=torch.float64)
    values = torch.randn(2, 6, 1 + slots, HEADS, WIDTH, dtype=torch.float64)
    fate = torch.randint(0, 3, (2, 6, slots))
    fate[:, 0], fate[:, 1, 1:], fate[:, 2] = 1, 2, 2
    fate[:, 1, 0], fate[:, 3] = 0, 0
    mask, closed = fate == 0, fate == 1
    source = torch.zeros_like(fate)
    return scores, values, Inbox(torch.zeros(2, 6, 1), source, mask, source, closed=closed)


def heard_by(inbox: Inbox, mask: Tensor) -> Inbox:
    return replace(inbox, mask=mask, closed=None, weight=None, listening=None)


def gradients(mix: Mix, scores: Tensor, values: Tensor, inbox: Inbox, wanted: Tensor) -> Tensor:
    """[..., heads, W] gradient of every entry of the output with respect to ``wanted`` [B, N, ...]."""
    out = mix(scores, values, inbox)
    parts = [
        torch.autograd.grad(out[..., h, w].sum(), wanted, retain_graph=True)[0]
        for h in range(HEADS)
        for w in range(WIDTH)
    ]
    return torch.stack(parts, -1).unflatten(-1, (HEADS, WIDTH))


@pytest.mark.parametrize("name", MIXES)
def test_the_gradient_of_a_link_is_with_minus_without(name: str) -> None:
    mix = MIXES[name]
    scores, values, inbox = made()
    weight = inbox.mask.double().requires_grad_()
    found = gradients(mix, scores, values, replace(inbox, weight=weight), weight)
    for m in range(inbox.mask.shape[-1]):
        slot = torch.arange(inbox.mask.shape[-1]) == m
        difference = mix(scores, values, heard_by(inbox, inbox.mask | slot)) - mix(
            scores, values, heard_by(inbox, inbox.mask & ~slot)
        )
        expected = difference * inbox.audible[:, :, m, None, None]
        torch.testing.assert_close(found[:, :, m], expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", MIXES)
def test_the_gradient_of_a_receivers_gate_is_the_joint_difference(name: str) -> None:
    mix = MIXES[name]
    scores, values, inbox = made()
    open_ = torch.tensor([0.0, 1, 0, 1, 1, 0], dtype=torch.float64).expand(2, -1)
    inbox = replace(inbox, mask=inbox.mask & (open_ > 0).unsqueeze(-1))
    listening = open_.clone().requires_grad_()
    found = gradients(mix, scores, values, replace(inbox, listening=listening, open=open_ > 0), listening)
    everything = torch.where((open_ > 0).unsqueeze(-1), inbox.mask, inbox.closed)
    nothing = torch.zeros_like(inbox.mask)
    difference = mix(scores, values, heard_by(inbox, everything)) - mix(scores, values, heard_by(inbox, nothing))
    torch.testing.assert_close(found, difference, rtol=1e-6, atol=1e-8)
    assert found[:, [0, 3]].abs().amin() > 1e-6, "closed as open"


@pytest.mark.parametrize("name", MIXES)
def test_closed_links_change_nothing_and_have_no_other_gradient(name: str) -> None:
    """The output and all gradients but those of the weights equal those of masking, bit for bit."""
    mix = MIXES[name]
    scores, values, inbox = made()
    results = []
    for carried in (False, True):
        s, v = (x.clone().float().requires_grad_() for x in (scores, values))
        here = heard_by(inbox, inbox.mask)
        if carried:
            weight = inbox.mask.float().requires_grad_()
            listening = inbox.mask.any(-1).float().requires_grad_()
            here = replace(inbox, weight=weight, listening=listening, open=listening > 0)
        out = mix(s, v, here)
        grads = torch.autograd.grad(out.square().sum(), (s, v), allow_unused=True)
        results.append([out, *(g for g in grads if g is not None)])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_a_link_with_all_of_the_attention_has_a_finite_gradient() -> None:
    scores, values, inbox = made()
    weight = inbox.mask.float().requires_grad_()
    scores = (1000 * scores).float()
    out = softmax_mix(scores, values.float(), replace(inbox, weight=weight))
    (gradient,) = torch.autograd.grad(out.square().sum(), weight)
    assert gradient.isfinite().all()
