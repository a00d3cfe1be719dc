"""Progress of training and evaluation: bars on the terminal's error stream or in a notebook; lines for logs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from agentcomm.base.text import visible

if TYPE_CHECKING:
    from agentcomm.evaluation.cells import Cell


EVERY = 30.0  # seconds between lines


def _console(wanted: bool | None) -> Console | None:
    """Where bars are shown; None for nowhere.

    Args:
        wanted: True and False decide; None shows bars to those who can see them: in a terminal or a notebook.
    """
    if wanted is False:
        return None
    console = Console(stderr=True)
    if console.is_jupyter and find_spec("ipywidgets") is None:  # rich would warn and show nothing
        return Console(file=sys.stderr, force_jupyter=False, force_terminal=True, width=80)
    return console if wanted or console.is_jupyter or sys.stderr.isatty() else None


class TrainingBar:
    """Shows training as a bar per team, with rate, episode length and success, and one of all teams."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self._tasks: dict[str, Any] = {}
        self._done: dict[str, int] = {}
        self._all: Any = None

    def begin(self, done: Mapping[str, int], total: int) -> None:
        """Start a bar of all teams if there are several."""
        self._done = dict(done)
        if len(done) > 1:
            self._all = self.progress.add_task(
                f"{len(done)} teams", total=total * len(done), completed=sum(done.values()), note=""
            )

    def team(self, name: str, done: int, total: int) -> None:
        """Start a bar for one team, or set it back."""
        if name in self._tasks:
            self.progress.reset(self._tasks[name], completed=done, note="")
        else:
            self._tasks[name] = self.progress.add_task(visible(name), total=total, completed=done, note="")
        self._advance(name, done)

    def iteration(self, name: str, row: dict[str, Any]) -> None:
        """Advance it."""
        shown = []
        if "env_steps_per_second" in row:
            shown.append(f"{row['env_steps_per_second'] / 1000:.1f}k steps/s")
        if "episode_length" in row:
            shown.append(f"length {row['episode_length']:.1f}")
        if row.get("success") is not None:
            shown.append(f"success {row['success']:.2f}")
        self.progress.update(self._tasks[name], completed=row["env_steps"], note=" ".join(shown))
        self._advance(name, row["env_steps"])

    def lost(self, name: str, text: str) -> None:
        """Say above the bars that a team's process was lost."""
        self.progress.console.print(visible(f"{name}: {text}"), markup=False, highlight=False, soft_wrap=True)

    def _advance(self, name: str, done: int) -> None:
        self._done[name] = done
        if self._all is not None:
            self.progress.update(self._all, completed=sum(self._done.values()))


