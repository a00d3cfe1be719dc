"""Schedulers of Ray Tune on CommPPOConfig: ASHA stops trials early, PBT lets them take over checkpoints; the screen."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray import tune
from ray.tune.schedulers import ASHAScheduler, PopulationBasedTraining
from small import small

from agentcomm.training.algorithm import CommPPO, CommPPOConfig
from agentcomm.training.tuning import NEW_OUTPUT, TrialLines, quiet_tune

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_running")]
# Known beforehand, unlike the success of a team that has hardly been trained.
MEASURE = {"metric": "learners/default_policy/learning_rate", "mode": "max"}


@pytest.fixture(autouse=True)
def _settings_of_one_test(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(NEW_OUTPUT, "1")
    loggers = [logging.getLogger(name) for name in ("ray", "ray.tune", "ray.rllib")]
    before = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)


def tuned(
    folder: Path, scheduler: Any, rates: list[float], iterations: int, at_once: int, **more: Any
) -> tune.ResultGrid:
    """Train a trial per learning rate, in turns, for so many iterations at most."""
    config = CommPPOConfig().team(small("environment.max_steps=4", "training.env_steps=512"), "team", 0)
    config.lr = tune.grid_search(rates)
    found = tune.Tuner(
        CommPPO,
        param_space=config,
        tune_config=tune.TuneConfig(scheduler=scheduler, max_concurrent_trials=at_once, **MEASURE),
        run_config=quiet_tune(stop={"training_iteration": iterations}, storage_path=str(folder), **more),
    ).fit()
    assert not found.errors
    return found


def test_asha_stops_the_worse_trials(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The screen has a line per iteration and nothing else."""
    scheduler = ASHAScheduler(max_t=4, grace_period=1, reduction_factor=2)
    found = tuned(tmp_path, scheduler, [1e-3, 1e-9], 4, at_once=1)
    assert [result.metrics["training_iteration"] for result in found] == [4, 1]
    for lines, result in zip((4, 1), found, strict=True):
        assert len(Path(result.path, "result.json").read_text().splitlines()) == lines
        assert len(Path(result.path, "progress.csv").read_text().splitlines()) == lines + 1
    said, warned = capfd.readouterr()
    began = [line.partition(", episode return")[0] for line in said.splitlines()]
    first = [f"trial 00000 (lr=0.001): iteration {number}" for number in (1, 2, 3, 4)]
    assert (began, warned) == ([*first, "trial 00001 (lr=1e-09): iteration 1"], "")


def test_a_trial_that_failed_is_named() -> None:
    said: list[str] = []
    trial = SimpleNamespace(trial_id="9bd3f_00002", evaluated_params={"lr": -1.0, "n": 2}, error_file="/ray/error.txt")
    TrialLines(said.append).on_trial_error(1, [], trial)
    assert said == ["trial 00002 (lr=-1, n=2) failed; its error is in /ray/error.txt"]


@pytest.mark.slow  # six processes are started; that a checkpoint holds everything: test_rllib.py
def test_pbt_takes_over_the_checkpoint_of_a_better_trial(tmp_path: Path) -> None:
    """The trial that takes over goes on with weights, optimizer and counters, and with another learning rate."""
    scheduler = PopulationBasedTraining(
        time_attr="training_iteration",
        perturbation_interval=2,
        quantile_fraction=0.5,
        hyperparam_mutations={"lr": [2e-4, 3e-4]},
        synch=True,
    )
    checkpoints = tune.CheckpointConfig(checkpoint_frequency=2)
    found = tuned(tmp_path, scheduler, [1e-3, 1e-9], 4, at_once=2, checkpoint_config=checkpoints)
    assert [result.metrics["training_iteration"] for result in found] == [4, 4]
    assert scheduler._num_perturbations >= 1
    assert {result.metrics["num_env_steps_sampled_lifetime"] for result in found} == {4 * 128}
