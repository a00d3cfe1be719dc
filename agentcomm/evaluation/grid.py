"""Evaluates the grid of cells: attack x defense x conditions x seed, on common random numbers.

All cells share their episodes (the world's seed is the same), and an attack draws the same random numbers
whatever the defense. Finished cells are appended to ``cells.jsonl``; cells that are already there are not
evaluated again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import torch

from agentcomm.base.files import append_line, read_jsonl
from agentcomm.base.log import event_log
from agentcomm.base.registry import find
from agentcomm.base.versions import versions
from agentcomm.contracts.outcome import Episodes
from agentcomm.contracts.policy import CommPolicy
from agentcomm.contracts.threat_model import ThreatModel
from agentcomm.evaluation.cells import Cell, Group, plan
from agentcomm.evaluation.fitting import check_conditions
from agentcomm.evaluation.identity import Identities, mark_stale
from agentcomm.evaluation.metrics import measure, score_of
from agentcomm.evaluation.recordings import record
from agentcomm.evaluation.references import references
from agentcomm.evaluation.setup import Rows, gate_probability, load_team, prepare, run_cell
from agentcomm.evaluation.success import attack_success
from agentcomm.runs.choices import Choice, TransportConfig
from agentcomm.runs.conditions import Conditions
from agentcomm.runs.folder import Run
from agentcomm.runs.policy_file import SavedPolicy
from agentcomm.step.adversary import Adversary

# Ledger counts of the effects of attacks on messages.
TOUCHED = ("dropped", "delayed", "tampered", "forged", "replayed", "fragments")


def evaluate(
    run: Run,
    attacks: Sequence[Choice],
    defenses: Sequence[Group],
    conditions: Sequence[Conditions],
    watch: Callable[[Cell, int, int], None] = lambda cell, done, total: None,
) -> list[dict[str, Any]]:
    """Evaluate every cell of the grid that is not in ``cells.jsonl`` yet, and record scenes for the player.

    Args:
        run: The run.
        attacks: Attacks, each evaluated by itself, besides no attack.
        defenses: Groups of defenses used together, besides no defense.
        conditions: Conditions of the cells.
        watch: Called before each cell with the cell, the number of finished cells and the total.

    Returns:
        The rows of the whole grid, in order.

    Raises:
        AgentcommError: If no team is trained, or an attack or defense does not fit the team.
    """
    cells, own = plan(run, attacks, defenses, conditions), run.config.transport.canonical()
    with run.lock():
        identities = Identities(run)
        rows = read_jsonl(run.cells)[0] if run.cells.exists() else []
        stale = mark_stale(run, rows, identities)
        known = _usable(rows)
        teams: dict[tuple[str, int, str], SavedPolicy] = {}
        clean_twins: dict[str, Episodes] = {}
        log = event_log(run.events)
        for old, reason in stale.items():
            log.info("stale", id=old, reason=reason)
        _check_fit(run, cells)
        for done, cell in enumerate(cells):
            watch(cell, done, len(cells))
            if cell.id in known:
                continue
            team = (cell.variant, cell.seed, cell.conditions.device)
            if team not in teams:
                teams = {team: load_team(run, cell)}
            row = _evaluate(cell, teams[team], own, known, clean_twins)
            row |= {"identity": identities.of(cell), "replaces": stale.get(cell.id)}
            known[cell.id] = row
            append_line(run.cells, row)
            log.info("cell", id=cell.id, status=row["status"], seconds=row["seconds"])
    record(run, cells, known, run.config.evaluation.recordings)
    return [known[cell.id] for cell in cells]


def evaluated(run: Run) -> dict[str, dict[str, Any]]:
    """Rows of the evaluated cells that are not stale, by id."""
    return _usable(read_jsonl(run.cells)[0] if run.cells.exists() else [])


def _usable(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in rows if row.get("status") != "failed" and not row.get("stale")}


def _check_fit(run: Run, cells: Sequence[Cell]) -> None:
    """Set up every cell once with a single world, to find errors before a long evaluation starts."""
    variant, seed = run.trained()[0]
    kinds = [replace(cell, variant=variant, seed=seed) for cell in cells]
    teams: dict[str, SavedPolicy] = {}
    for cell in {cell.id: cell for cell in kinds}.values():
        device = cell.conditions.device
        if device not in teams:
            teams[device] = load_team(run, cell)
        prepare(cell, teams[device], 1)
    check_conditions(cells, run.config, next(iter(teams.values())).policy)


def _evaluate(
    cell: Cell, saved: SavedPolicy, own: TransportConfig, rows: Rows, clean_twins: dict[str, Episodes]
) -> dict[str, Any]:
    """Evaluate a cell; an error in a plug-in marks the cell as failed."""
    began = time.perf_counter()
    row = _about(cell, saved, own)
    try:
        world, policy, comms = prepare(cell, saved, cell.episodes)
        adversary = comms.adversary
        if adversary.guards:
            row["attack"]["threat"] = _threat(adversary.guards[0].threat)
        gates = gate_probability(cell, rows)
        episodes = run_cell(cell, world, policy, comms, gates)
        score = score_of(world)
        row["score"] = {"metric": score.name, "unit": score.unit, "better": score.better}
        if cell.attack is None and not cell.defenses and cell.conditions.crossed:
            row["references"] = references(cell, saved, episodes, score)
        success = {}
        if cell.attack is None:
            clean_twins[cell.id] = episodes
        else:
            success = attack_success(cell, saved, episodes, gates, clean_twins)
        metrics = measure(episodes) | success
    except Exception as error:
        return row | {"status": "failed", "error": f"{type(error).__name__}: {error}", "seconds": 0.0}
    for actions in adversary.action_guards:
        row["attack"]["actions"] = {
            "changed": int(actions.changed.sum()),
            "deviation": float(actions.deviation.max()),
            "bits": float(actions.leaked.mean()),
        }
    totals = episodes.totals()
    # An attack without effect on messages, actions, sensors or the directory says nothing about robustness.
    if cell.attack is not None and not _touched(totals, adversary):
        row["status"] = "inconclusive"
    return row | {
        "metrics": metrics,
        "ledger": totals,
        "violations": {rule: n for guard in adversary.guards for rule, n in guard.violations.items()},
        "gate_by_step": episodes.gate_by_step,
        "agents": list(world.agents),
        "graph": _graph(policy),
        "seconds": round(time.perf_counter() - began, 3),
    }


def _about(cell: Cell, saved: SavedPolicy, own: TransportConfig) -> dict[str, Any]:
    """The fields of a row that are known before evaluation.

    Args:
        cell: The cell.
        saved: Its team.
        own: The transport of training, which labels omit.
    """
    return {
        "id": cell.id,
        "variant": cell.variant,
        "seed": cell.seed,
        "environment": saved.environment.changed(cell.conditions.environment).model_dump(mode="json"),
        "conditions": cell.conditions.model_dump(mode="json"),
        "conditions_label": cell.conditions.label(own),
        "attack": None if cell.attack is None else _describe("attack", cell.attack),
        "defenses": [_describe("defense", d) for d in cell.defenses],
        "defense_label": cell.defense_label,
        "episodes": cell.episodes,
        "episode_seed": cell.episode_seed,
        "decisions": cell.conditions.decisions,
        "training": saved.details,
        "status": "ok",
        "error": None,
        "versions": versions(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _touched(totals: dict[str, int], adversary: Adversary) -> int:
    """Number of effects of an attack on messages, actions, sensors and the directory."""
    touched = sum(totals[fate] for fate in TOUCHED)
    touched += sum(int(guard.changed.sum()) for guard in adversary.action_guards)
    touched += sum(int(guard.base.total.sum()) for guard in adversary.observation_guards)
    return touched + sum(int(guard.base.total.sum()) for guard in adversary.directory_guards)


def _graph(policy: CommPolicy) -> list[list[int]]:
    """Adjacency of the executed graph: [i][j] = 1 if receiver i listens to sender j; empty if it changes per step."""
    if policy.topology.dynamic:
        return []
    graph = policy.topology.graph(None, 1)
    kept = torch.ones_like(graph.source) if graph.kept is None else graph.kept.long()
    adjacency = torch.zeros(policy.num_agents, policy.num_agents, dtype=torch.int64, device=kept.device)
    rows: list[list[int]] = adjacency.scatter_(1, graph.source[0], kept[0]).tolist()
    return rows


def _describe(axis: Any, choice: Choice) -> dict[str, Any]:
    return {
        "name": choice.name,
        "label": choice.label,
        "arguments": choice.arguments,
        "version": find(axis, choice.name).version,
    }


def _threat(threat: ThreatModel) -> dict[str, Any]:
    return {
        "position": threat.position.kind,
        "powers": sorted(threat.powers),
        "knowledge": threat.knowledge,
        "budget": threat.budget.model_dump(mode="json", exclude_none=True),
        "objective": threat.objective,
    }
