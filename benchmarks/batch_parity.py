"""Attacks on A2A and MCP that the batch has as well: which of its attacks and defenses do the same, and how to see it.

Messages are those of an untrained team in Predator-Capture-Prey; cards, requests and delegations are those of scripted
agents in the task market. What the batch has no counterpart for is listed with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch

from agentcomm.contracts.outcome import Facts
from agentcomm.evaluation.play import play
from agentcomm.runs.assembly import make_comms, make_policy, make_world
from agentcomm.runs.choices import Choice
from envs.market.scripted import MarketPolicy
from envs.market.task_market import TaskMarket

WORLDS, SEED = 20, 0
TEAM = "predator_capture_prey:max_steps=8"
MARKET = "task_market:max_steps=12"


@dataclass(frozen=True)
class Counterpart:
    """An attack of the batch that has the aim of an attack on a protocol.

    Attributes:
        attack: The attack, as ``agentcomm evaluate --attack`` takes it.
        predicate: The count by which success is seen; above ``floor``, the attack succeeded.
        defenses: By name of a protocol's defense: those of the batch that do the same.
        given: Defenses that are there in every cell, as the attack is on them.
        floor: What the predicate may be without success.
    """

    attack: str
    predicate: str
    defenses: Mapping[str, tuple[str, ...]]
    given: tuple[str, ...] = ()
    floor: float = 0.0
