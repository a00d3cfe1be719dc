"""bristle: the authors' weights, what is far away is not heard, and useless links weigh less than useful ones."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from builders import defense, team_shape

from agentcomm.contracts.calibrating import learn
from agentcomm.contracts.examples import Examples
from agentcomm.contracts.verdicts import Draws, InboxView
from agentcomm.defenses.bristle import integrator

S = team_shape(worlds=2, agents=4, degree=3, width=4, rounds=1)


def weight(own: float, useful: float) -> float:
    """Without certainty, whose factor is the mean if all episodes are the same."""
    full = torch.full((6, 1), useful)
    return float(integrator(torch.full((6, 1), own), full, torch.arange(6))) / useful


def test_the_integrator_is_the_authors() -> None:
    assert weight(0.5, 0.5) == pytest.approx(1.0)
    assert weight(0.9, 0.8) == pytest.approx(0.98, abs=0.01)
    assert weight(0.9, 0.7) == pytest.approx(0.26, abs=0.01)
    assert weight(0.9, 0.6) == 0.0


def examples() -> Examples:
    """Four agents of which each takes the sign of what the first slot says; the others do not matter."""
    g = torch.Generator().manual_seed(0)
    payload, own = torch.randn(40, 4, 3, 4, generator=g), torch.randn(40, 4, 4, generator=g)

    def predict(rows: torch.Tensor, heard: torch.Tensor) -> torch.Tensor:
        signal = 4 * heard[:, :, 0, 0]
        return torch.stack([signal, -signal], -1)

    present = torch.ones(40, 4, 3, dtype=torch.bool)
    sender = torch.tensor([[j for j in range(4) if j != i] for i in range(4)]).expand(40, -1, -1)
    step = torch.arange(40)
    return Examples(payload, present, sender, own, step % 5, step * 0, step // 5, g, step, predict)


def test_useful_links_weigh_more() -> None:
    made = defense("bristle", S, exploit=3, explore=0)
    learn(made, examples(), 0)
    assert (made.weight[:, 0] > made.weight[:, 1:].amax(1) + 0.3).all()  # type: ignore[attr-defined]
    blind = defense("bristle", S)
    learn(blind, replace(examples(), predict=None), 0)
    assert blind.weight.eq(1).all()  # type: ignore[attr-defined]


@pytest.mark.parametrize("lie", [100.0, float("inf"), float("nan")])
def test_what_is_far_away_is_not_heard(lie: float) -> None:
    made = defense("bristle", S, exploit=2, explore=0)
    learn(made, replace(examples(), predict=None), 0)
    own = torch.randn(2, 4, 4, generator=torch.Generator().manual_seed(1))
    payload = own.unsqueeze(2).repeat(1, 1, 3, 1) + 0.1
    payload[:, :, 1] = lie
    present, now = torch.ones(2, 4, 3, dtype=torch.bool), torch.zeros(2, 4, 3, dtype=torch.int64)
    draws = Draws(torch.Generator(), own.device, "bristle")
    got = made.aggregate(InboxView(now[:, 0, 0], 0, present, now, payload, own, now, now, draws), {})
    assert got is not None
    torch.testing.assert_close(got[:, :, 1], own)
    torch.testing.assert_close(got[:, :, ::2], payload[:, :, ::2])
