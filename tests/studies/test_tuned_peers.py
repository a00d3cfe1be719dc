"""Published teams of each method have the setting that did best in tuning."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from agentcomm.runs.config import load

RUNS = Path(__file__).parents[2] / "studies" / "runs"


def test_published_teams_have_the_best_setting(scripts: Callable[[str], ModuleType]) -> None:
    peers, steps = scripts("peers"), defaultdict(list)
    for line in (RUNS / "peer_tuning" / "cells.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        steps[row["conditions_label"]].append(row["metrics"]["mean_steps"])
    assert {len(found) for found in steps.values()} == {len(peers.SEEDS)}
    for method, (_, option, _) in peers.METHODS.items():
        tried = {
            (rate, choice): sum(steps[peers.label(method, rate, choice)]) for rate, choice in peers.settings(method)
        }
        run = "capture" if method == "commformer" else f"peer_{method}"
        at = load(RUNS / run / "config.yaml", trust=True)
        value = at.model_dump()
        for name in option.split("."):
            value = value[name]
        assert (at.training.ppo.learning_rate, value) == min(tried, key=lambda setting: tried[setting]), method
