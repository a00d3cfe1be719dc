"""A made-up run as large as those that the issue of speed is about: 10 attacks x 6 defenses x 3 seeds."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import synthetic

ATTACKS = (
    *(f"noise(epsilon={e})" for e in (0.5, 1, 2, 4)),
    *(f"drop(probability={p})" for p in (0.25, 0.5, 1)),
    "replay(rate=1.0)",
    "impersonate(victim=0)",
    "directive(goal=stay)",
)
DEFENSES = ("authenticate", "clip", "authenticate+clip", "none", "median", "quarantine")


def cells(
    attacks: tuple[str, ...] = ATTACKS, defenses: tuple[str, ...] = DEFENSES, seeds: tuple[int, ...] = (0, 1, 2)
) -> list[dict[str, Any]]:
    """Cells with everything that a row may hold: controls, effects, detection, traffic, provenance."""
    rows = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        rows.append(synthetic.cell(rng, "control", seed, None, "none", 15.1))
        for column, defense in enumerate(defenses):
            rows.append(synthetic.cell(rng, "team", seed, None, defense, 6.7 + 0.1 * column + 0.1 * rng.normal()))
            for number, attack in enumerate(attacks):
                steps = 7.5 + 0.9 * number * (0.3 if "authenticate" in defense else 1) + 0.2 * rng.normal()
                rows.append(attacked(synthetic.cell(rng, "team", seed, attack, defense, steps), steps, rng))
    for row in rows:
        if row["variant"] == "team":
            row["edges"] = [[0, 0.1, 0.7], [0.9, 0, 0], [0, 0.8, 0]]
        row["provenance"] = {"commit": "0123456789abcdef", "dirty": False, "config": "c0ffee", "threads": 1}
    return rows


def attacked(row: dict[str, Any], steps: float, rng: np.random.Generator) -> dict[str, Any]:
    """Add what only attacked cells have."""
    damage, silence = steps - 6.7, 0.4 * (steps - 6.7)
    name, _, rest = row["attack"]["label"].rstrip(")").partition("(")
    key, _, value = rest.partition("=")
    arguments = {key: float(value) if value[0].isdigit() else value}
    row["attack"] |= {"arguments": arguments, "assumes": {"obedience": 1.0} if name == "directive" else {}}
    spent = {"edits": 5000, "messages": 5000, "bytes": 640000, "norm": 2.0}
    metrics = {"mean_steps": 6.7, "success": 0.99}
    row["spent"] = spent
    row["counterparts"] = {
        kind: {"metrics": metrics, "ledger": {"sent": 5000}, "spent": spent} for kind in ("clean", "control", "silence")
    }
    row["effect"] = {
        "damage": round(damage, 4),
        "control_damage": round(0.1 * damage, 4),
        "silence": round(silence, 4),
        "lie": round(damage - silence, 4),
        "worse": 0.5,
        "better": 0.2,
        "predicate": "the team needs more steps than under the control",
        "rate": 0.5,
        "control_rate": 0.2,
        "clean_rate": 0.2,
        "success": round(0.3 + 0.05 * float(rng.normal()), 4),
    }
    row["outcome"] = "success"
    for detector in {"median", "quarantine"} & {row["defense_label"]}:
        curve = [[round(x, 3), round(x**0.4, 3)] for x in np.linspace(0, 1, 40)]
        row["detection"] = {detector: {"auroc": 0.7, "auprc": 0.6, "tpr_at_1_fpr": 0.2, "tpr": 0.5, "curve": curve}}
    return row


def episodes(scenes: int) -> dict[str, Any]:
    """Recordings of every attack under every defense."""
    recorded = []
    for scene in range(scenes):
        for attack in (None, *ATTACKS):
            for defense in DEFENSES:
                label = " + ".join(filter(None, (attack, defense if defense != "none" else ""))) or "clean"
                episode = synthetic.episode(scene, label, attack, defense, attack is not None, attack is not None)
                for frame in episode["steps"]:
                    frame["observations"] = np.round(np.linspace(0, 1, 29), 3).tolist(), [0.25] * 29, [0.5] * 29
                recorded.append(episode)
    return synthetic.episodes(0) | {"episodes": recorded}


def write_run(folder: Path, scenes: int = 4) -> Path:
    synthetic.write_run(folder, rows=cells())
    (folder / "episodes.json").write_text(json.dumps(episodes(scenes)))
    return folder
