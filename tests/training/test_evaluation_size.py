"""Evaluation in training has as many episodes as fit a tenth of the time of training."""

from __future__ import annotations

import pytest

from agentcomm.training import evaluation_size
from agentcomm.training.evaluation_size import EvaluationSize


class Clock:
    now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(evaluation_size, "time", made)
    return made


@pytest.mark.parametrize(
    ("seconds_per_step", "length", "trained", "episodes"),
    [
        (1 / 40_000, 20.0, 6.0, 256),
        (1 / 370, 500.0, 120.0, 8),  # pursuit: 12 s for 4,440 steps
        (1 / 370, 500.0, 5.0, 1),  # two seconds at least, and one episode
        (1 / 370, 20.0, 120.0, 128),
        (1 / 370, None, 120.0, 4),  # no episode has ended: they may last all 1000 steps
    ],
)
def test_episodes_fit_what_a_step_costs(
    clock: Clock, seconds_per_step: float, length: float | None, trained: float, episodes: int
) -> None:
    for fixed in (False, True):
        size = EvaluationSize(256, fixed, 1000)
        clock.now += trained
        size.measure(seconds_per_step, length)
        assert size.begin() == (256 if fixed else episodes), "256 if the config asks for them"


def test_an_evaluation_that_took_too_long_is_smaller_next_time_and_never_grows(clock: Clock) -> None:
    size = EvaluationSize(256, False, 1000)
    sizes = []
    for seconds in (64.0, 4.0, 1.0, 1.0):
        clock.now += 80
        size.measure(1 / 40_000, 20.0)
        sizes.append(size.begin())
        clock.now += seconds
        size.end()
    assert sizes == [256, 32, 32, 32]
