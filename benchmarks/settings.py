"""The two settings of all timings: CommFormer's own, and ours."""

from __future__ import annotations

from typing import Any

from agentcomm.runs.config import RunConfig, parse

TASK = {"name": "predator_prey", "size": 5, "predators": 3, "vision": 1, "max_steps": 20}

# Steps per second of CommFormer's released code in training on two cores (the Predator-Prey setting of its README).
RELEASED_CODE = 790


def commformer(**training: Any) -> RunConfig:
    """CommFormer's: 261-wide one-hot observations, D = 64, 10 epochs over 4,000 env steps in one minibatch, and
    a step of the graph every five epochs."""
    return parse(
        {
            "name": "commformer-settings",
            "environment": TASK | {"observation": "dense"},
            "policy": {"name": "commformer", "width": 64, "topology": {"name": "learned", "density": 0.4}},
            "training": {
                "worlds": 250,
                "fragment": 16,
                "evaluate_every": 0,
                "ppo": {"epochs": 10, "minibatch": None, "learning_rate": 5e-4, "clip": 0.05, "graph_every": 5},
            }
            | training,
        },
        "benchmark settings",
    )


def ours(**training: Any) -> RunConfig:
    """Ours: index observations, and the update by default, as in agentcomm/demo.yaml."""
    return parse(
        {
            "name": "our-settings",
            "environment": TASK | {"observation": "indices"},
            "policy": {"name": "commformer", "width": 64, "topology": {"name": "learned", "density": 0.4}},
            "training": {
                "worlds": 256,
                "fragment": 16,
                "evaluate_every": 0,
            }
            | training,
        },
        "benchmark settings",
    )
