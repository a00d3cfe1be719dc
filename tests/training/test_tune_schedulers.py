"""Schedulers of Ray Tune on CommPPOConfig: ASHA stops trials early, PBT lets them take over checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ray import tune
from ray.tune.schedulers import ASHAScheduler, PopulationBasedTraining
from small import small

from agentcomm.training.algorithm import CommPPO, CommPPOConfig

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_running")]
# Known beforehand, unlike the success of a team that has hardly been trained.
MEASURE = {"metric": "learners/default_policy/learning_rate", "mode": "max"}


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
        run_config=tune.RunConfig(stop={"training_iteration": iterations}, storage_path=str(folder), verbose=0, **more),
    ).fit()
    assert not found.errors
    return found


def test_asha_stops_the_worse_trials(tmp_path: Path) -> None:
    scheduler = ASHAScheduler(max_t=4, grace_period=1, reduction_factor=2)
    found = tuned(tmp_path, scheduler, [1e-3, 1e-9], 4, at_once=1)
    assert [result.metrics["training_iteration"] for result in found] == [4, 1]
    for lines, result in zip((4, 1), found, strict=True):
        assert len(Path(result.path, "result.json").read_text().splitlines()) == lines
        assert len(Path(result.path, "progress.csv").read_text().splitlines()) == lines + 1


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
