"""The contracts of metrics: numbers computed from evaluated episodes, or from all cells of a team.

A metric derives from the class that says what it is computed from: :class:`Metric` from the episodes of one cell,
:class:`PairedMetric` from those of an attacked cell and a counterpart, :class:`DetectorMetric` from the scores that a
defense gave to messages, and :class:`SuiteMetric` from the rows of all cells of one training seed.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Literal, get_args

from torch import Tensor
from typing_extensions import TypeVar

from agentcomm.base.plugin import Plugin, PluginConfig
from agentcomm.contracts.outcome import Episodes
from agentcomm.contracts.scored import ScoredMessages
from agentcomm.contracts.suite import Suite

# What a security claim reports.
Group = Literal[
    "task", "retained", "attack", "detection", "cost", "certificate", "adaptive", "privacy", "graph"
]  # fmt: skip
GROUPS: tuple[Group, ...] = get_args(Group)
# The same episodes without the attack, under its matched control, or with the messages it touches dropped.
Counterpart = Literal["clean", "control", "silence"]


class MetricConfig(PluginConfig):
    """Arguments of every metric; all have defaults, with which cells are measured."""


M_co = TypeVar("M_co", bound=MetricConfig, default=MetricConfig, covariant=True)


class Metric(Plugin[M_co]):
    """A number computed for each cell to which it applies. Implement ``by_episode`` or ``value``.

    Attributes:
        unit: Unit of the number; empty for shares and counts.
        better: Which direction is better for the team.
        group: Which part of a security claim it belongs to.
        source: Where it is defined: a paper with its equation or section; may be empty.
    """

    unit: ClassVar[str] = ""
    better: ClassVar[Literal["higher", "lower", "neither"]] = "neither"
    group: ClassVar[Group] = "task"
    source: ClassVar[str] = ""

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


class PairedMetric(Metric[M_co]):
    """A number of an attacked cell, compared with a counterpart in which world and decisions draw the same numbers.

    Attributes:
        against: The counterpart.
    """

    against: ClassVar[Counterpart] = "clean"

    @abstractmethod
    def compare(self, attacked: Episodes, other: Episodes) -> float | None:
        """The number of a cell; None if the metric does not apply.

        Args:
            attacked: B episodes under the attack.
            other: The same episodes in the counterpart.
        """

    def against_any(self, attacked: Episodes, counterparts: Mapping[str, Episodes]) -> float | None:
        """The number of a cell, given its counterparts by name; None if that of this metric is not among them."""
        other = counterparts.get(self.against)
        return None if other is None else self.compare(attacked, other)


class DetectorMetric(Metric[M_co]):
    """A number of a defense that gives scores: how well they tell messages that an attack touched from others."""

    @abstractmethod
    def of(self, scored: ScoredMessages, clean: ScoredMessages | None) -> float | None:
        """The number of a defense in a cell; None if the metric does not apply.

        Args:
            scored: The messages that it scored in the cell, and in the clean episodes.
            clean: Those that it scored in the same episodes without an attack, by which thresholds are chosen; None if
                they are not known, as in the cell without an attack itself.
        """


class SuiteMetric(Metric[M_co]):
    """A number over all cells of one training seed with the same defenses. Implement ``by_attack`` or ``over``."""

    def by_attack(self, suite: Suite) -> dict[str, float]:
        """A number per attack to which the metric applies, by the attack's label."""
        return {}

    def over(self, suite: Suite) -> float | None:
        """The number of the suite, by default the mean over attacks; None if the metric does not apply."""
        single = self.by_attack(suite)
        return sum(single.values()) / len(single) if single else None
