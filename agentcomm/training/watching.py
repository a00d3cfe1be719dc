"""Who observes training: a watcher, such as a progress bar, and records of it: TensorBoard and loggers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from tensorboardX import SummaryWriter

from agentcomm.runs.config import Variant
from agentcomm.runs.folder import Run
from agentcomm.training.loggers import Loggers

Row = dict[str, Any]
NOT_DRAWN = ("graph_entropy_rows", "threads")  # of a row of progress


class Watcher(Protocol):
    """Observer of training, such as a progress bar.

    One with a method ``lost(name, text)`` is also told of each team whose process was lost, and what is known of it.
    """

    def begin(self, done: Mapping[str, int], total: int) -> None:
        """Called once, with the env steps that each team to train has finished, and those it is to be trained for."""

    def team(self, name: str, done: int, total: int) -> None:
        """Called when a team starts, or starts again from a checkpoint, with ``done`` env steps finished."""

    def iteration(self, name: str, row: Row) -> None:
        """Called after an iteration of a team; ``row`` is its line in ``progress.jsonl``."""


class Silent:
    """A watcher that ignores everything."""

    def begin(self, done: Mapping[str, int], total: int) -> None:
        """Ignore."""

    def team(self, name: str, done: int, total: int) -> None:
        """Ignore."""

    def iteration(self, name: str, row: Row) -> None:
        """Ignore."""


class Records:
    """TensorBoard files of a team, and the loggers that the run names.

    Args:
        run: The run.
        team: Variant and training seed.
        done: Env steps finished; what was drawn of later ones is removed.
    """

    def __init__(self, run: Run, team: tuple[Variant, int], done: int) -> None:
        self._writer = SummaryWriter(str(run.team(*team) / "tensorboard"), purge_step=done or None)
        self._loggers = Loggers(run, *team)

    def add(self, row: Row) -> None:
        """Draw and log a row that is in the team's progress already."""
        for key, value in row.items():
            if key not in NOT_DRAWN:
                self._writer.add_scalar(key, value, row["env_steps"])
        self._loggers.write(row)

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()
        self._loggers.close()
