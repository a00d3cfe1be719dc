"""Who observes training: a watcher, such as a progress bar, and TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from tensorboardX import SummaryWriter

Row = dict[str, Any]
NOT_DRAWN = ("graph_entropy_rows", "threads")  # of a row of progress


class Watcher(Protocol):
    """Observer of training, such as a progress bar."""

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


class Board:
    """TensorBoard files of a team.

    Args:
        team: The team's folder.
        done: Env steps finished; what was drawn of later ones is removed.
    """

    def __init__(self, team: Path, done: int) -> None:
        self._writer = SummaryWriter(str(team / "tensorboard"), purge_step=done or None)

    def draw(self, row: Row) -> None:
        """Draw a row of progress."""
        for key, value in row.items():
            if key not in NOT_DRAWN:
                self._writer.add_scalar(key, value, row["env_steps"])

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()
