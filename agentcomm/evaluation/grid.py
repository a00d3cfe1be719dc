"""The grid of cells: attack x defense x seed, on common random numbers.

Besides, teams are played clean in changed worlds (another number of agents, members that fail) and with controlled
gates (always open, always shut, open at random).

Every cell plays the same episodes (the world's seed is the same), and an attack draws the same numbers
whatever the defense. Each cell is appended to ``cells.jsonl`` when it is finished; cells that are there
already are not evaluated again.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import torch

from agentcomm import policy_file
from agentcomm.assembly import make_comms, make_world, serve
from agentcomm.config import PLAIN_PATH, Choice, Decisions, EvaluationConfig, GateControlName, PathChoice, Variant
from agentcomm.contracts.outcome import Episodes
from agentcomm.contracts.threat_model import ThreatModel
from agentcomm.errors import RunError
from agentcomm.evaluation.cells import read_jsonl
from agentcomm.evaluation.episodes import play
from agentcomm.files import append_line, write_text
from agentcomm.log import event_log
from agentcomm.policy import CommPolicy
from agentcomm.policy_file import SavedPolicy
from agentcomm.registry import find
from agentcomm.run import Run
from agentcomm.seeds import derive
from agentcomm.step.comms import Comms
from agentcomm.versions import versions
from agentcomm.world import World

Group = tuple[Choice, ...]


@dataclass(frozen=True)
class Cell:
    """One cell to evaluate."""

    variant: Variant
    seed: int
    attack: Choice | None
    defenses: Group
    episodes: int
    episode_seed: int
    path: PathChoice = PLAIN_PATH
    other_path: bool = False
    changes: tuple[tuple[str, Any], ...] = ()
    gates: GateControlName | None = None
    decisions: Decisions = "greedy"
    obedience: float = 0.0

    @property
    def world_label(self) -> str:
        """What is changed of the environment, such as ``predators=8``; empty for nothing."""
        return ", ".join(f"{key}={value}" for key, value in self.changes)

    @property
    def defense_label(self) -> str:
        """The defenses by name, or ``none``."""
        return "+".join(d.label for d in self.defenses) or "none"

    @property
    def id(self) -> str:
        """All that tells one cell from another; equal ids have equal results."""
        attack = "none" if self.attack is None else self.attack.label
        path = f"path={self.path.label or 'plain'}" if self.other_path else ""
        sampled = "" if self.decisions == "greedy" else self.decisions
        obedient = f"obedience={self.obedience:g}" if self.obedience else ""
        parts = (path, self.world_label, self.gates and f"gates={self.gates}", sampled, obedient)
        extra = "".join(f"|{part}" for part in parts if part)
        return f"{self.variant}-{self.seed}|{attack}|{self.defense_label}|{self.episodes}@{self.episode_seed}{extra}"


def plan(run: Run, settings: EvaluationConfig) -> list[Cell]:
    """All cells of a grid over the trained teams; the control has no messages to attack and is played clean.

    Raises:
        RunError: If no team is trained.
    """
    trained = run.trained()
    if not trained:
        raise RunError(f"{run.path} has no trained team yet; run `agentcomm train {run.path / 'config.yaml'} --resume`")
    cells: list[Cell] = []
    for variant, seed in trained:
        if variant == "control":
            pairs: list[tuple[Choice | None, Group]] = [(None, ())]
        else:
            groups = [(), *(group for group in settings.defenses if group)]
            pairs = [(attack, group) for attack in (None, *settings.attacks) for group in groups]
        here = [(attack, group) for attack, group in pairs if not settings.paths or _works(attack, run.config.path)]
        base = (settings.episodes, settings.seed, run.config.path)
        cells += [Cell(variant, seed, attack, group, *base) for attack, group in here]
        cells += [Cell(variant, seed, None, (), *base, changes=tuple(c.items())) for c in settings.worlds]
        if variant == "team":
            cells += [Cell(variant, seed, None, (), *base, gates=gates) for gates in settings.gates]
            others = [(settings.episodes, settings.seed, path, True) for path in settings.paths]
            cells += [Cell(variant, seed, attack, group, *other) for other in others for attack, group in pairs]
    return [replace(cell, decisions=settings.decisions, obedience=settings.obedience) for cell in cells]


def _works(attack: Choice | None, path: PathChoice) -> bool:
    """Whether an attack can do anything on a path: what acts on fragments needs messages that are cut."""
    if attack is None or not find("attack", attack.name).cuts:
        return True
    return any(find("channel", channel.name).cuts for channel in path.channels)


def evaluate(
    run: Run,
    settings: EvaluationConfig,
    watch: Callable[[Cell, int, int], None] = lambda cell, done, total: None,
) -> list[dict[str, Any]]:
    """Evaluate every cell of the grid that is not in ``cells.jsonl`` yet.

    Args:
        run: The run.
        settings: What the grid consists of.
        watch: Called before each cell with the number of cells done and the total.

    Returns:
        The rows of the whole grid, in order.

    Raises:
        AgentcommError: If nothing is trained, or an attack or defense does not fit the team.
    """
    cells = plan(run, settings)
    with run.lock():
        known = {row["id"]: row for row in _rows(run) if row.get("status") != "failed"}
        policies: dict[tuple[Variant, int], SavedPolicy] = {}
        clean_twins: dict[str, Episodes] = {}
        log = event_log(run.events)
        _check_fit(run, cells)
        for done, cell in enumerate(cells):
            watch(cell, done, len(cells))
            if cell.id in known:
                continue
            team = (cell.variant, cell.seed)
            if team not in policies:
                policies = {team: policy_file.load(run.policy(*team))}
            clean = known.get(replace(cell, gates=None).id)
            openness = clean["metrics"]["gate_open"] if clean is not None and clean["status"] == "ok" else None
            known[cell.id] = _evaluate(cell, policies[team], openness, clean_twins)
            append_line(run.cells, known[cell.id])
            log.info("cell", id=cell.id, status=known[cell.id]["status"], seconds=known[cell.id]["seconds"])
    return [known[cell.id] for cell in cells]


def _rows(run: Run) -> list[dict[str, Any]]:
    return read_jsonl(run.cells)[0] if run.cells.exists() else []


def _check_fit(run: Run, cells: Sequence[Cell]) -> None:
    """Build every network once, small, before anything long begins."""
    variant, seed = run.trained()[0]
    saved = policy_file.load(run.policy(variant, seed))
    world = make_world(saved.environment, 1)
    for c in {(c.attack, c.defenses, c.path): c for c in cells}.values():
        make_comms(world, saved.policy, () if c.attack is None else (c.attack,), c.defenses, path=c.path)
    for cell in {c.world_label: c for c in cells if c.changes}.values():
        prepare(cell, saved, 1)


def prepare(cell: Cell, saved: SavedPolicy, num_worlds: int, harmless: bool = False) -> tuple[World, CommPolicy, Comms]:
    """The cell's worlds, its team as it is in them, and what lies between its members.

    Args:
        cell: The cell.
        saved: The team.
        num_worlds: B.
        harmless: Put the attack's no-op control in its place.
    """
    environment, policy = saved.environment.changed(dict(cell.changes)), saved.policy
    world = make_world(environment, num_worlds)
    if cell.changes:
        policy = copy.deepcopy(policy)
        serve(policy, make_world(saved.environment, 1), world)
    label = "none" if cell.attack is None else cell.attack.label
    seed = derive(cell.episode_seed, "network", cell.seed, label)
    attacks = [] if cell.attack is None else [cell.attack.changed({"harmless": True} if harmless else {})]
    return world, policy, make_comms(world, policy, attacks, cell.defenses, seed, cell.path)


def _evaluate(
    cell: Cell, saved: SavedPolicy, openness: float | None, clean_twins: dict[str, Episodes]
) -> dict[str, Any]:
    """Play a cell; an error in a plug-in makes the cell failed, never a number."""
    began = time.perf_counter()
    row: dict[str, Any] = {
        "id": cell.id,
        "variant": cell.variant,
        "seed": cell.seed,
        "environment": saved.environment.changed(dict(cell.changes)).model_dump(mode="json"),
        "world": cell.world_label,
        "gates": cell.gates,
        "obedience": cell.obedience,
        "path": cell.path.model_dump(mode="json"),
        "path_label": cell.path.label if cell.other_path else None,
        "attack": None if cell.attack is None else _describe("attack", cell.attack),
        "defenses": [_describe("defense", d) for d in cell.defenses],
        "defense_label": cell.defense_label,
        "episodes": cell.episodes,
        "episode_seed": cell.episode_seed,
        "decisions": cell.decisions,
        "training": saved.details,
        "status": "ok",
        "error": None,
        "versions": versions(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    try:
        world, policy, comms = prepare(cell, saved, cell.episodes)
        adversary = comms.adversary
        if adversary.guards:
            row["attack"]["threat"] = _threat(adversary.guards[0].threat)
        chance = {"open": 1.0, "shut": 0.0, "random": openness, None: None}[cell.gates]
        if cell.gates is not None and chance is None:
            raise RunError("how often gates open at random is taken from the clean cell, which is not there")
        played = _play(cell, world, policy, comms, chance)
        if cell.variant == "control" and cell.decisions == "greedy":
            row["decisions"], played = _better_control(cell, saved, played)
        success = {}
        if cell.attack is None:
            clean_twins[cell.id] = played
        else:
            success = _success(cell, saved, played, clean_twins)
    except Exception as error:
        return row | {"status": "failed", "error": f"{type(error).__name__}: {error}", "seconds": 0.0}
    topology = policy.topology
    source = [] if topology.dynamic else topology.graph(None, 1).source[0].tolist()
    totals = played.totals()
    for actions in adversary.action_guards:
        row["attack"]["actions"] = {
            "changed": int(actions.changed.sum()),
            "deviation": float(actions.deviation.max()),
            "bits": float(actions.told.mean()),
        }
    # An attack that never touched a message, an action, a sensor or the directory says nothing about robustness.
    touched = sum(totals[fate] for fate in ("dropped", "delayed", "tampered", "forged", "fragments"))
    touched += sum(int(actions.changed.sum()) for actions in adversary.action_guards)
    touched += sum(int(guard.base.total.sum()) for guard in adversary.observation_guards)
    touched += sum(int(guard.base.total.sum()) for guard in adversary.directory_guards)
    if cell.attack is not None and not touched:
        row["status"] = "inconclusive"
    return row | {
        "metrics": played.metrics() | success,
        "ledger": totals,
        "violations": {rule: n for guard in adversary.guards for rule, n in guard.violations.items()},
        "gate_by_step": played.gate_by_step,
        "agents": list(world.agents),
        "graph": [[int(j in heard) for j in range(len(source))] for heard in source],
        "seconds": round(time.perf_counter() - began, 3),
    }


def _play(cell: Cell, world: World, policy: CommPolicy, comms: Comms, gates: float | None = None) -> Episodes:
    generator = None
    if cell.decisions == "sampled":
        generator = torch.Generator(world.device).manual_seed(derive(cell.episode_seed, "decisions", cell.seed))
    return play(world, policy, comms, cell.episode_seed, generator=generator, gates=gates, obedience=cell.obedience)


def _success(cell: Cell, saved: SavedPolicy, played: Episodes, clean_twins: dict[str, Episodes]) -> dict[str, float]:
    """How often the attack succeeded by its own predicate, and how often its no-op control did."""
    twin = replace(cell, attack=None)
    if twin.id not in clean_twins:
        clean_twins[twin.id] = _play(twin, *prepare(twin, saved, cell.episodes))
    world, policy, comms = prepare(cell, saved, cell.episodes, harmless=True)
    control = _play(cell, world, policy, comms)
    attack, clean = comms.adversary.guards[0].attack, clean_twins[twin.id]
    rates = [float(attack.succeeded(episodes, clean).float().mean()) for episodes in (played, control)]
    return {
        "attack_success": rates[0],
        "control_success": rates[1],
        "control_steps": float(control.length.float().mean()),
        "control_return": float(control.total_reward.mean()),
        "control_harm": float(control.harm.float().mean()),
    }


def _better_control(cell: Cell, saved: SavedPolicy, greedy: Episodes) -> tuple[str, Episodes]:
    """The control's episodes, greedy or sampled, whichever end sooner; earn more, where all are equally long.

    A team that hears nothing and remembers nothing does better at random: greedily it runs in circles, and
    that would make communication look worth more than it is.
    """
    world, policy, comms = prepare(cell, saved, cell.episodes)
    generator = torch.Generator(world.device)
    generator.manual_seed(derive(cell.episode_seed, "decisions", cell.seed))
    sampled = play(world, policy, comms, cell.episode_seed, generator=generator, obedience=cell.obedience)
    if torch.equal(sampled.length, greedy.length) and int(greedy.length.min()) == int(greedy.length.max()):
        better = float(sampled.total_reward.mean()) > float(greedy.total_reward.mean())
    else:
        better = float(sampled.length.float().mean()) < float(greedy.length.float().mean())
    return ("sampled", sampled) if better else ("greedy", greedy)


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


def record(
    run: Run,
    attacks: Sequence[Choice],
    defenses: Sequence[Group],
    scenes: int,
    failed: Container[str] = (),
    obedience: float = 0.0,
) -> None:
    """Record the same scenes under every attack and defense for the report's player (``episodes.json``).

    Args:
        run: The run.
        attacks: Each alone, besides no attack.
        defenses: Each group together, besides none.
        scenes: How many scenes.
        failed: Ids of cells that cannot be played.
        obedience: Of the team's members.
    """
    team = next((t for t in run.trained() if t[0] == "team"), None)
    if team is None or not scenes:
        return
    saved = policy_file.load(run.policy(*team))
    episodes: list[dict[str, Any]] = []
    world = make_world(saved.environment, scenes)
    for attack in (None, *attacks):
        for group in ((), *[g for g in defenses if g]):
            settings = run.config.evaluation
            cell = Cell(*team, attack, tuple(group), settings.episodes, settings.seed, run.config.path)
            cell = replace(cell, obedience=obedience)
            if cell.id in failed or not _works(attack, run.config.path):
                continue
            world, policy, comms = prepare(cell, saved, scenes)
            played = play(world, policy, comms, cell.episode_seed, record=scenes, obedience=obedience)
            episodes += [_episode(cell, number, played) for number in range(scenes)]
    first = world.scene(0)
    about = {"agents": list(world.agents), "actions": list(world.action_names)}
    about |= {key: first[key] for key in ("kinds", "size", "vision") if key in first}
    write_text(run.path / "episodes.json", json.dumps(about | {"episodes": episodes}))


def _episode(cell: Cell, number: int, played: Episodes) -> dict[str, Any]:
    label = "clean" if cell.attack is None else cell.attack.label
    return {
        "label": label if not cell.defenses else f"{label} + {cell.defense_label}",
        "scene": number,
        "attack": None if cell.attack is None else cell.attack.label,
        "defense": cell.defense_label,
        "seed": cell.seed,
        "success": bool(played.success[number]),
        "steps": played.frames[number],
    }
