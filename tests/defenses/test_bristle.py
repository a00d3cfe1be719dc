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


def weight(own: float, useful: float, classes: int = 1) -> float:
    """Without certainty, whose factor is the mean if all classes are the same."""
    full = torch.full((classes, 1), useful)
    return float(integrator(torch.full((classes, 1), own), full, torch.ones(classes, 1, dtype=torch.bool))) / useful


def test_the_integrator_is_the_authors() -> None:
    assert weight(0.5, 0.5) == pytest.approx(1.0)
    assert weight(0.9, 0.8) == pytest.approx(0.98, abs=0.01)
    assert weight(0.9, 0.7) == pytest.approx(0.26, abs=0.01)
    assert weight(0.9, 0.6) == 0.0
    assert weight(0.5, 0.9) == pytest.approx(3.82, abs=0.01)
    assert weight(0.9, 0.8, classes=8) < weight(0.9, 0.8)


def test_classes_that_do_not_occur_do_not_count() -> None:
    own, useful = torch.tensor([[0.9], [0.0]]), torch.tensor([[0.9], [1.0]])
    known = torch.tensor([[True], [False]])
    assert float(integrator(own, useful, known)) == pytest.approx(0.9)
    assert float(integrator(own, useful, ~known)) == pytest.approx(6.0, abs=0.01)


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
    made = defense("bristle", S)
    learn(made, examples(), 0)
    assert (made.weight[:, 0] > made.weight[:, 1:].amax(1) + 0.3).all()  # type: ignore[attr-defined]
    blind = defense("bristle", S)
    learn(blind, replace(examples(), predict=None), 0)
    assert blind.weight.eq(1).all()  # type: ignore[attr-defined]


def heard(exploration: float, payload: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """What receivers hear in each slot if all messages weigh the same."""
    made = defense("bristle", S, exploration=exploration)
    learn(made, replace(examples(), predict=None), 0)
    present, now = torch.ones(payload.shape[:3], dtype=torch.bool), torch.zeros(payload.shape[:3], dtype=torch.int64)
    made.weight = torch.ones(4, payload.shape[2])  # type: ignore[attr-defined]
    draws = Draws(torch.Generator(), own.device, "bristle")
    got = made.aggregate(InboxView(now[:, 0, 0], 0, present, now, payload, own, now, now, draws), {})
    assert got is not None
    return got


@pytest.mark.parametrize("lie", [100.0, float("inf"), float("nan")])
def test_what_is_far_away_is_not_heard(lie: float) -> None:
    """Of three messages, the nearest and the middle one are kept, and count as much as the own one."""
    own = torch.randn(2, 4, 4, generator=torch.Generator().manual_seed(1))
    payload = own.unsqueeze(2).repeat(1, 1, 3, 1) + 0.3
    payload[:, :, 1] = lie
    got = heard(0.4, payload, own)
    torch.testing.assert_close(got, (own + 0.2).unsqueeze(2).expand_as(got))


def test_thirds_are_kept_by_their_shares() -> None:
    """With 9 messages and a = 0.4, round(0.36 * 9) = 3 of the nearest, 4 and thus all 3 of the middle, 1 far one."""
    own = torch.zeros(64, 4, 4)
    size = torch.tensor([1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 40.0, 40.0, 40.0])
    payload = (size + torch.linspace(0, 0.01, 9)).view(1, 1, 9, 1).expand(64, 4, 9, 4)[:, :, torch.randperm(9)]
    for exploration, sums, count in ((0.4, 3 + 6 + 40, 7), (0.0, 3, 3), (1.0, 120, 3)):
        got = heard(exploration, payload, own)
        torch.testing.assert_close(got, torch.full_like(got, sums / (1 + count)), atol=0.02, rtol=0)
