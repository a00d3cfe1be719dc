"""The page of a comparison of runs."""

from __future__ import annotations

from pathlib import Path

from agentcomm.base.errors import FileError
from agentcomm.base.files import make_folder, write_text
from agentcomm.report.compare import RunComparison
from agentcomm.report.compare_tables import reading, tables
from agentcomm.report.templates import fill
from agentcomm.statistics import CLAIM_SEEDS


def write_page(made: RunComparison, output: Path) -> None:
    """Write the page, atomically replacing an older one.

    Raises:
        FileError: If it cannot be written.
    """
    try:
        make_folder(output.parent)
        write_text(output, page(made))
    except FileError as error:
        raise FileError(f"{error}; put the page elsewhere with --output FILE") from None


def page(made: RunComparison) -> str:
    """The page as HTML text."""
    return fill(
        "compare.html",
        styles=("page.css", "figures.css", "compare.css", "print.css"),
        made=made,
        first=made.names[0],
        headline=headline(made),
        tables=tables(made),
        reading=reading(made),
    )


def headline(made: RunComparison) -> str:
    """What the comparison shows, in a sentence; a claim only with enough seeds."""
    compared = [v.comparison for line in made.lines for v in line.values.values() if v.comparison is not None]
    claims = [c for c in compared if c.seeds >= CLAIM_SEEDS]
    runs = f"{', '.join(made.names[:-1])} and {made.names[-1]}" if len(made.names) < 5 else f"{len(made.names)} runs"
    if not compared:
        return f"{runs} have nothing that can be compared"
    if not claims:
        return f"{runs}, side by side: too few seeds for claims"
    stand = sum(c.supported for c in claims)
    if not stand:
        return f"No difference between {runs} can be told from chance with these seeds"
    return f"{stand} of {len(claims)} differences between {runs} can be told from chance"
