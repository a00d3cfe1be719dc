"""RLlib's callbacks: which of them batch-first runners call, and the episode that they pass."""

from __future__ import annotations

from typing import Any

from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.callbacks.utils import make_callback
from ray.rllib.utils import force_list

from agentcomm.base.errors import ConfigError

CALLED = (
    "on_algorithm_init",
    "on_checkpoint_loaded",
    "on_env_runners_recreated",
    "on_environment_created",
    "on_episode_end",
    "on_evaluate_end",
    "on_evaluate_start",
    "on_sample_end",
    "on_train_result",
)
PER_EPISODE = "batch-first runners step all worlds at once; use on_episode_end or on_sample_end"
OFFLINE = "there is no offline evaluation; use on_evaluate_start or on_evaluate_end"
OLD_STACK = "it belongs to RLlib's old API stack; use on_sample_end or on_train_result"
REFUSED = {
    "on_create_policy": OLD_STACK,
    "on_episode_created": PER_EPISODE,
    "on_episode_start": PER_EPISODE,
    "on_episode_step": PER_EPISODE,
    "on_evaluate_offline_end": OFFLINE,
    "on_evaluate_offline_start": OFFLINE,
    "on_learn_on_batch": OLD_STACK,
    "on_offline_eval_runners_recreated": OFFLINE,
    "on_postprocess_trajectory": OLD_STACK,
    "on_sub_environment_created": "worlds are created together; use on_environment_created",
    "on_workers_recreated": "it was renamed; use on_env_runners_recreated",
}


class EndedEpisode:
    """The episode of ``on_episode_end``: what a batch-first runner keeps of one, with RLlib's names where it has any.

    Attributes:
        world: Index of its world among the runner's, RLlib's ``env_index``.
        length: Steps.
        success: Whether the task was solved; None if the environment does not say so.
        total_return: Reward summed over steps, mean over agents.
    """

    is_done = True

    def __init__(self, world: int, length: int, success: bool | None, total_return: float) -> None:
        self.world = world
        self.length = length
        self.success = success
        self.total_return = total_return

    def __len__(self) -> int:
        return self.length

    def env_steps(self) -> int:
        """Steps."""
        return self.length

    def get_return(self) -> float:
        """Reward summed over steps, mean over agents."""
        return self.total_return

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"episodes of batch-first runners have world, length, success and total_return, but no {name!r};"
            f" the recorded steps are in on_sample_end's samples[0].columns"
        )


def refuse_uncalled(config: Any) -> None:
    """Check that every callback of a config will be called.

    Raises:
        ConfigError: If one will not be.
    """
    for name, why in REFUSED.items():
        plain = getattr(RLlibCallback, name)
        overridden = any(getattr(cls, name, plain) is not plain for cls in force_list(config.callbacks_class))
        if overridden or getattr(config, f"callbacks_{name}", None) is not None:
            raise ConfigError(f"callback {name} would never be called: {why}")


class RunnerCallbacks:
    """Calls the callbacks of one env runner.

    Args:
        runner: The env runner; its config names the callbacks.
    """

    def __init__(self, runner: Any) -> None:
        self.runner = runner
        self.objects = [cls() for cls in force_list(runner.config.callbacks_class)]

    def wants(self, name: str) -> bool:
        """Whether a callback is set, so that what it is given must be prepared."""
        plain = getattr(RLlibCallback, name)
        return bool(self._functions(name)) or any(getattr(type(o), name, plain) is not plain for o in self.objects)

    def call(self, name: str, **details: Any) -> None:
        """Call a callback by its name, with the runner and its metrics."""
        about = {"env_runner": self.runner, "metrics_logger": self.runner.metrics} | details
        make_callback(
            name, callbacks_objects=self.objects, callbacks_functions=self._functions(name) or None, kwargs=about
        )

    def _functions(self, name: str) -> list[Any]:
        return list(force_list(getattr(self.runner.config, f"callbacks_{name}", None)))
