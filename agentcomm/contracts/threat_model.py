"""Threat models: where an attacker stands, what it can do, what it knows, and how much it may do.

A guard (``agentcomm/guards/``) shows an attack only what its position and powers let it read, and carries out only what
they let it write.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Power = Literal["read", "modify", "inject", "drop", "delay", "reorder", "replay", "register", "act", "reward"]
Knowledge = Literal["none", "protocol", "graph", "policy", "defense"]
Objective = Literal["untargeted", "targeted", "exfiltrate", "exhaust", "evade"]


class Position(BaseModel):
    """Where the attacker stands.

    ``edge``: on the path of links; ``node``: a compromised agent of the team; ``newcomer``: an outsider
    that can only address agents; ``observer``: sees all links, touches none; ``hub``: runs the directory that agents
    find each other by, and is on no message's path; ``sensor``: between the world and what agents see of it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["edge", "node", "newcomer", "observer", "hub", "sensor"]
    links: tuple[tuple[int, int], ...] | None = Field(
        None, description="attacked links as [sender, receiver]; none given means every link (edge)"
    )
    node: int | None = Field(
        None, ge=0, description="the compromised agent (node), or whose sensors they are; none for everybody's (sensor)"
    )
    spreads: bool = Field(False, description="who accepts its messages obeys it from then on: one more of its nodes")

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.kind != "sensor" and (self.kind == "node") != (self.node is not None):
            raise ValueError(f"position {self.kind!r} with node={self.node}: a node is named for position 'node' only")
        if self.links is not None and self.kind not in ("edge", "observer"):
            raise ValueError(f"position {self.kind!r} has no links of its own")
        if self.spreads and self.kind != "node":
            raise ValueError(f"position {self.kind!r} is spreads by nobody: spreads is for position 'node'")
        return self


class Budget(BaseModel):
    """How much an attack may do; None is no limit.

    A message touched or injected, an action, a reward, and what one sensor shows cost 1: an index that is replaced, or
    an agent's whole vector of numbers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    per_step: int | None = Field(None, ge=0, description="messages touched per world and step")
    per_episode: int | None = Field(None, ge=0, description="messages touched per world and episode")
    norm: float | None = Field(
        None, ge=0, description="largest change of a payload coordinate, or a number seen (l-inf)"
    )
    length: float | None = Field(None, ge=0, description="largest length of a payload's change (l2)")
    reward: float | None = Field(None, ge=0, description="largest change of a reward")
    deviation: float | None = Field(
        None, ge=0, description="largest change of an action's probability, to who does not know the secret"
    )
    start_step: int = Field(0, ge=0, description="first step of the episode at which the attack may act")

    def at_most(self, **limits: float | None) -> Budget:
        """The same with these limits, too: of each field the smaller one holds; None is no limit."""
        both = {name: [x for x in (limit, getattr(self, name)) if x is not None] for name, limit in limits.items()}
        return self.model_copy(update={name: min(found, default=None) for name, found in both.items()})


@dataclass(frozen=True)
class ThreatModel:
    """Position, powers, knowledge, budget and objective of an attack."""

    position: Position
    powers: frozenset[Power]
    knowledge: Knowledge = "protocol"
    budget: Budget = field(default_factory=Budget)
    objective: Objective = "untargeted"

    def __post_init__(self) -> None:
        if "act" in self.powers and self.position.kind != "node":
            raise ValueError(f"position {self.position.kind!r} has no node to act for: power 'act' is a node's")
