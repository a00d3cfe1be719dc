"""Pages of runs that are still training or being evaluated: rebuilt when files change, and kept current by a script."""

from __future__ import annotations

import hashlib
import math
import re
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import escape

from agentcomm.base.errors import AgentcommError, FileError
from agentcomm.base.text import visible
from agentcomm.report.build import render
from agentcomm.report.charts import learning_charts
from agentcomm.report.load import VARIANTS, RunData, load_run, number
from agentcomm.report.templates import digest, fill, source
from agentcomm.report.text import fixed, percent

FILES = ("config.yaml", "cells.jsonl", "episodes.json", "teams/*/progress.jsonl")
# Columns of the table of teams, as they are called in ``progress.jsonl``, with their decimals.
NUMBERS = {"episode return": "episode_return", "episode length": "episode_length", "success": "success"}
PAUSE = 2.0  # seconds between two builds
SHARE = 20.0  # builds take at most one part in this of the time, as the run needs the processor
POLICY = re.compile(r'(<meta http-equiv="Content-Security-Policy" content=")([^"]*)(">)')


@dataclass(frozen=True)
class Page:
    """A page that can be served.

    Attributes:
        body: The page in UTF-8.
        tag: Its entity tag, in quotes.
        policy: Its Content-Security-Policy.
    """

    body: bytes
    tag: str
    policy: str


@dataclass(frozen=True)
class Team:
    """A row of the table of teams, as text."""

    name: str
    share: str
    steps: str
    numbers: list[str]


class LiveReport:
    """The report of a run whose files may be growing.

    Args:
        folder: Folder of the run.

    Raises:
        AgentcommError: If the run cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._seen = self._files()
        self._page = self._build()

    def page(self) -> Page:
        """The page for the present files, or one that is a few seconds old while they keep changing.

        If the files cannot be read any more, the last page stays.
        """
        with self._lock:
            files = self._files()
            if files != self._seen and time.monotonic() >= self._next:
                self._seen = files
                try:
                    self._page = self._build()
                except (AgentcommError, OSError):
                    self._seen = ()  # such as a run that is being moved: try again
        return self._page

    def _build(self) -> Page:
        began = time.monotonic()
        self._next = began + PAUSE
        run = load_run(self._folder, live=True)
        html = render(run) if run.cells else waiting_page(run)
        took = time.monotonic() - began
        self._next = time.monotonic() + max(PAUSE, SHARE * took)
        return keep_current(html, status(run), max((at for _, at, _ in self._seen), default=0) // 10**6)

    def _files(self) -> tuple[tuple[str, int, int], ...]:
        """Name, time of the last change in ns, and size of each file that the page shows."""
        found = []
        for path in (path for pattern in FILES for path in sorted(self._folder.glob(pattern))):
            try:
                about = path.stat()
            except OSError:  # it is just being replaced
                continue
            found.append((str(path), about.st_mtime_ns, about.st_size))
        return tuple(found)


def waiting_page(run: RunData) -> str:
    """The page of a run without cells: how far each team is, and the learning curves."""
    teams = _teams(run)
    trained = sum(team.share == "100%" for team in teams)
    if not any(curve.rows for curve in run.curves):
        headline = "No team has finished an iteration of training yet"
    elif trained < len(teams):
        headline = f"{trained} of {len(teams)} teams are trained"
    else:
        headline = "All teams are trained"
    return fill(
        "live.html",
        styles=("page.css", "figures.css", "print.css"),
        run=run,
        folder=run.folder,
        headline=headline,
        teams=teams,
        columns=list(NUMBERS),
        learning=learning_charts(run.curves, "mean_return"),
    )


def status(run: RunData) -> str:
    """How far the run is, in a few words."""
    behind = [team for team in _teams(run) if team.share != "100%"]
    if not behind:
        return f"{len(run.cells):,} cells evaluated" if run.cells else "all teams are trained"
    at = next((team for team in reversed(behind) if team.share != "0%"), behind[0])
    cells = f", {len(run.cells):,} cells evaluated" if run.cells else ""
    return f"{at.name}: {at.share} trained, {len(behind)} team{'s' * (len(behind) > 1)} to go{cells}"


def keep_current(html: str, words: str, changed: int) -> Page:
    """A page with the script that replaces it by newer ones, and with a line that says so.

    Args:
        html: A page of the report.
        words: How far the run is.
        changed: Time of the last change of its files, in milliseconds since 1970.

    Raises:
        FileError: If the page has no Content-Security-Policy to which the script can be added.
    """
    script = source("live.js")
    tag = f'"{hashlib.sha256(f"{html}{words}{script}".encode()).hexdigest()[:32]}"'
    found = POLICY.search(html)
    if found is None or "script-src " not in found[2] or "</body>" not in html:
        raise FileError("page.html has no Content-Security-Policy or no end; install agentcomm again")
    policy = found[2].replace("script-src ", f"connect-src 'self'; script-src 'sha256-{digest(script)}' ", 1)
    html = f"{html[: found.start(2)]}{policy}{html[found.end(2) :]}"
    end = html.rindex("</body>")
    line = (
        f"<style>\n{source('live.css')}</style>\n"
        f'<aside class="live" aria-label="Live report" data-live data-tag="{escape(tag)}" data-changed="{changed}">'
        f'<i aria-hidden="true"></i> {escape(visible(words))}<span data-live-note></span></aside>\n'
        f"<script>{script}</script>\n"
    )
    return Page(f"{html[:end]}{line}{html[end:]}".encode(), tag, f"{policy}; frame-ancestors 'none'")


def _teams(run: RunData) -> list[Team]:
    """All teams of the config, and those with progress, with the last numbers of each."""
    curves = {(curve.variant, curve.seed): curve.rows[-1] for curve in run.curves}
    training, seeds = run.config.get("training"), run.config.get("seeds")
    goal = number(training.get("env_steps")) if isinstance(training, dict) else math.nan
    variants = VARIANTS if run.config.get("control") is True else VARIANTS[:1]
    known = [(v, s) for s in seeds if type(s) is int for v in variants] if isinstance(seeds, list) else []
    return [_team(*key, curves.get(key, {}), goal) for key in dict.fromkeys([*known, *curves])]


def _team(variant: str, seed: int, last: dict[str, Any], goal: float) -> Team:
    done = number(last.get("env_steps", 0))
    # floored: a team is done when it has all of its steps
    share = math.floor(100 * min(1.0, done / goal)) / 100 if goal > 0 else math.nan
    steps = f"{done:,.0f}" + (f" of {goal:,.0f}" if math.isfinite(goal) else "")
    return Team(f"{variant}-{seed}", percent(share), steps, [fixed(number(last.get(k)), 2) for k in NUMBERS.values()])
