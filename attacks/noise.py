"""noise: bounded random changes of payloads, on the wire or at a compromised sender.

With ``adaptive`` the attacker knows that receivers shorten long payloads (defense ``clip``): it turns the
payload towards a random direction and keeps its length, so that clipping takes nothing back.
"""

from __future__ import annotations

import torch
from pydantic import Field, model_validator

from agentcomm.threats import Attack, AttackConfig, Edits, Position, Power, ThreatModel, View


class NoiseConfig(AttackConfig):
    """Arguments of ``noise``."""

    epsilon: float = Field(2.0, ge=0, description="largest change of a payload coordinate (l-infinity)")
    probability: float = Field(1.0, ge=0, le=1, description="chance that a message in reach is changed")
    position: str = Field("edge", pattern="^(edge|node)$", description="on the path, or a compromised agent")
    node: int | None = Field(None, ge=0, description="the compromised agent, for position node")
    links: tuple[tuple[int, int], ...] | None = Field(
        None, description="attacked links as [sender, receiver]; all when not given"
    )
    adaptive: bool = Field(False, description="keep the payload's length, against clip")

    @model_validator(mode="after")
    def _node_named(self) -> NoiseConfig:
        if self.position == "node" and self.node is None:
            raise ValueError("position=node needs node=<agent number>")
        return self


class Noise(Attack):
    """Adds noise of at most epsilon per coordinate."""

    Config = NoiseConfig
    config: NoiseConfig
    name = "noise"
    risks = ("ua.l1.integrity", "aa.l2.exploitation_trojan")

    def threat_model(self) -> ThreatModel:
        """Modifies; reads only when it has to keep the length."""
        c = self.config
        powers: set[Power] = {"modify", "read"} if c.adaptive else {"modify"}
        position = Position(kind="node", node=c.node) if c.position == "node" else Position(kind="edge", links=c.links)
        norm = c.epsilon if c.budget.norm is None else min(c.epsilon, c.budget.norm)
        budget = c.budget.model_copy(update={"norm": norm})
        return ThreatModel(position, frozenset(powers), "defense" if c.adaptive else "none", budget)

    def apply(self, view: View) -> Edits:
        """Uniform signs at the bound, or a same-length turn towards a random direction."""
        epsilon = self.threat_model().budget.norm or 0.0
        shape = (*view.reach.shape, view.width)
        modify = view.reach & (view.rand(*view.reach.shape) < self.config.probability)
        change = (2 * (view.rand(*shape) < 0.5).float() - 1) * epsilon
        if view.payload is not None:
            length = view.payload.norm(dim=-1, keepdim=True)
            turned = torch.nn.functional.normalize(view.payload + change, dim=-1) * length
            change = (turned - view.payload).clamp(-epsilon, epsilon)
        return Edits(modify=modify, change=change)
