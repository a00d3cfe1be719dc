"""What cells are held against: an attack's no-op control, and the better way to decide without messages."""

from __future__ import annotations

from dataclasses import replace

import torch

from agentcomm.contracts.outcome import Episodes
from agentcomm.evaluation.cells import Cell
from agentcomm.evaluation.setup import prepare, run_cell
from agentcomm.runs.conditions import Decisions
from agentcomm.runs.policy_file import SavedPolicy


def attack_success(
    cell: Cell, saved: SavedPolicy, attacked: Episodes, gates: float | None, clean_twins: dict[str, Episodes]
) -> dict[str, float]:
    """How often the attack succeeded by its own predicate, and how often its no-op control did.

    Args:
        cell: The attacked cell.
        saved: Its team.
        attacked: Its episodes.
        gates: Probability with which controlled gates open; None where gates are the policy's.
        clean_twins: Episodes of cells without attack, by id; this cell's are added where they are missing.
    """
    twin = replace(cell, attack=None)
    if twin.id not in clean_twins:
        clean_twins[twin.id] = run_cell(twin, *prepare(twin, saved, cell.episodes), gates)
    world, policy, comms = prepare(cell, saved, cell.episodes, noop_control=True)
    control = run_cell(cell, world, policy, comms, gates)
    attack, clean = comms.adversary.guards[0].attack, clean_twins[twin.id]
    rates = [float(attack.succeeded(episodes, clean).float().mean()) for episodes in (attacked, control)]
    return {
        "attack_success": rates[0],
        "control_success": rates[1],
        "control_steps": float(control.length.float().mean()),
        "control_return": float(control.total_reward.mean()),
        "control_harm": float(control.harm.float().mean()),
    }


def better_control(cell: Cell, saved: SavedPolicy, greedy: Episodes) -> tuple[Decisions, Episodes]:
    """The control's episodes, greedy or sampled, whichever end sooner; earn more, where all are equally long.

    A team that hears nothing and remembers nothing does better at random: greedily it runs in circles, and
    that would make communication look worth more than it is.
    """
    sampling = replace(cell, conditions=cell.conditions.model_copy(update={"decisions": "sampled"}))
    sampled = run_cell(sampling, *prepare(cell, saved, cell.episodes))
    if torch.equal(sampled.length, greedy.length) and int(greedy.length.min()) == int(greedy.length.max()):
        better = float(sampled.total_reward.mean()) > float(greedy.total_reward.mean())
    else:
        better = float(sampled.length.float().mean()) < float(greedy.length.float().mean())
    return ("sampled", sampled) if better else ("greedy", greedy)
