"""Random numbers computed from draws: functions of the draw and the place, and distributed as they should be."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.graphs.noise import gumbel, gumbel_at, logistic, new_draws, uniform, uniform_at

DRAWS = st.lists(st.integers(-1, 2**62), min_size=1, max_size=6)


@given(draws=DRAWS, rows=st.integers(1, 5), columns=st.integers(1, 5), order=st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_a_number_depends_on_its_draw_and_place_alone(draws: list[int], rows: int, columns: int, order: object) -> None:
    together = uniform(torch.tensor(draws), rows, columns)
    assert together.shape == (len(draws), rows, columns)
    for number, draw in enumerate(draws):
        alone = uniform(torch.tensor([draw]), rows, columns)[0]
        assert torch.equal(together[number], alone)
        longer = uniform(torch.tensor([draw]), rows * columns + 3)[0]
        assert torch.equal(alone.flatten(), longer[:-3]), "places are counted from the first one"
    order.shuffle(draws)  # type: ignore[attr-defined]
    assert torch.equal(uniform(torch.tensor(draws), rows, columns).sort(0).values, together.sort(0).values)


def test_other_draws_and_other_places_give_other_numbers() -> None:
    numbers = uniform(torch.arange(-1, 40), 6, 6)
    # Of 1476 numbers out of 2^23, more than three equal pairs are not to be expected.
    assert numbers.unique().numel() > numbers.numel() - 4


@pytest.mark.parametrize("draws", [torch.arange(1000), new_draws(1000, torch.Generator().manual_seed(0))])
def test_uniform_numbers_are_uniform_and_unrelated(draws: torch.Tensor) -> None:
    """Also of draws that are consecutive numbers."""
    numbers = uniform(draws, 200).double()
    count = numbers.numel()
    assert numbers.min() > 0
    assert numbers.max() < 1
    assert abs(float(numbers.mean()) - 0.5) < 5 * (1 / 12 / count) ** 0.5
    assert abs(float(numbers.var()) - 1 / 12) < 5 * (1 / 180 / count) ** 0.5
    cells = torch.histc(numbers, 50, 0, 1)
    chi = float(((cells - count / 50) ** 2 / (count / 50)).sum())
    assert chi < 49 + 5 * (2 * 49) ** 0.5
    centered = (numbers - 0.5) * 12**0.5
    for a, b in ((centered[1:], centered[:-1]), (centered[:, 1:], centered[:, :-1])):
        assert abs(float((a * b).mean())) < 5 * a.numel() ** -0.5, "neighbors are uncorrelated"


def test_some_places_only() -> None:
    draws = new_draws(3, torch.Generator().manual_seed(0))
    place = torch.tensor([[4, 0, 17], [1, 1, 2], [9, 19, 3]])
    assert torch.equal(uniform_at(draws, place), uniform(draws, 4, 5).flatten(1).gather(1, place))
    assert torch.equal(gumbel_at(draws, place[:1]), gumbel(draws, 20)[:, place[0]])


@pytest.mark.parametrize("bits", [0, -1, 2**63 - 1, -(2**63), -(2**40)])
def test_the_rarest_bits_still_give_finite_noise(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A uniform number that rounds to 0 or 1 would make a logit infinite, and its softmax no number."""
    monkeypatch.setattr("policies.graphs.noise.mix", lambda x: torch.full_like(x, bits))
    draw = torch.zeros(1, dtype=torch.int64)
    assert 0 < float(uniform(draw, 1)) < 1
    assert gumbel(draw, 1).isfinite()
    assert logistic(draw, 1).isfinite()


def test_gumbel_and_logistic_numbers_have_their_moments() -> None:
    draws = new_draws(1000, torch.Generator().manual_seed(1))
    g, lo = gumbel(draws, 200).double(), logistic(draws, 200).double()
    assert g.isfinite().all()
    assert lo.isfinite().all()
    assert float(g.mean()) == pytest.approx(0.5772, abs=0.015)
    assert float(g.var()) == pytest.approx(math.pi**2 / 6, rel=0.02)
    assert float(lo.mean()) == pytest.approx(0, abs=0.02)
    assert float(lo.var()) == pytest.approx(math.pi**2 / 3, rel=0.02)
    for logit in (-2.0, 0.0, 1.0):
        share = float((lo + logit > 0).double().mean())
        assert share == pytest.approx(torch.tensor(logit).sigmoid().item(), abs=0.006)


def test_draws_come_from_the_generator_and_none_means_exact() -> None:
    first, again, other = (new_draws(500, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not (first == other).any()
    assert (first >= 0).all()
    assert first.unique().numel() == 500
