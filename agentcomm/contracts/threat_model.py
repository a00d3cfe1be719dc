"""Threat models: the position, powers, knowledge, budget and objective of an attacker.

Guards (``agentcomm/guards/``) show an attack only what its position and powers let it read, and carry out only the
edits that they permit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Self, get_args

from pydantic import Field, model_validator

from agentcomm.base.errors import did_you_mean
from agentcomm.base.fields import Strict

Power = Literal["read", "modify", "inject", "drop", "delay", "reorder", "replay", "register", "act", "reward"]
Knowledge = Literal["none", "protocol", "graph", "policy", "defense"]
Objective = Literal["untargeted", "targeted", "exfiltrate", "exhaust", "evade"]
WHITE_BOX = ("policy", "defense")  # kinds of knowledge that include the policy


class Position(Strict):
    """The position of the attacker.

    ``edge``: on the path of links; ``node``: a compromised agent of the team; ``newcomer``: an outsider that can only
    send messages to agents; ``observer``: reads links and changes nothing; ``hub``: runs the directory in which agents
    find each other, and is on no message's path; ``sensor``: between the world and agents' observations.
    """

    kind: Literal["edge", "node", "newcomer", "observer", "hub", "sensor"]
    links: tuple[tuple[int, int], ...] | None = Field(
        None, description="attacked links as [sender, receiver]; all links when not given"
    )
    node: int | None = Field(
        None, ge=0, description="the compromised agent (node), or the agent whose sensors are attacked; none for all"
    )
    spreads: bool = Field(False, description="agents that accept its messages become compromised, too (infection)")

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.kind != "sensor" and (self.kind == "node") != (self.node is not None):
            raise ValueError(
                f"position {self.kind!r} with node={self.node}: only positions 'node' (always) and 'sensor' name a node"
            )
        if self.links is not None and self.kind not in ("edge", "observer"):
            raise ValueError(f"position {self.kind!r} has no links of its own: leave links out")
        if self.spreads and self.kind != "node":
            raise ValueError(f"position {self.kind!r} cannot spread: spreads is for position 'node'")
        return self


class Budget(Strict):
    """Limits on an attack; None for no limit.

    Each message touched or injected, action, reward and changed sensor reading costs 1; a sensor reading is one index,
    or an agent's whole vector of numbers.
    """

    per_step: int | None = Field(None, ge=0, description="most edits per world and step")
    per_episode: int | None = Field(None, ge=0, description="most edits per world and episode")
    norm: float | None = Field(
        None, ge=0, description="largest change of a payload coordinate, or an observed number (l-inf)"
    )
    length: float | None = Field(None, ge=0, description="largest change of a payload (l2)")
    reward: float | None = Field(None, ge=0, description="largest change of a reward")
    deviation: float | None = Field(
        None,
        ge=0,
        description="largest change of an action's probability, to an observer that does not know the secret",
    )
    start_step: int = Field(0, ge=0, description="first step of the episode at which the attack may act")

    def at_most(self, **limits: float | None) -> Budget:
        """The budget with these limits added: the smaller of both limits holds; None for no limit."""
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
        if not isinstance(self.position, Position):
            raise ValueError(f"a position is needed, such as Position(kind='edge'), not {self.position!r}")
        if not isinstance(self.budget, Budget):
            raise ValueError(f"a budget is needed, such as self.config.budget, not {self.budget!r}")
        given: list[tuple[str, Any, tuple[str, ...]]]
        given = [("power", power, get_args(Power)) for power in self.powers]
        given += [("knowledge", self.knowledge, get_args(Knowledge))]
        given += [("objective", self.objective, get_args(Objective))]
        for what, word, known in given:
            if word not in known:
                raise ValueError(f"there is no {what} {word!r}; {did_you_mean(str(word), known)}")
        if "act" in self.powers and self.position.kind != "node":
            raise ValueError(
                f"position {self.position.kind!r} has no node to act for: power 'act' needs position 'node'"
            )
