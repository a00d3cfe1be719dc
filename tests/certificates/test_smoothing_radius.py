"""Certified radii: published formulas, and no shift within a radius changes the likeliest action."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import binom, norm

from agentcomm.certificates.smoothing import lower_bound, message_radius, radius


def test_the_bound_is_clopper_and_pearsons() -> None:
    for votes, samples in ((1, 10), (7, 10), (99, 100), (100, 100)):
        p = lower_bound(votes, samples, 0.01)
        assert binom.sf(votes - 1, samples, p) == pytest.approx(0.01)
    assert lower_bound(0, 10, 0.01) == 0.0
    assert lower_bound(100, 100, 0.001) == pytest.approx(0.001 ** (1 / 100))


def test_the_radius() -> None:
    assert radius(50, 100, 1.0, 2) == 0.0  # no majority
    assert radius(100, 100, 0.5, 1, 0.001) == pytest.approx(0.5 * norm.ppf(0.001**0.01))
    assert radius(90, 100, 1.0, 5) < radius(90, 100, 1.0, 2) < radius(95, 100, 1.0, 2)
    assert message_radius(2.0, 4) == 1.0


def test_no_shift_within_the_radius_changes_the_likeliest_action() -> None:
    """A linear classifier, for which the bound is tight: its noisy vote flips exactly at the true radius."""
    g, sigma, samples = torch.Generator().manual_seed(0), 0.5, 400
    for distance in (0.1, 0.3, 0.6):  # from the boundary, along the first axis
        x = torch.tensor([distance, 0.0, 0.0])
        noisy = x + sigma * torch.randn(samples, 3, generator=g)
        votes = int((noisy[:, 0] > 0).sum())
        assert radius(votes, samples, sigma, 2) <= distance
        assert distance < 0.3 or radius(votes, samples, sigma, 2) > 0
