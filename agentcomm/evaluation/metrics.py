"""Built-in metrics, and the evaluation of all registered metrics."""

from __future__ import annotations

import math
from typing import ClassVar

from torch import Tensor

from agentcomm.base import registry
from agentcomm.base.calling import calling
from agentcomm.base.errors import ConfigError, HookError, NumberError
from agentcomm.contracts.metric import Metric, PooledMetric
from agentcomm.contracts.outcome import SHARES, Episodes
from agentcomm.contracts.world import World


def measure(episodes: Episodes) -> dict[str, float]:
    """Values of all registered metrics that apply, by name.

    Raises:
        NumberError: If a metric's value is not finite.
        HookError: If a metric raises an error, or its value is no number.
    """
    found: dict[str, float] = {}
    for name in registry.names("metric"):
        metric: Metric = registry.find("metric", name)(registry.build_config("metric", name, {}))
        with calling(f"metric {name!r}", "value"):
            value = metric.value(episodes)
        if value is None:
            continue
        if not isinstance(value, int | float):
            raise HookError(f"metric {name!r}: value must return a number or None, not {type(value).__name__}")
        if not math.isfinite(value):
            raise NumberError(f"metric {name!r} is {value}; a metric that does not apply returns None")
        found[name] = value
    return found


def score_of(world: World) -> Metric:
    """The metric by which teams are compared in a world's task.

    Raises:
        ConfigError: If it does not exist, has no better direction, or is not defined for single episodes.
    """
    metric: Metric = registry.find("metric", world.score)(registry.build_config("metric", world.score, {}))
    by_episode = type(metric).by_episode is not Metric.by_episode
    if metric.better == "neither" or not by_episode:
        problem = "says not which direction is better" if by_episode else "is not defined for single episodes"
        raise ConfigError(f"environment {world.name!r}: score={world.score!r} cannot be used; this metric {problem}")
    return metric


class MeanSteps(Metric):
    """Mean length of an episode, in steps."""

    unit, better = "steps", "lower"

    def by_episode(self, episodes: Episodes) -> Tensor:
        """[B] steps."""
        return episodes.length


class Success(Metric):
    """Share of episodes in which the team succeeds."""

    better = "higher"

    def by_episode(self, episodes: Episodes) -> Tensor:
        """[B] bool."""
        return episodes.success


class MeanReturn(Metric):
    """Return of an episode, averaged over present agents."""

    unit, better = "reward", "higher"

    def by_episode(self, episodes: Episodes) -> Tensor:
        """[B] reward."""
        return episodes.total_reward


class Harm(Metric):
    """Harm in an episode, as counted by the environment."""

    better = "lower"

    def by_episode(self, episodes: Episodes) -> Tensor:
        """[B] counts."""
        return episodes.harm


class GateOpen(Metric):
    """Share of open gates over all steps and agents."""

    def value(self, episodes: Episodes) -> float:
        """The share."""
        return episodes.gate_open


class MessagesPerStep(PooledMetric):
    """Messages that the team sends per step."""

    unit, better = "messages", "lower"

    def parts(self, episodes: Episodes) -> tuple[Tensor, Tensor]:
        """Messages and steps."""
        return episodes.messages["sent"], episodes.length


class BytesPerStep(PooledMetric):
    """Bytes that the team puts on the wire per step."""

    unit, better = "bytes", "lower"

    def parts(self, episodes: Episodes) -> tuple[Tensor, Tensor]:
        """Bytes and steps."""
        return episodes.bytes, episodes.length


class LatencySteps(PooledMetric):
    """Mean latency of arrived messages, in steps; applies if channels or attacks delay messages."""

    unit, better = "steps", "lower"

    def parts(self, episodes: Episodes) -> tuple[Tensor, Tensor] | None:
        """Latency in steps, and arrived messages."""
        steps, seconds = episodes.late_by
        return (steps, _arrived(episodes)) if seconds.any() else None


class LatencyMs(PooledMetric):
    """Mean latency of arrived messages, in milliseconds; applies if channels or attacks delay messages."""

    unit, better, scale = "ms", "lower", 1000

    def parts(self, episodes: Episodes) -> tuple[Tensor, Tensor] | None:
        """Latency in seconds, and arrived messages."""
        seconds = episodes.late_by[1]
        return (seconds, _arrived(episodes)) if seconds.any() else None


def _arrived(episodes: Episodes) -> Tensor:
    return episodes.messages["accepted"] + episodes.messages["refused"]


class DirectoryShare(PooledMetric):
    """A failure of a directory as a share; applies to worlds with a directory.

    Attributes:
        count: Name of the count (:class:`agentcomm.contracts.outcome.Facts`).
    """

    better = "lower"
    count: ClassVar[str]

    def parts(self, episodes: Episodes) -> tuple[Tensor, Tensor] | None:
        """The count, and the count of which it is a share."""
        facts = episodes.facts
        return None if facts is None else (getattr(facts, self.count), getattr(facts, SHARES[self.count]))


class Unserved(DirectoryShare):
    """Share of look-ups beyond the hub's capacity."""

    count = "unserved"


class Poisoned(DirectoryShare):
    """Share of look-ups whose answer differs from that of an honest hub."""

    count = "poisoned"


class Obeyed(DirectoryShare):
    """Share of look-ups after which the requester followed an instruction in a card's description."""

    count = "obeyed"


class Misrouted(DirectoryShare):
    """Share of routed tasks that an outsider received."""

    count = "misrouted"


class Spoiled(DirectoryShare):
    """Share of routed tasks that an outsider received and did not deliver."""

    count = "spoiled"


class Blocked(DirectoryShare):
    """Share of members' steps in which copies of a task kept them from taking another one."""

    count = "blocked"


class Slandered(DirectoryShare):
    """Share of recorded outcomes and ratings that are outsiders' ratings of members."""

    count = "slandered"


class Misblamed(DirectoryShare):
    """Share of attributed failures that are attributed to the wrong name."""

    count = "misblamed"
