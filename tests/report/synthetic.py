"""A made-up run folder with everything a report shows; numbers are plausible for Predator-Capture-Prey on 5 x 5."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml

AGENTS = ["perception_0", "perception_1", "capture_0"]
KINDS = ["perception", "perception", "capture"]
MOVES = {"up": (-1, 0), "right": (0, 1), "down": (1, 0), "left": (0, -1), "stay": (0, 0), "capture": (0, 0)}
DEFENSES = ("none", "authenticate", "clip", "authenticate+clip")
CLEAN, FLOOR = 6.7, 15.1

# label -> steps under each of DEFENSES, and what it does to 1000 messages: dropped, tampered, forged
ATTACKS: dict[str, tuple[tuple[float, ...], tuple[int, int, int]]] = {
    "drop(probability=0.5)": ((10.9, 10.9, 11.1, 11.1), (500, 0, 0)),
    "noise(scale=2.0)": ((9.6, 7.0, 7.4, 7.2), (0, 1000, 0)),
    "noise(scale=2.0, adaptive=true)": ((12.4, 7.0, 11.6, 7.3), (0, 1000, 0)),
    "replay(rate=1.0)": ((13.0, 7.2, 12.7, 7.4), (0, 0, 1000)),
    "impersonate(victim=0)": ((16.2, 6.8, 14.8, 7.1), (0, 0, 1000)),
}


def config(name: str, seeds: list[int]) -> dict[str, Any]:
    return {
        "name": name,
        "environment": {"name": "predator_capture_prey", "size": 5, "perception_agents": 2, "capture_agents": 1},
        "policy": {"name": "commformer", "topology": {"name": "learned", "degree": 1}, "gate": {"cost": 0.01}},
        "training": {"env_steps": 400000, "worlds": 256, "fragment": 16},
        "seeds": seeds,
        "control": True,
    }


def cell(
    rng: np.random.Generator,
    variant: str,
    seed: int,
    attack: str | None,
    defense: str,
    steps: float,
    episodes: int = 2048,
) -> dict[str, Any]:
    name = attack.partition("(")[0] if attack else ""
    dropped, tampered, forged = ATTACKS[attack][1] if attack in ATTACKS else (0, 0, 0)
    talks = variant == "team"
    sent = int(1.9 * steps * episodes) if talks else 0
    scale = sent / 1000
    authentic = "authenticate" in defense
    d, t, f = int(dropped * scale), int(tampered * scale), int(forged * scale)
    refused = t + f if authentic else 0
    sealed = 34 if authentic else 0
    ledger = {
        "sent": sent,
        "dropped": d,
        "tampered": t,
        "forged": f,
        "refused": refused,
        "accepted": sent - d + f - refused,
        "accepted_forged": 0 if authentic else f,
        "accepted_tampered": 0 if authentic else t,
        "bytes": int((sent + f) * (272 + sealed)),
    }
    if authentic and refused:
        ledger["refused_by.authenticate"] = refused
    gates = [
        round(float(np.clip(0.95 - 0.055 * i + rng.normal(0, 0.015), 0.02, 1)), 4) if i < 17 else None
        for i in range(20)
    ]
    graphs = [[[0, 0, 1], [1, 0, 0], [0, 1, 0]], [[0, 1, 0], [1, 0, 0], [1, 0, 0]], [[0, 1, 0], [1, 0, 0], [0, 1, 0]]]
    return {
        "id": f"{variant}-{seed}-{attack}-{defense}",
        "variant": variant,
        "seed": seed,
        "attack": attack
        and {
            "name": name,
            "label": attack,
            "arguments": {},
            "version": "1",
            "threat": {
                "position": "edge",
                "powers": ["drop", "read"],
                "knowledge": "protocol",
                "budget": {"per_step": None},
            },
        },
        "defenses": [
            {"name": d, "label": d, "arguments": {}, "version": "1"} for d in defense.split("+") if d != "none"
        ],
        "defense_label": defense,
        "episodes": episodes,
        "episode_seed": 1000003,
        "status": "ok",
        "error": None,
        "score": {"metric": "mean_steps", "unit": "steps", "better": "lower"},
        "metrics": {
            "mean_steps": round(steps, 4),
            "success": round(float(np.clip(1.0 - max(0, steps - 6.5) ** 2 / 170, 0, 1)), 4),
            "mean_return": round(-0.045 * steps, 4),
            "gate_open": 0.6 if talks else 0.0,
            "messages_per_step": 1.9 if talks else 0.0,
            "bytes_per_step": (1.9 + 1.9 * forged / 1000) * (272 + sealed) if talks else 0.0,
            "latency_ms": 0.41 + 0.05 * len(defense.split("+")),
        },
        "ledger": ledger,
        "violations": {},
        "gate_by_step": gates if talks else [0.0] * 20,
        "graph": graphs[seed % 3] if talks else [[0] * 3 for _ in range(3)],
        "agents": AGENTS,
        "versions": {"agentcomm": "0.1.0", "torch": "2.13.0", "ray": "2.60.0", "python": "3.11.9"},
        "seconds": round(0.8 + 0.1 * float(rng.random()), 3),
        "time": "2026-11-24T06:00:00",
    }


def cells(
    seeds: list[int], value: float = FLOOR - CLEAN, attacks: tuple[str, ...] = tuple(ATTACKS)
) -> list[dict[str, Any]]:
    """All cells of a run whose team is ``value`` steps faster than its control."""
    rows = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        shift = float(rng.normal(0, 0.25))
        rows.append(cell(rng, "control", seed, None, "none", CLEAN + value + float(rng.normal(0, 0.3))))
        for column, defense in enumerate(DEFENSES):
            tax = (0.0, 0.0, 0.25, 0.25)[column]
            rows.append(cell(rng, "team", seed, None, defense, CLEAN + shift + tax + float(rng.normal(0, 0.03))))
            for attack in attacks:
                steps = CLEAN + (ATTACKS[attack][0][column] - CLEAN) * value / (FLOOR - CLEAN) + shift
                rows.append(cell(rng, "team", seed, attack, defense, steps + float(rng.normal(0, 0.15))))
    return with_effects(rows)


def exact(seeds: tuple[int, ...] = (0, 1, 2), floor: float = 14.0) -> list[dict[str, Any]]:
    """Cells with round numbers: clean 6, replay 10 alone and 7 with authenticate, drop 8 whatever one does."""
    rows = []
    rng = np.random.default_rng(0)
    for seed in seeds:
        rows.append(cell(rng, "control", seed, None, "none", floor))
        for attack, defense, steps in (
            (None, "none", 6.0),
            (None, "authenticate", 6.5),
            ("replay(rate=1.0)", "none", 10.0),
            ("replay(rate=1.0)", "authenticate", 7.0),
            ("drop(probability=0.5)", "none", 8.0),
            ("drop(probability=0.5)", "authenticate", 8.0),
        ):
            rows.append(cell(rng, "team", seed, attack, defense, steps))
    return rows


def with_effects(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with what evaluation records besides scores: effects, controls, detection, traffic, and provenance."""
    clean = {(r["variant"], r["seed"], r["defense_label"]): r["metrics"] for r in rows if r["attack"] is None}
    for row in rows:
        row["provenance"] = {"commit": "0a1b2c3d", "dirty": False, "config": "c0ff", "cpu": "a CPU", "cores": 2}
        row["identity"] = {"agentcomm": "beef", "the team's policy": f"5eed{row['seed']}"}
        if row["variant"] == "team":
            row["edges"] = [[0.7 * edge for edge in line] for line in row["graph"]]
        before = clean.get((row["variant"], row["seed"], row["defense_label"]))
        if row["attack"] is None or before is None or row["status"] != "ok":
            continue
        row |= _effect(row, before)
        if "clip" in row["defense_label"]:
            good = 0.97 if row["attack"]["name"] == "noise" else 0.6
            curve = [[x / 20, (x / 20) ** (1 / good - 0.999)] for x in range(21)]
            row["detection"] = {"clip": {"auroc": good, "tpr": good - 0.1, "fpr": 0.02, "delay": 1.5, "curve": curve}}
    return rows


