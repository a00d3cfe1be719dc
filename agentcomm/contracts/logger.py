"""The contract of loggers: they carry the progress of a team in training to where its user looks at it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

Value = int | float | str | bool | None
Numbers = Mapping[str, int | float]


@dataclass(frozen=True)
class LoggedTeam:
    """A team whose training is logged.

    Attributes:
        run: Name of the run.
        name: Name of the team, such as ``team-0``.
        run_folder: The run's folder.
        folder: The team's folder, for files of the logger.
        identity: What names the team among all others, for services that many runs share. It stays the same when
            training is resumed, and changes when it starts again.
        resumed: Whether this team has been logged before, under the same identity.
        parameters: The config with dotted keys, variant and seed, hashes of config and code, and versions.
    """

    run: str
    name: str
    run_folder: Path
    folder: Path
    identity: str
    resumed: bool
    parameters: Mapping[str, Value]


class Logger(ABC):
    """Logs one team, from its first iteration or from where it was left.

    Attributes:
        logged: Env steps up to which the team has been logged before; what came later is logged first.
    """

    logged: int = 0

    @abstractmethod
    def __init__(self, team: LoggedTeam) -> None:
        """Open, or open again, the log of a team."""

    @abstractmethod
    def write(self, row: Numbers) -> None:
        """Log an iteration.

        Args:
            row: Numbers by name, among them ``iteration``, ``env_steps`` and ``seconds``. Not every row has all names.
        """

    @abstractmethod
    def close(self, finished: bool) -> None:
        """End.

        Args:
            finished: Whether the team is trained; otherwise training was stopped or failed.
        """
