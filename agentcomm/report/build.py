"""Builds ``report.html``: one self-contained file that works offline."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from agentcomm.base.errors import FileError
from agentcomm.base.files import make_folder, write_text
from agentcomm.base.text import visible
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

HERE = Path(__file__).parent
STYLES = ("page.css", "figures.css", "player.css", "print.css")
SCRIPTS = ("table.js", "player_draw.js", "player.js")


def build_report(run: Path, output: Path | None = None) -> Path:
    """Write the report of a run, atomically replacing an older one.

    Args:
        run: Folder with ``cells.jsonl``; ``config.yaml``, ``teams/*/progress.jsonl`` and ``episodes.json`` are shown
            where they exist.
        output: The file to write; None for ``report.html`` in the run's folder.

    Returns:
        Path of the page.

    Raises:
        RunError: If the folder contains no evaluated cell.
        FileError: If the page cannot be written.
    """
    run = Path(run)
    page = render(load_run(run))
    target = run / "report.html" if output is None else output
    try:
        make_folder(target.parent)
        write_text(target, page)
    except FileError as error:
        raise FileError(f"{error}; put the page elsewhere with --output FILE") from None
    return target


def render(run: RunData) -> str:
    """The page as HTML text."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script, style = (
        "\n".join((HERE / name).read_text(encoding="utf-8") for name in names) for names in (SCRIPTS, STYLES)
    )
    return environment.get_template("page.html").render(
        run=run,
        style=Markup(style),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        **_contents(run),
    )


def _contents(run: RunData) -> dict[str, Any]:
    """The values of the template, section by section."""
    results = Results(run.cells)
    claims, found = Claims(results), detectors.detections(results)
    heat, (links, flows, agents) = Heatmap(results, claims), gates.graphs(results)
    return {
        "results": results,
        "answer": answer(results, claims, run.notes),
        "figure": attacks.figure(results) if results.judged else None,
        "team": team(results, claims),
        "heat": heat,
        "same_episodes": len({(row.get("episodes"), row.get("episode_seed")) for row in run.cells}) == 1,
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


def _shown(value: Any) -> Any:
    """Text of the page with control characters, and those that change the direction of writing, made visible."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value