def _effect(row: dict[str, Any], clean: dict[str, float]) -> dict[str, Any]:
    """A control that does a tenth of the damage; dropping the same messages does a third of it."""
    damage = row["metrics"]["mean_steps"] - clean["mean_steps"]
    by_control = {**clean, "mean_steps": clean["mean_steps"] + 0.1 * damage}
    silent = {**clean, "mean_steps": clean["mean_steps"] + damage / 3}
    spent = {"edits": row["ledger"]["sent"] // 3, "messages": row["ledger"]["sent"] // 3, "bytes": 0, "norm": None}
    worse, better = (0.7, 0.1) if damage > 0.5 else (0.2, 0.2)
    return {
        "spent": spent,
        "counterparts": {
            "clean": {"metrics": clean, "ledger": {}, "spent": {}},
            "control": {"metrics": by_control, "ledger": {}, "spent": spent},
            "silence": {"metrics": silent, "ledger": {}, "spent": spent},
        },
        "effect": {
            "damage": damage,
            "control_damage": 0.1 * damage,
            "silence": damage / 3,
            "lie": damage - damage / 3,
            "worse": worse,
            "better": better,
            "success": worse - better,
        },
        "outcome": "success" if damage > 0.5 else "resisted",
    }


def progress(variant: str, seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(1000 * seed + (variant == "team"))
    rows = []
    for i in range(100):
        done = 1 / (1 + np.exp(-(i - 38) / 9))
        best = CLEAN if variant == "team" else FLOOR
        length = 18.6 - (18.6 - best) * done + rng.normal(0, 0.25)
        row = {
            "iteration": i,
            "env_steps": (i + 1) * 4096,
            "seconds": round(0.42 * (i + 1), 2),
            "episode_length": round(float(length), 3),
            "success": round(
                float(np.clip(0.25 + 0.74 * done - (0.45 * done if variant == "control" else 0), 0, 1)), 4
            ),
            "episode_return": round(float(-0.045 * length), 4),
            "gate_open": round(float(0.9 - 0.3 * done + rng.normal(0, 0.01)), 4) if variant == "team" else 0.0,
            "entropy": 1.2,
            "kl": 0.01,
            "env_steps_per_second": 9800.0,
        }
        if i % 10 == 9:
            row |= {"eval_mean_steps": round(float(length - 0.6), 3), "eval_success": row["success"]}
        rows.append(row)
    return rows


def by(defense: str, accepted: bool, fate: str) -> dict[str, Any]:
    return {"refused_by": None if accepted or fate == "dropped" else defense.partition("+")[0], "age": 0}


def episode(scene: int, label: str, attack: str | None, defense: str, sabotage: bool, forged: bool) -> dict[str, Any]:
    """Agents walk to the prey; under a sabotage that nothing stops they dither first."""
    rng = np.random.default_rng(scene)
    spots = rng.choice(25, 4, replace=False)
    agents = [[int(s) // 5, int(s) % 5] for s in spots[:3]]
    prey = [int(spots[3]) // 5, int(spots[3]) % 5]
    steps, captured = [], False
    for t in range(20):
        actions = []
        for i, (r, c) in enumerate(agents):
            lost = sabotage and t < 7 + i
            toward = ["down"] if r < prey[0] else ["up"] if r > prey[0] else []
            toward += ["right"] if c < prey[1] else ["left"] if c > prey[1] else []
            if lost and toward:
                actions.append(["up", "right", "down", "left"][(t + i) % 4])
            else:
                actions.append(toward[0] if toward else ("capture" if i == 2 else "stay"))
        gates = [t < 4 or i == 2 for i in range(3)]
        messages = []
        for receiver, sender in ((0, 2), (1, 0), (2, 1)):
            if not gates[receiver]:
                continue
            fate, accepted = "delivered", True
            if attack and attack.startswith("drop") and (t + receiver) % 2:
                fate, accepted = "dropped", False
            if attack and attack.startswith("noise"):
                fate, accepted = "tampered", "authenticate" not in defense
            messages.append(
                {"sender": sender, "receiver": receiver, "round": 0, "fate": fate, "accepted": accepted}
                | by(defense, accepted, fate)
            )
            if forged:
                message = {
                    "sender": sender,
                    "receiver": receiver,
                    "round": 0,
                    "fate": "forged",
                    "accepted": defense == "none",
                }
                messages.append(message | by(defense, defense == "none", "forged"))
        frame = {
            "agents": [list(a) for a in agents],
            "prey": [prey],
            "actions": actions,
            "gates": gates,
            "messages": messages,
            "observations": [[r, c, -1] for r, c in agents],
            "altered": [False] * 3,
            "facts": {"row": [r for r, _ in agents], "sees the prey": [int(a == prey) for a in agents[:2]] + [-1]},
        }
        steps.append(frame | {"reward": [-0.05] * 3})
        captured = captured or (actions[2] == "capture" and agents[2] == prey)
        agents = [
            [min(4, max(0, r + MOVES[a][0])), min(4, max(0, c + MOVES[a][1]))]
            for (r, c), a in zip(agents, actions, strict=True)
        ]
        if captured and all(a == prey for a in agents):
            break
    last = {"agents": agents, "prey": [prey], "actions": None, "gates": None, "messages": [], "reward": None}
    return {
        "scene": scene,
        "label": label,
        "attack": attack,
        "defense": defense,
        "seed": 0,
        "success": captured,
        "steps": [*steps, last],
    }


def episodes(scenes: int = 3) -> dict[str, Any]:
    recorded = []
    for scene in range(scenes):
        recorded.append(episode(scene, "clean", None, "none", False, False))
        recorded.append(episode(scene, "drop", "drop(probability=0.5)", "none", True, False))
        recorded.append(episode(scene, "noise", "noise(scale=2.0)", "none", True, False))
        recorded.append(episode(scene, "replay", "replay(rate=1.0)", "none", True, True))
        recorded.append(episode(scene, "replay + authenticate", "replay(rate=1.0)", "authenticate", False, True))
    return {
        "agents": AGENTS,
        "kinds": KINDS,
        "size": 5,
        "vision": [1, 1, None],
        "actions": list(MOVES),
        "episodes": recorded,
    }


def write_run(folder: Path, seeds: tuple[int, ...] = (0, 1, 2), rows: list[dict[str, Any]] | None = None) -> Path:
    """Write a whole run folder and return it."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config(folder.name, list(seeds)), sort_keys=False))
    write_cells(folder, cells(list(seeds)) if rows is None else rows)
    for seed in seeds:
        for variant in ("team", "control"):
            team = folder / "teams" / f"{variant}-{seed}"
            team.mkdir(parents=True)
            (team / "progress.jsonl").write_text("".join(json.dumps(row) + "\n" for row in progress(variant, seed)))
    (folder / "episodes.json").write_text(json.dumps(episodes()))
    return folder


def write_cells(folder: Path, rows: list[dict[str, Any]]) -> None:
    (folder / "cells.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