class TrainingLines:
    """Prints training as lines, at most one every half minute, where a bar would not be seen; a watcher of training.

    Args:
        tell: Prints a line.
        clock: Seconds, from any start.
    """

    def __init__(self, tell: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._tell, self._clock = tell, clock
        self._all = _Pace({}, 0, 0.0)
        self._paces: dict[str, _Pace] = {}  # of the teams at work
        self._told = 0.0

    def begin(self, done: Mapping[str, int], total: int) -> None:
        """Know what is to be trained."""
        self._all = _Pace(dict(done), total, self._clock())

    def team(self, name: str, done: int, total: int) -> None:
        """Say that a team starts or is resumed."""
        self._told = self._clock()
        self._paces[name] = _Pace({name: done}, total, self._told)
        self._all.start(self._told)
        self._all.advance(name, done)
        self._tell(f"{name}: {done:,} of {total:,} env steps")

    def iteration(self, name: str, row: dict[str, Any]) -> None:
        """Say how far it is, how fast, how long it will still take, and how it does."""
        now, pace = self._clock(), self._paces[name]
        for one in (pace, self._all):
            one.advance(name, row["env_steps"])
        if now - self._told < EVERY and pace.left:
            return
        self._told = now
        said = self._together(now) if len(self._paces) > 1 and pace.left else self._alone(name, row, pace, now)
        if not pace.left:
            del self._paces[name]
        if self._all.left > pace.left and (rest := self._all.remaining(now)):
            said.append(f"about {rest} left for all")
        self._tell(", ".join(said))

    def lost(self, name: str, text: str) -> None:
        """Say that a team's process was lost."""
        self._tell(f"{name}: {text}")

    def _alone(self, name: str, row: dict[str, Any], pace: _Pace, now: float) -> list[str]:
        """Of one team."""
        done = row["env_steps"]
        said = [f"{name}: {done:,} of {pace.total:,} env steps ({min(done / pace.total, 1):.0%})"]
        said += [f"{rate / 1000:.1f}k steps/s"] if (rate := pace.rate(now)) else []
        if pace.left and (rest := pace.remaining(now)):
            said.append(f"about {rest} left for this team")
        return said + ([f"success {row['success']:.2f}"] if row.get("success") is not None else [])

    def _together(self, now: float) -> list[str]:
        """Of all teams at work."""
        said = [f"{name} {sum(pace.done.values()) / pace.total:.0%}" for name, pace in sorted(self._paces.items())]
        return said + ([f"{rate / 1000:.1f}k steps/s"] if (rate := self._all.rate(now)) else [])


class _Pace:
    """How fast teams are trained.

    Args:
        done: Env steps that each team has finished.
        total: Those that each is to be trained for.
        began: When training began, in seconds from any start.
    """

    def __init__(self, done: dict[str, int], total: int, began: float) -> None:
        self.done, self.total, self._began = done, total, began
        self._trained = 0

    @property
    def left(self) -> int:
        """Env steps left to train."""
        return sum(max(self.total - done, 0) for done in self.done.values())

    def start(self, now: float) -> None:
        """Begin now if nothing has been trained: that processes start says nothing of the rate."""
        if not self._trained:
            self._began = now

    def advance(self, name: str, done: int) -> None:
        """Count what a team has trained since; less than before if it was set back."""
        self._trained += max(done - self.done.get(name, done), 0)
        self.done[name] = done

    def rate(self, now: float) -> float:
        """Env steps per second."""
        return self._trained / (now - self._began) if now > self._began else 0.0

    def remaining(self, now: float) -> str:
        """How long the rest will take; empty if that is unknown."""
        rate = self.rate(now)
        return _duration(self.left / rate) if rate else ""


class EpisodeLines:
    """Prints how many episodes are done and to go as lines, at most one every half minute.

    Args:
        tell: Prints a line.
        total: Number of episodes.
        clock: Seconds, from any start.
    """

    def __init__(self, tell: Callable[[str], None], total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._tell, self._total, self._clock = tell, total, clock
        self._done = 0
        self._began = self._told = clock()

    def episode(self) -> None:
        """Count an episode, and say how long the others will still take."""
        now, self._done = self._clock(), self._done + 1
        to_go = self._total - self._done
        if not to_go or now - self._told < EVERY:
            return
        self._told = now
        left = _duration(to_go * (now - self._began) / self._done)
        self._tell(f"{self._done} of {self._total} episodes done ({self._done / self._total:.0%}), about {left} left")


def _duration(seconds: float) -> str:
    """A duration in two units at most, such as ``2 h 5 min``."""
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


@contextmanager
def training_bar(wanted: bool | None = None) -> Iterator[TrainingBar | None]:
    """A bar of training while the context lasts; None where it would not be seen."""
    columns: tuple[ProgressColumn, ...] = (
        TextColumn("{task.description:<10}", markup=False),
        BarColumn(bar_width=10),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[note]}", markup=False),
    )
    console = _console(wanted)
    if console is None:
        yield None
        return
    with Progress(*columns, console=console) as progress:
        yield TrainingBar(progress)


@contextmanager
def evaluation_bar(wanted: bool | None = None) -> Iterator[Callable[[Cell, float, int], None] | None]:
    """A bar of evaluation while the context lasts; None where it would not be seen.

    It is called before each cell, and within cells that take long, with a number of finished cells that has fractions.
    """
    columns: tuple[ProgressColumn, ...] = (
        TextColumn("evaluating"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.description}", markup=False),
    )
    console = _console(wanted)
    if console is None:
        yield None
        return
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=None)
        last = [1]

        def watch(cell: Cell, done: float, total: int) -> None:
            label = f"{'clean' if cell.attack is None else cell.attack.label} / {cell.defense_label}"
            progress.update(task, completed=done, total=total, description=visible(label))
            last[0] = total

        yield watch
        progress.update(task, completed=last[0], total=last[0], description="")
