"""Success of an attack by its own predicate, held against its no-op control."""

from __future__ import annotations

from dataclasses import replace

from agentcomm.contracts.outcome import Episodes
from agentcomm.evaluation.cells import Cell
from agentcomm.evaluation.exfiltration import exfiltrated, exfiltrates
from agentcomm.evaluation.progress import CellProgress
from agentcomm.evaluation.setup import prepare, run_cell
from agentcomm.runs.policy_file import SavedPolicy


def attack_success(
    cell: Cell,
    saved: SavedPolicy,
    attacked: Episodes,
    gates: float | None,
    clean_twins: dict[str, Episodes],
    progress: CellProgress | None = None,
) -> dict[str, float]:
    """Success rate of an attack by its own predicate, and of its no-op control.

    Attacks that exfiltrate have a predicate and a control in :mod:`agentcomm.evaluation.exfiltration`.

    Args:
        cell: The attacked cell.
        saved: Its team.
        attacked: Its episodes.
        gates: Probability that controlled gates are open; None if the policy controls the gates.
        clean_twins: Episodes of cells without attack, by id; this cell's are added if missing.
        progress: Told about each step.
    """
    twin = replace(cell, attack=None)
    if twin.id not in clean_twins:
        with prepare(twin, saved, cell.episodes) as parts:
            clean_twins[twin.id] = run_cell(twin, *parts, gates, progress=progress)
    with prepare(cell, saved, cell.episodes, noop_control=True) as (world, policy, comms):
        control = run_cell(cell, world, policy, comms, gates, progress=progress)
    guard, clean = comms.adversary.guards[0], clean_twins[twin.id]
    if exfiltrates(guard.attack):
        rates = exfiltrated(cell, saved, guard.attack, gates)
    else:
        won, noop = (float(guard.succeeded(episodes, clean).float().mean()) for episodes in (attacked, control))
        rates = {"attack_success": won, "control_success": noop}
    return rates | {
        "control_steps": float(control.length.float().mean()),
        "control_return": float(control.total_reward.mean()),
        "control_harm": float(control.harm.float().mean()),
    }
