"""Builds ``report.html``: one self-contained file that works offline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agentcomm.base.errors import FileError
from agentcomm.base.files import make_folder, write_text
from agentcomm.report import attacks, budgets, costs, defenses, detectors, gates
from agentcomm.report.answer import answer, team
from agentcomm.report.charts import learning_charts
from agentcomm.report.claims import Claims
from agentcomm.report.graphs import kinds_of, pictures
from agentcomm.report.heat import Heatmap
from agentcomm.report.load import RunData, load_run
from agentcomm.report.methods import identities, methods
from agentcomm.report.recordings import player
from agentcomm.report.reproduce import commands
from agentcomm.report.results import Results
from agentcomm.report.templates import fill

STYLES = ("page.css", "figures.css", "player.css", "print.css")
SCRIPTS = ("table.js", "player_draw.js", "player.js")


def build_report(run: Path, output: Path | None = None, episodes: int | None = None) -> Path:
    """Write the report of a run, atomically replacing an older one.

    Args:
        run: Folder with ``cells.jsonl``; ``config.yaml``, ``teams/*/progress.jsonl`` and ``episodes.json`` are shown
            where they exist.
        output: The file to write; None for ``report.html`` in the run's folder.
        episodes: Which cells to show, by their number of episodes; None for those with most.

    Returns:
        Path of the page.

    Raises:
        RunError: If the folder contains no evaluated cell, or none with that number of episodes.
        FileError: If the page cannot be written.
    """
    run = Path(run)
    page = render(load_run(run, episodes=episodes))
    target = run / "report.html" if output is None else output
    try:
        make_folder(target.parent)
        write_text(target, page)
    except FileError as error:
        raise FileError(f"{error}; put the page elsewhere with --output FILE") from None
    return target


def render(run: RunData) -> str:
    """The page as HTML text."""
    return fill("page.html", STYLES, SCRIPTS, run=run, **_contents(run))


def _contents(run: RunData) -> dict[str, Any]:
    """The values of the template, section by section."""
    results = Results(run.cells, run.conditions)
    claims, found = Claims(results), detectors.detections(results)
    heat, (links, flows, agents) = Heatmap(results, claims), gates.graphs(results)
    return {
        "results": results,
        "answer": answer(results, claims, [*run.notes, *run.left_out]),
        "figure": attacks.figure(results) if results.judged else None,
        "team": team(results, claims),
        "heat": heat,
        "attacks": attacks.attacks(results, claims) if results.judged else [],
        "attack_tables": attacks.tables(results),
        "budgets": budgets.curves(results),
        "defenses": defenses.defenses(results, claims) if results.judged else [],
        "fronts": defenses.fronts(results),
        "detectors": detectors.curves(found),
        "detector_table": detectors.table(results, found),
        "graphs": pictures(links, agents, flows),
        "traffic_known": bool(flows),
        "shapes": kinds_of(agents),
        "gate": gates.timeline(results),
        "traffic": gates.traffic(results),
        "player": player(run.episodes),
        "learning": learning_charts(run.curves, results.primary.key),
        "costs": costs.costs(results),
        "training": costs.training(run.curves),
        "condition_header": costs.HEADER,
        "conditions": costs.conditions(results),
        "methods": methods(run, results, claims),
        "identities": identities(run.cells),
        "commands": commands(run),
    }
