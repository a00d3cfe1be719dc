"""RLlib carries the testbed: learning equals the plain loop, checkpoints hold everything, Tune can run it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small import ATTACKED, small

from agentcomm.base.errors import CheckpointError
from agentcomm.runs.config import RunConfig
from agentcomm.training import checkpoint
from agentcomm.training.algorithm import CommPPO, CommPPOConfig, join
from benchmarks.plain_loop import PlainLoop

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_running")]
MODULE = "default_policy"


def build(run: RunConfig, seed: int = 0) -> Any:
    return CommPPOConfig().team(run, "team", seed).build_algo()


def weights(algorithm: Any) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in algorithm.env_runner.module.policy.state_dict().items()}


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    different = [name for name in a if not torch.equal(a[name], b[name])]
    assert a.keys() == b.keys()
    assert not different, f"these differ: {different}"


@pytest.mark.parametrize("disturbed", [{}, ATTACKED], ids=["clean", "attacked and defended"])
def test_learns_exactly_what_the_plain_loop_learns(disturbed: dict[str, Any]) -> None:
    run = small(**disturbed)
    algorithm, plain = build(run), PlainLoop(run)
    assert_same(weights(algorithm), dict(plain.policy.state_dict()))
    for _ in range(3):
        algorithm.train()
        plain.iterate()
    assert_same(weights(algorithm), dict(plain.policy.state_dict()))
    algorithm.stop()


def test_in_training_evaluation_is_clean_and_plays_whole_episodes() -> None:
    algorithm = build(small("training.evaluate_every=1", attacks=[{"name": "drop"}]))
    assert algorithm.logdir is None, "an empty folder in the home"
    found = algorithm.train()["evaluation"]["env_runners"]
    assert found["num_episodes"] == 8
    assert 1 <= found["episode_len_mean"] <= 8
    assert algorithm.eval_env_runner.config.env_config["run"]["attacks"] == []
    algorithm.stop()


def test_evaluation_beside_training_is_that_of_the_weights_before_the_update() -> None:
    run, returns = small("training.evaluate_every=1", "training.evaluation_worlds=64"), []
    for parallel in (False, True):
        config = CommPPOConfig().team(run, "team", 0)
        if parallel:
            config.evaluation(evaluation_num_env_runners=1, evaluation_parallel_to_training=True)
        algorithm = config.build_algo()
        results = [algorithm.train()["evaluation"]["env_runners"] for _ in range(4)]
        algorithm.stop()
        assert [one["num_episodes"] for one in results] == [64] * 4
        returns.append([one["episode_return_mean"] for one in results])
    one_by_one, beside = returns
    assert one_by_one[1:] != one_by_one[:-1], "the policy did not move, so equality says nothing"
    assert beside[1:] == one_by_one[:-1]


def check_iteration(result: dict[str, Any], number: int, runners: int) -> None:
    """Of a team with a gate under attack: the ratio was one before the first step, and everything was counted."""
    steps = 16 * 8 * max(runners, 1)
    assert result["env_runners"]["num_env_steps_sampled"] == steps
    assert result["num_env_steps_sampled_lifetime"] == steps * number
    learned = result["learners"][MODULE]
    assert learned["first_ratio_error"] < 1e-5
    assert learned["ratio_error"] > 1e-4, "the policy did not move, so the ratio says nothing"
    assert result["env_runners"]["messages_forged"] > 0
    assert result["env_runners"]["messages_accepted_tampered"] > 0
    assert 0 < result["env_runners"]["gate_open"] < 1


@pytest.mark.parametrize("runners", [0, 2])
def test_a_restored_run_equals_an_uninterrupted_one(tmp_path: Path, runners: int) -> None:
    run = small(f"training.runners={runners}", **ATTACKED)
    whole = build(run)
    for number in (1, 2):
        check_iteration(whole.train(), number, runners)
    path = checkpoint.save(whole, tmp_path, keep=1)
    at_save = weights(whole)
    results = [whole.train() for _ in range(2)]
    expected = weights(whole)
    whole.stop()

    resumed = build(run)
    checkpoint.restore(resumed, path)
    assert_same(weights(resumed), at_save)
    assert resumed.iteration == 2
    for result in results:
        again = resumed.train()
        for key in ("num_env_steps_sampled_lifetime", "training_iteration"):
            assert again[key] == result[key]
        for key in ("episode_len_mean", "gate_open", "messages_forged"):
            assert again["env_runners"].get(key) == result["env_runners"].get(key), key
        assert again["learners"][MODULE]["loss"] == result["learners"][MODULE]["loss"]
    assert_same(weights(resumed), expected)
    resumed.stop()


def test_a_checkpoint_with_nan_is_refused(tmp_path: Path) -> None:
    algorithm = build(small())
    algorithm.train()
    parameter = algorithm.learner_group._learner.module[MODULE].policy.actor[0].weight
    with torch.no_grad():
        parameter[0, 0] = float("nan")
    path = checkpoint.save(algorithm, tmp_path, keep=1)
    algorithm.stop()
    fresh = build(small())
    with pytest.raises(CheckpointError, match=r"actor\.0\.weight contains NaN.*smaller training\.ppo\.learning_rate"):
        checkpoint.restore(fresh, path)
    (path / "state.safetensors").write_bytes(b"torn")
    with pytest.raises(CheckpointError, match=r"state\.safetensors has 4 bytes"):
        checkpoint.restore(fresh, path)
    fresh.stop()


def test_equal_seeds_learn_the_same_and_others_do_not() -> None:
    found = []
    for seed in (3, 3, 4):
        algorithm = build(small(), seed)
        algorithm.train()
        found.append(weights(algorithm))
        algorithm.stop()
    assert_same(found[0], found[1])
    assert any(not torch.equal(found[0][name], found[2][name]) for name in found[0])


def test_fragments_of_disturbed_and_quiet_runners_join() -> None:
    rows, rounds, agents, degree, width = 2, 2, 3, 1, 4
    links = np.array([[[1], [2], [0]]] * rows, np.int16)
    quiet = {"mask": np.ones((rows, rounds, agents, degree), bool), "links": links}
    loud = {
        "mask": np.ones((rows, rounds, agents, degree + 1), bool),
        "links": links,
        "source": np.zeros((rows, rounds, agents, degree + 1), np.int16),
        "delta": np.ones((rows, rounds, agents, degree + 1, width), np.float32),
    }
    joined = join([quiet, loud])
    assert joined["mask"].shape == (2 * rows, rounds, agents, degree + 1)
    assert not joined["mask"][:rows, ..., -1].any()
    assert (joined["source"][:rows, 0, :, 0] == links[..., 0]).all()
    assert not joined["delta"][:rows].any()
    assert joined["delta"][rows:].all()


@pytest.mark.slow  # processes of two trials are started, as in test_tune_schedulers.py
def test_tune_sweeps_a_field_of_the_config(tmp_path: Path) -> None:
    from ray import tune

    config = CommPPOConfig().team(small(), "team", 0)
    config.lr = tune.grid_search([1e-3, 1e-4])
    found = tune.Tuner(
        CommPPO,
        param_space=config,
        tune_config=tune.TuneConfig(max_concurrent_trials=1),
        run_config=tune.RunConfig(stop={"training_iteration": 2}, storage_path=str(tmp_path), verbose=0),
    ).fit()
    assert not found.errors
    assert sorted(r.metrics["learners"][MODULE]["learning_rate"] for r in found) == pytest.approx(
        [0.5e-4, 0.5e-3], rel=0.2
    )
