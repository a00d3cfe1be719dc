"""The command ``report``."""

from __future__ import annotations

from agentcomm import api
from agentcomm.cli.options import RunFolder
from agentcomm.cli.screen import say, warn_of_broken_lines


def report(run: RunFolder) -> None:
    """Write RUN/report.html: a self-contained page with results, learning curves, graphs and an episode player."""
    say(f"The report is {api.report(run)}")
    warn_of_broken_lines(run)
