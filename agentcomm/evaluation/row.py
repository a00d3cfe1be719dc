"""The row of a cell: what is known before its evaluation, and what its episodes come to."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import torch

from agentcomm.base.calling import described
from agentcomm.base.errors import AgentcommError, RequirementError
from agentcomm.base.registry import find
from agentcomm.base.versions import FORMAT, versions
from agentcomm.contracts.defense import ORDERS
from agentcomm.contracts.deployment import Deployment
from agentcomm.contracts.outcome import MOST_DRAWN
from agentcomm.contracts.policy import CommPolicy
from agentcomm.contracts.threat_model import ThreatModel
from agentcomm.contracts.world import World
from agentcomm.directory.world import DirectoryWorld
from agentcomm.evaluation import provenance
from agentcomm.evaluation.cells import Cell, is_aimed
from agentcomm.evaluation.integrity import Integrity
from agentcomm.evaluation.metrics import detection, measure, score_of
from agentcomm.evaluation.progress import CellProgress
from agentcomm.evaluation.reasons import Played, inconclusive, refuses_everything
from agentcomm.evaluation.references import references
from agentcomm.evaluation.setup import Episodic, gate_probability, prepare, run_cell, without_control
from agentcomm.evaluation.success import Attacked, Judged, begin_record, judge, outcome
from agentcomm.runs.assembly import deployment
from agentcomm.runs.choices import Choice, TransportConfig
from agentcomm.runs.config import RunConfig
from agentcomm.runs.policy_file import SavedPolicy
from agentcomm.step.comms import Comms


def runs_of(cell: Cell, clean_twins: Episodic) -> int:
    """How many times the episodes of a cell are run, at most."""
    own = cell.conditions.gates == "random" and without_control(cell).id not in clean_twins
    if cell.attack is None:
        return 4 if _has_references(cell) else 1 + own
    return 3 + own + (replace(cell, attack=None).id not in clean_twins)


def _has_references(cell: Cell) -> bool:
    return cell.attack is None and not cell.defenses and cell.conditions.crossed


def evaluate_cell(
    cell: Cell, saved: SavedPolicy, config: RunConfig, clean_twins: Episodic, progress: CellProgress
) -> dict[str, Any]:
    """Evaluate a cell; an error in a plug-in marks the cell as failed."""
    began, before = time.perf_counter(), Integrity(saved.policy)
    row = about(cell, saved, config.transport.canonical())
    try:
        gates = gate_probability(cell, saved, clean_twins, progress)
        with prepare(cell, saved, cell.episodes) as (world, policy, comms):
            adversary, defenses = comms.adversary, comms.network.defenses
            if adversary.guards:
                row["attack"]["threat"] = _threat(adversary.guards[0].threat)
            begin_record(adversary)
            episodes = run_cell(cell, world, policy, comms, gates, progress=progress)
        score = score_of(world)
        row["score"] = {"metric": score.name, "unit": score.unit, "better": score.better}
        if _has_references(cell):
            row["references"] = references(cell, saved, episodes, score, progress)
        judged: Judged | None = None
        if cell.attack is None:
            clean_twins[cell.id] = episodes
            if (error := refuses_everything(episodes, defenses)) is not None:
                raise RequirementError(error)
        else:
            judged = judge(cell, saved, Attacked(episodes, adversary), score, gates, clean_twins, progress)
            row |= judged.fields
            episodes = replace(episodes, guesses=judged.guesses)
        counterparts = {} if judged is None else judged.counterparts
        metrics, detected = measure(episodes, counterparts), detection(episodes, counterparts)
        where = _where(cell, world, policy, comms, config)
        if adversary.guards:
            row["attack"]["assumes"] = adversary.guards[0].assumes(where)
        listed = sorted(row["defenses"], key=lambda told: ORDERS.index(find("defense", told["name"]).order))
        for told, defense in zip(listed, defenses, strict=True):
            if assumed := defense.assumes(where):
                told["assumes"] = assumed
        reason = inconclusive(Played(adversary, where, executed_graph(policy), episodes), defenses)
        before.check()
    except (Exception, SystemExit) as error:  # a plug-in must not end the command
        before.restore()
        text = f"{type(error).__name__}: {error}" if isinstance(error, AgentcommError) else described(error)
        return row | {"status": "failed", "error": text, "seconds": 0.0}
    for actions in adversary.action_guards:
        row["attack"]["actions"] = {
            "changed": int(actions.changed.sum()),
            "deviation": float(actions.deviation.max()),
            "bits": float(actions.leaked.mean()),
        }
    if reason is not None:
        row |= {"status": "inconclusive", "reason": reason}
    return row | {
        "outcome": outcome(row["status"], judged),
        "metrics": metrics,
        "detection": detected,
        "edges": episodes.edge_means(),
        "ledger": episodes.totals(),
        "violations": {rule: n for guard in adversary.guards for rule, n in guard.violations.items()},
        "gate_by_step": episodes.gate_by_step,
        "agents": list(world.agents),
        "graph": executed_graph(policy) if world.num_agents <= MOST_DRAWN else [],
        "seconds": round(time.perf_counter() - began, 3),
    }


def _where(cell: Cell, world: World, policy: CommPolicy, comms: Comms, config: RunConfig) -> Deployment:
    """The cell's team, transport and environment."""
    network = comms.network
    channels = () if network.link is None else network.link.channels
    return replace(
        deployment(world, policy, network.codec, channels, network.defenses),
        greedy=cell.conditions.decisions == "greedy",
        obedience=cell.conditions.obedience,
        directory_obedience=world.directory.config.obedience if isinstance(world, DirectoryWorld) else 0.0,
        trained_under={choice.name.rpartition("/")[2]: choice.arguments for choice in config.attacks},
    )


def about(cell: Cell, saved: SavedPolicy, own: TransportConfig) -> dict[str, Any]:
    """The fields of a row that are known before evaluation.

    Args:
        cell: The cell.
        saved: Its team.
        own: The transport of training, which labels omit.
    """
    return {
        "format": FORMAT,
        "id": cell.id,
        "variant": cell.variant,
        "seed": cell.seed,
        "environment": saved.environment.changed(cell.conditions.environment).model_dump(mode="json"),
        "conditions": cell.conditions.model_dump(mode="json"),
        "conditions_label": cell.conditions.label(own),
        "attack": None if cell.attack is None else _describe("attack", cell.attack),
        "defenses": [_describe("defense", d) for d in cell.defenses],
        "defense_label": cell.defense_label,
        "adaptive": is_aimed(cell),
        "episodes": cell.episodes,
        "episode_seed": cell.episode_seed,
        "decisions": cell.conditions.decisions,
        "training": saved.details,
        "status": "ok",
        "outcome": None if cell.attack is None else "unscored",
        "error": None,
        "versions": versions(),
        "provenance": provenance.machine(cell.conditions.device),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def executed_graph(policy: CommPolicy) -> list[list[int]]:
    """Adjacency of the executed graph: [i][j] = 1 if receiver i listens to sender j; empty if it changes per step."""
    if policy.topology.dynamic or policy.topology.scheduled:
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
