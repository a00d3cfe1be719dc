"""Records episodes for the report's player: the same scenes under every attack and defense."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from agentcomm.base.files import write_text
from agentcomm.base.versions import FORMAT
from agentcomm.contracts.outcome import Episodes
from agentcomm.evaluation.cells import Cell
from agentcomm.evaluation.setup import gate_probability, load_team, prepare, run_cell
from agentcomm.runs.folder import Run


def record(run: Run, cells: Sequence[Cell], scenes: int) -> None:
    """Write ``episodes.json``: scenes of the first team's cells under the first of their conditions.

    Args:
        run: The run.
        cells: The cells of a grid that did not fail.
        scenes: Number of scenes per cell.
    """
    teams = [cell for cell in cells if cell.variant == "team"]
    shown = [c for c in teams if (c.seed, c.conditions) == (teams[0].seed, teams[0].conditions)]
    if not shown or not scenes:
        return
    saved = load_team(run, shown[0])
    episodes: list[dict[str, Any]] = []
    about: dict[str, Any] = {}
    for cell in shown:
        with prepare(cell, saved, scenes) as (world, policy, comms):
            recorded = run_cell(cell, world, policy, comms, gate_probability(cell, saved, {}), record=scenes)
            first = world.scene(0)
        episodes += [_episode(cell, number, recorded) for number in range(scenes)]
        about = {"agents": list(world.agents), "actions": list(world.actions.names)}
        about |= {key: first[key] for key in ("kinds", "size", "vision") if key in first}
    write_text(run.path / "episodes.json", json.dumps({"format": FORMAT} | about | {"episodes": episodes}))


def _episode(cell: Cell, number: int, recorded: Episodes) -> dict[str, Any]:
    label = "clean" if cell.attack is None else cell.attack.label
    return {
        "label": label if not cell.defenses else f"{label} + {cell.defense_label}",
        "scene": number,
        "attack": None if cell.attack is None else cell.attack.label,
        "defense": cell.defense_label,
        "seed": cell.seed,
        "success": bool(recorded.success[number]) if recorded.success_known else None,
        "steps": recorded.frames[number],
    }
