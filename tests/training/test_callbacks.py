"""Every callback of RLlib is called by batch-first runners, or refused by the config."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ray.rllib.callbacks.callbacks import RLlibCallback
from small import small

from agentcomm.base.errors import ConfigError
from agentcomm.training.algorithm import CommPPOConfig
from agentcomm.training.callbacks import CALLED, REFUSED, EndedEpisode

CALLS: list[tuple[str, dict[str, Any]]] = []
# These need a runner that dies; see test_sampling.py.
ELSEWHERE = {"on_env_runners_recreated"}


def test_every_callback_is_called_or_refused() -> None:
    known = {name for name in dir(RLlibCallback) if name.startswith("on_")}
    assert set(CALLED) | set(REFUSED) == known
    assert not set(CALLED) & set(REFUSED)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_callbacks_that_are_never_called_are_refused(name: str) -> None:
    """As a method of a class, and, where RLlib has an argument for it, as a function."""
    mine = type("Mine", (RLlibCallback,), {name: lambda self, **_: None})
    says = rf"callback {name} would never be called: .*use on_"
    with pytest.raises(ConfigError, match=says):
        CommPPOConfig().team(small(), "team", 0).callbacks(mine).validate()
    config = CommPPOConfig().team(small(), "team", 0)
    if hasattr(config, f"callbacks_{name}"):
        with pytest.raises(ConfigError, match=says):
            config.callbacks(**{name: lambda **_: None}).validate()


def record(name: str, *_: Any, **given: Any) -> None:
    """Can be pickled, as callbacks in a checkpoint must."""
    CALLS.append((name, given))


@pytest.mark.ray
@pytest.mark.usefixtures("ray_running")
@pytest.mark.parametrize("as_class", [True, False])
def test_the_others_are_called(tmp_path: Path, as_class: bool) -> None:
    CALLS.clear()
    functions = {name: partial(record, name) for name in CALLED}
    config = CommPPOConfig().team(small("training.evaluate_every=1"), "team", 0)
    if as_class:
        config.callbacks(type("Mine", (RLlibCallback,), functions))
    else:
        config.callbacks(**functions)
    algorithm = config.build_algo()
    result = algorithm.train()
    algorithm.save_checkpoint(str(tmp_path))
    algorithm.load_checkpoint(str(tmp_path))
    algorithm.stop()
    assert {name for name, _ in CALLS} == set(CALLED) - ELSEWHERE
    ended = [given for name, given in CALLS if name == "on_episode_end"]
    by_runner = {runner: [g for g in ended if g["env_runner"] is runner] for runner in {g["env_runner"] for g in ended}}
    assert sorted(map(len, by_runner.values())) == sorted(
        [int(result["env_runners"]["num_episodes"]), int(result["evaluation"]["env_runners"]["num_episodes"])]
    )
    last = ended[-1]["episode"]
    assert isinstance(last, EndedEpisode)
    assert len(last) == last.env_steps() == last.length <= 8
    assert ended[-1]["env_index"] == last.world
    samples = next(given["samples"] for name, given in CALLS if name == "on_sample_end")
    assert samples[0].columns["observation"].shape[0] == samples[0].env_steps() == 128


@pytest.mark.ray
@pytest.mark.usefixtures("ray_running")
def test_metrics_of_a_callback_are_in_the_result() -> None:
    class Mine(RLlibCallback):
        def on_episode_end(self, *, episode: Any, metrics_logger: Any, **_: Any) -> None:
            metrics_logger.log_value("own_length", episode.length, reduce="mean", window=8)

    algorithm = CommPPOConfig().team(small(), "team", 0).callbacks(Mine).build_algo()
    found = algorithm.train()["env_runners"]
    algorithm.stop()
    assert 1 <= found["own_length"] <= 8


def test_what_an_episode_does_not_have_is_named() -> None:
    with pytest.raises(AttributeError, match=r"no 'get_observations'.*on_sample_end"):
        EndedEpisode(0, 3, True, 1.0).get_observations  # noqa: B018
