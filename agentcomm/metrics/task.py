"""Task: what the team achieves, and how a directory fails it."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from agentcomm.contracts.metric import Metric, PooledMetric
from agentcomm.contracts.outcome import SHARES, Episodes

IC3NET = "Singh et al., IC3Net, ICLR 2019, section 4"
PROTOCOL = "Gorsane et al., Towards a standardised performance evaluation protocol for cooperative MARL, NeurIPS 2022"
SURVEY = "A survey of LLM-driven AI agent communication, arXiv 2506.19676, version 4"
FAILURES = "Zhang et al., Which agent causes task failures and when?, ICML 2025"


class MeanSteps(Metric):
    """Mean length of an episode, in steps."""

    unit, better, source = "steps", "lower", IC3NET

    def by_episode(self, episodes: Episodes) -> Tensor:
        """[B] steps."""
        return episodes.length


class Success(Metric):
    """Share of episodes in which the team succeeds, where the environment says what success is."""

    better, source = "higher", IC3NET

    def by_episode(self, episodes: Episodes) -> Tensor | None:
        """[B] bool; None if the environment does not say it."""
        return episodes.success if episodes.success_known else None


class MeanReturn(Metric):
    """Return of an episode, averaged over present agents."""

    unit, better, source = "reward", "higher", PROTOCOL

    def by_episode(self, episodes: Episodes) -> Tensor:
        """[B] reward."""
        return episodes.total_reward


class Harm(Metric):
    """Harm in an episode, as counted by the environment."""

    better, source = "lower", "the environment's own count, World.harm"

    def by_episode(self, episodes: Episodes) -> Tensor:
        """[B] counts."""
        return episodes.harm


class DirectoryShare(PooledMetric):
    """A failure of a directory as a share; applies to worlds with a directory.

    Attributes:
        count: Name of the count (:class:`agentcomm.contracts.outcome.Facts`).
    """

    better, source = "lower", SURVEY
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

    count, source = "misblamed", FAILURES
