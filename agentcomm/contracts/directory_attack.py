"""A base for attacks on a directory, whose success is measured by the directory's counters."""

from __future__ import annotations

from abc import abstractmethod

from pydantic import Field
from torch import Tensor
from typing_extensions import TypeVar

from agentcomm.contracts.attack import Attack, AttackConfig
from agentcomm.contracts.outcome import Episodes, Facts


class DirectoryAttackConfig(AttackConfig):
    """Arguments every attack on a directory has."""

    threshold: float = Field(0.1, ge=0, le=1, description="share above which an episode counts as a success")


D_co = TypeVar("D_co", bound=DirectoryAttackConfig, default=DirectoryAttackConfig, covariant=True)


class DirectoryAttack(Attack[D_co]):
    """An attack on a directory. Implement ``threat_model``, ``on_directory`` and :meth:`share`."""

    def predicate(self) -> str | None:
        """The share of :meth:`share`, and its threshold."""
        what = (type(self).share.__doc__ or "its share").partition("\n")[0].rstrip(".")
        return f"{what[:1].lower()}{what[1:]} is above {self.config.threshold:g}"

    @abstractmethod
    def share(self, facts: Facts) -> Tensor:
        """[B] float32, the attack's measure of success in an episode: a share, such as of tasks or look-ups."""

    def succeeded(self, attacked: Episodes, clean: Episodes) -> Tensor:
        """[B] bool, the success predicate: a share above the threshold."""
        if attacked.facts is None:
            raise ValueError(f"{self.name} needs the counters of a directory, and these episodes had none")
        return self.share(attacked.facts) > self.config.threshold
