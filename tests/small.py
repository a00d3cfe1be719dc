"""A run small enough for tests: seconds to train, minutes of nothing."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from agentcomm.runs import policy_file
from agentcomm.runs.assembly import make_policy, make_world
from agentcomm.runs.choices import apply_override
from agentcomm.runs.config import RunConfig, parse
from agentcomm.runs.folder import Run, create, teams

BASE: dict[str, Any] = {
    "name": "small",
    "environment": {"name": "predator_capture_prey", "observation": "indices", "max_steps": 8},
    "policy": {"name": "commformer", "width": 16, "gate": {"cost": 0.01}},
    "seeds": [0],
    "training": {
        "env_steps": 256,
        "worlds": 16,
        "fragment": 8,
        "evaluate_every": 0,
        "evaluation_worlds": 8,
        "checkpoint_every": 1,
        "ppo": {"minibatch": 32, "epochs": 2},
    },
    "evaluation": {"episodes": 16, "recordings": 1},
}
ATTACKED = {
    "attacks": [{"name": "noise", "probability": 0.5}, {"name": "impersonate"}, {"name": "replay", "age": 2}],
    "defenses": [{"name": "clip"}],
}


def small_data(*overrides: str, **fields: Any) -> dict[str, Any]:
    data = copy.deepcopy(BASE) | copy.deepcopy(fields)
    for text in overrides:
        apply_override(data, text)
    return data


def small(*overrides: str, **fields: Any) -> RunConfig:
    return parse(small_data(*overrides, **fields), "test config")


def untrained(root: Path, *overrides: str) -> Run:
    """A run whose teams have policies as they are initialized."""
    return as_initialized(create(small(*overrides), root))


def as_initialized(run: Run) -> Run:
    """The run with policies as they are initialized."""
    config = run.config
    for variant, seed in teams(config):
        policy = make_policy(config.policy, make_world(config.environment, 1), variant, seed)
        policy_file.save(run.policy(variant, seed), policy, config.environment, config.policy, variant, seed, {})
    return run
