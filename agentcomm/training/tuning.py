"""A quiet screen for Ray Tune: a line per iteration of each trial, and errors, in place of its tables and warnings."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

from agentcomm.training import ray_session as ray_session  # first: it sets what Ray reads when it is imported

import ray  # isort: skip
from ray import tune  # isort: skip

NEW_OUTPUT = "RAY_AIR_NEW_OUTPUT"  # Tune's newer reporter prints tables whatever its verbosity
SCORE = "episode_return_mean"


def quiet_tune(tell: Callable[[str], None] = print, **settings: Any) -> tune.RunConfig:
    """Keep what Ray, RLlib and Tune report off the screen, except for errors.

    It starts Ray, without the output of its processes, unless one is running. That output is in Ray's logs; the error
    of a trial that failed is on the screen, in the trial's folder, and in what ``fit`` returns.

    Args:
        tell: Prints a line.
        settings: More arguments of ``tune.RunConfig``.

    Returns:
        The ``run_config`` of ``tune.Tuner``. It prints a line per iteration of each trial.
    """
    os.environ[NEW_OUTPUT] = "0"
    logging.getLogger("ray.rllib").setLevel(logging.ERROR)
    if ray.is_initialized():
        for name in ("ray", "ray.tune"):
            logging.getLogger(name).setLevel(logging.ERROR)
    else:
        ray.init(log_to_driver=False, logging_level="ERROR")
    callbacks = [*settings.pop("callbacks", ()), TrialLines(tell)]
    return tune.RunConfig(**{"verbose": 0} | settings, callbacks=callbacks)


class TrialLines(tune.Callback):
    """Prints a line per iteration of each trial.

    Args:
        tell: Prints a line.
    """

    def __init__(self, tell: Callable[[str], None] = print) -> None:
        self._tell = tell

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Say how far a trial is and how it does."""
        score = result.get("env_runners", {}).get(SCORE)
        said = f"trial {_name(trial)}: iteration {result['training_iteration']}"
        self._tell(said if score is None else f"{said}, episode return {score:.2f}")

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Say that a trial failed, and where its error is."""
        self._tell(f"trial {_name(trial)} failed; its error is in {trial.error_file}")


def _name(trial: Any) -> str:
    """A trial's number, and the arguments that it has for itself."""
    chosen = ", ".join(f"{key}={_short(value)}" for key, value in trial.evaluated_params.items())
    return f"{trial.trial_id.rpartition('_')[2]}" + (f" ({chosen})" if chosen else "")


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
