"""The contract of a metric: a number computed from evaluated episodes."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal

from torch import Tensor
from typing_extensions import TypeVar

from agentcomm.base.plugin import Plugin, PluginConfig
from agentcomm.contracts.outcome import Episodes


class MetricConfig(PluginConfig):
    """Arguments of every metric; all have defaults, with which cells are measured."""


M_co = TypeVar("M_co", bound=MetricConfig, default=MetricConfig, covariant=True)


class Metric(Plugin[M_co]):
    """A number computed for each cell to which it applies. Implement ``by_episode`` or ``value``.

    Attributes:
        unit: Unit of the number; empty for shares and counts.
        better: Which direction is better for the team.
    """

    unit: ClassVar[str] = ""
    better: ClassVar[Literal["higher", "lower", "neither"]] = "neither"

    def __init__(self, config: M_co) -> None:
        self.config = config

    def by_episode(self, episodes: Episodes) -> Tensor | None:
        """[B] one number per episode; None if the metric does not apply, or is not defined for single episodes."""
        return None

    def value(self, episodes: Episodes) -> float | None:
        """The number of a cell, by default the mean over episodes; None if the metric does not apply."""
        single = self.by_episode(episodes)
        return None if single is None else float(single.float().mean())


class PooledMetric(Metric[M_co]):
    """A ratio of sums over all episodes, so that long episodes have a larger weight than short ones.

    Attributes:
        scale: Factor from the ratio to the metric's unit.
    """

    scale: ClassVar[int] = 1

    @abstractmethod
    def parts(self, episodes: Episodes) -> tuple[Tensor, Tensor] | None:
        """Numerator and denominator, [B] each; None if the metric does not apply."""

    def by_episode(self, episodes: Episodes) -> Tensor | None:
        """The ratio within each episode; 0 if the denominator is 0."""
        parts = self.parts(episodes)
        return None if parts is None else self.scale * parts[0] / parts[1].clamp_min(1)

    def value(self, episodes: Episodes) -> float | None:
        """The ratio of sums; 0 if the denominator is 0."""
        parts = self.parts(episodes)
        if parts is None:
            return None
        part, whole = (total.sum().item() for total in parts)
        return self.scale * part / max(whole, 1)
