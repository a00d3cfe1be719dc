"""Rows of cells as evaluation writes them, with made-up numbers, for every planned cell."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

WRITERS = ("leak", "covert")
READERS = ("eavesdrop", "infer")
Row = dict[str, Any]


def rows(script: Callable[[str], ModuleType], seeds: int = 10) -> dict[str, list[Row]]:
    """Rows of all planned cells by run."""
    plan, cells = script("plan"), script("cells")
    found: dict[str, dict[tuple[str, ...], list[Row]]] = {}
    for grids in plan.STUDIES.values():
        for grid in grids:
            for run, variant, attack, defense, conditions in plan.cells(grid):
                under = cells.told(json.loads(conditions))
                shown = plan.group_label(defense)
                key = (variant, attack, shown, under)
                if key not in found.setdefault(run, {}):
                    found[run][key] = [row(run, *key, seed) for seed in range(seeds)]
    out = {run: [one for some in by.values() for one in some] for run, by in found.items()}
    whisper = ("whisper", "whisper_individual", "whisper_distance")
    spread = [script("spread").row(run, seed, 0.7 + 0.01 * seed) for run in whisper for seed in range(seeds)]
    return out | {"hint_gate": list(script("hint_cells").rows(hints(seeds))), "whisper_spread": spread}


def hints(seeds: int) -> list[str]:
    """Lines of the script that trains gates on the hint task."""
    own = np.random.default_rng(0)
    lines = ["straight_through sender price 0.03 logit 3.0: 0 of 1 seeds exact;"]
    for kind in ("straight_through", "action"):
        for price in (0.03, 0.1):
            for logit in (3.0, 0.0, -3.0):
                shown = "  ".join(f"{0.9 + 0.1 * own.random():.2f}/1.00/0.95" for _ in range(seeds))
                start = f"{kind} receiver price {price} logit {logit}: {seeds} of {seeds} seeds exact;"
                lines.append(f"{start} precision/recall/reward {shown}; 12 s")
    return lines


def row(run: str, variant: str, attack: str, defense: str, conditions: str, seed: int) -> Row:
    """One row. Attack ``abuse`` is inconclusive, and one team has failed under ``cut``."""
    about = "|".join((run, variant, attack, defense, conditions))
    kind = np.random.default_rng(zlib.crc32(about.encode()))
    own = np.random.default_rng([zlib.crc32(about.encode()), seed])
    steps = 6 + kind.random() + 0.3 * own.normal()
    made: Row = {
        "id": f"{variant}-{seed}|{about}",
        "variant": variant,
        "seed": seed,
        "attack": None,
        "defense_label": defense,
        "conditions_label": conditions,
        "episodes": 512,
        "status": "ok",
        "metrics": {
            "mean_steps": steps if variant == "team" else 16 + own.random(),
            "mean_return": 1 - 0.1 * steps if variant == "team" else 0.1 * own.random(),
            "gate_open": float(np.clip(kind.random() + 0.02 * own.normal(), 0.01, 0.99)),
            "messages_per_step": 3 + kind.random(),
            "harm": own.random(),
        },
    }
    made["metrics"] |= {"success": own.random(), "bytes_per_step": 900 + own.random()}
    made["training"] = {"env_steps": 401408, "seconds": 42 + own.random()}
    made["references"] = {"sampled": {name: 0.98 * value for name, value in made["metrics"].items()}}
    if attack == "none":
        return made
    name = attack.partition("(")[0]
    made["attack"] = {"label": attack, "name": name, "assumes": _assumes(name, conditions)}
    damage, control = (3 * kind.random() + 0.5 * own.normal(), 0.3 * kind.random() + 0.1 * own.normal())
    silence, rate = 2 * kind.random() + 0.3 * own.normal(), float(np.clip(kind.random() + 0.05 * own.normal(), 0, 1))
    made["effect"] = {"damage": damage, "control_damage": control, "silence": silence, "lie": damage - silence}
    made["effect"] |= {"rate": rate, "control_rate": 0.2 * rate, "success": 0.8 * rate}
    if name in (*WRITERS, *READERS):
        made["metrics"] |= {"guessed_right": 0.5 + 0.4 * rate, "guessed_right_a_priori": 0.5}
    if name == "covert":
        made["attack"]["actions"] = {"bits": 1 + rate, "deviation": 1e-15, "changed": 3}
    if name == "abuse" or ("links" in attack and (seed + zlib.crc32(attack.encode())) % 3):
        made |= {"status": "inconclusive", "reason": "it touched no message"}
    if name == "cut" and seed == 3:
        made |= {"status": "failed", "error": "ValueError: made up", "metrics": {}, "effect": None}
    return made


def _assumes(name: str, conditions: str) -> dict[str, Any]:
    if name == "pollute":
        return {"spreads": True}
    if name == "directive":
        return {"obedience": float(conditions.rpartition(" ")[2] or 0)}
    return {"accomplice": True} if name in WRITERS else {}
