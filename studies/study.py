"""What all studies share: their command, and the frame of their pages."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from book import CLAIM_SEEDS, DOCS, Book, Judged
from cells import RUNS, Cells, told
from plan import STUDIES, Grid, cells, group_label
from run import JOBS, evaluate

from agentcomm.base.errors import AgentcommError
from agentcomm.base.files import write_text

MOST_REASON = 110  # characters of a reason
Write = Callable[[Book], str]


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def page(book: Book, title: str, question: str, answer: str, parts: Sequence[str], judged: Mapping[str, Judged]) -> str:
    """The frame of a page: question, answer, figures and tables, claims, and method.

    Args:
        book: The page's numbers.
        title: Headline.
        question: What is asked.
        answer: Two sentences.
        parts: Figures, tables and what they show.
        judged: Its claims.
    """
    claims = f"## Claims and their evidence\n\n{CLAIMS}\n\n{book.listed(judged)}" if judged else ""
    whole = [f"# {title}\n", f"**Question.** {question}\n", f"**Answer.** {answer}\n", *parts, claims]
    return "\n".join([*whole, method(book)])


CLAIMS = (
    "The words of each claim were fixed for every outcome before the ten teams were evaluated; the test picks them."
    " *p* is for one claim, and *corrected* for all claims of this page (Holm); ten teams can reach 0.002 at best."
    " Intervals are not corrected. How strong the evidence is: an *exact paired test* flips the signs of differences"
    " between teams; an *equivalence test* shows that a difference stays within a margin; *a single known answer* is"
    " one task with one solution; *analytical* follows from the construction. *Judged by* says who made the oracle."
)


def method(book: Book) -> str:
    """How the numbers of a page were made, and what is missing from them."""
    name, grids = book.study, STUDIES[book.study]
    runs = sorted({grid.run for grid in grids})
    rows = [row for key, some in book.cells.by_key.items() if key[0] in runs for row in some.values()]
    here = {key[0] for key in book.cells.by_key}
    episodes = "/".join(map(str, sorted({row["episodes"] for row in rows}))) or "no"
    linked = ", ".join(f"[{run}](../studies/runs/{run}/config.yaml)" for run in runs if run in here)
    lines = [
        "## Method\n",
        f"Teams: {linked}, ten seeds each{_fewer(book, runs)}, {episodes} greedy episodes per cell, the same"
        " episodes in every cell of a run. Each number is a mean over teams, with its 95% interval over teams in"
        " parentheses (Student's t; on the log-odds scale for shares). *Damage* is in units of the environment's score"
        " (steps for Predator-Capture-Prey, return otherwise) and positive if the team does worse; *control* is the"
        " damage of the attack's matched control, which spends what the attack spends; *silence* is the damage of"
        " dropping the same messages, and *lie* what goes beyond. *Success* is the share of episodes that are worse"
        " than under the control minus the share that are better, or the rate of the attack's own predicate minus the"
        " control's.\n",
        f"`python studies/{name}.py` evaluates the missing cells and writes this page from them;"
        f" [numbers.json]({name}/numbers.json) and [claims.json]({name}/claims.json) say how each is made of"
        f" fields of cells, and"
        " `tests/studies/recompute.py` makes them again without the testbed's code. `agentcomm rerun` evaluates a"
        " printed cell again.\n",
        _missing(grids, book, runs, here),
    ]
    return "\n".join(lines)


def _fewer(book: Book, runs: Sequence[str]) -> str:
    """Which runs have fewer than ten teams, in words."""
    teams: dict[str, set[int]] = {}
    for (run, variant, *_), some in book.cells.by_key.items():
        if run in runs and variant == "team":
            teams.setdefault(run, set()).update(some)
    few = [f"`{run}` ({len(seeds)})" for run, seeds in sorted(teams.items()) if len(seeds) < CLAIM_SEEDS]
    return f" but for {', '.join(few)}" if few else ""


def _missing(grids: Sequence[Grid], book: Book, runs: Sequence[str], here: set[str]) -> str:
    """Cells that are not scored, in words."""
    lines = [f"- `{run}`: not evaluated yet" for run in runs if run not in here]
    known, every = set(book.cells.by_key), {cell for grid in grids if grid.run in here for cell in cells(grid)}
    if absent := len({(*c[:3], group_label(c[3]), told(json.loads(c[4]))) for c in every} - known):
        lines.append(f"- {absent} other cells: not evaluated yet")
    grouped: dict[tuple[str, str, str, int, str], list[str]] = {}
    for run, attack, defense, status, teams, reason in book.cells.troubles(grids):
        why = reason if len(reason) <= MOST_REASON else reason[: MOST_REASON - 1] + "\N{HORIZONTAL ELLIPSIS}"
        grouped.setdefault((run, attack, status, teams, why), []).append(group_label(defense))
    for (run, attack, status, teams, why), defenses in grouped.items():
        under = "" if defenses == ["none"] else f", with {', '.join(f'`{defense}`' for defense in defenses)}"
        lines.append(f"- {status}: `{attack}` on {run}, {teams} of its teams{under} ({why})")
    if not lines:
        return "Every planned cell was scored.\n"
    return "Cells that are not scored (they count neither as resisted nor as zero):\n\n" + "\n".join(lines) + "\n"


def write(name: str, made: Write, found: Cells, docs: Path = DOCS) -> Path:
    """Write docs/NAME.md, and how its numbers and claims are made."""
    book = Book(name, found, docs)
    text = made(book)
    where = docs / f"{name}.md"
    (docs / name).mkdir(parents=True, exist_ok=True)
    for what, found in (("numbers", book.records), ("claims", book.claims)):
        write_text(docs / name / f"{what}.json", "[\n" + ",\n".join(map(json.dumps, found)) + "\n]\n")
    write_text(where, text)
    return where


def command(name: str, made: Write) -> None:
    """The command line of a study."""

    def main(
        jobs: Annotated[int, typer.Option(help="cells at a time, one thread each")] = JOBS,
        only_page: Annotated[bool, typer.Option("--page", help="only write the page")] = False,
    ) -> None:
        """Evaluate the missing cells of the study, and write its page."""
        try:
            if not only_page:
                evaluate([name], jobs)
            typer.echo(f"Wrote {write(name, made, Cells.read(RUNS))}")
        except AgentcommError as error:
            raise typer.BadParameter(str(error)) from None

    typer.run(main)
