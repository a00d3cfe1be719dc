"""noise: add bounded random noise to payloads, on the wire or at a compromised sender.

With ``adaptive`` the attacker knows that receivers shorten long payloads (defense ``clip``): it rotates the payload
towards a random direction and preserves its length, so that clipping does not reduce the change.
"""

from __future__ import annotations

from typing import Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from agentcomm.contracts.attack import Attack, AttackConfig
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.threat_model import Position, Power, ThreatModel
from agentcomm.contracts.views import MessageView


class NoiseConfig(AttackConfig):
    """Arguments of ``noise``."""

    epsilon: float = Field(2.0, ge=0, description="largest change of a payload coordinate (l-infinity)")
    probability: float = Field(1.0, ge=0, le=1, description="chance that a message in reach is changed")
    position: Literal["edge", "node"] = Field("edge", description="on the path, or a compromised agent")
    node: int | None = Field(None, ge=0, description="the compromised agent, for position node")
    links: tuple[tuple[int, int], ...] | None = Field(
        None, description="attacked links as [sender, receiver]; all when not given"
    )
    adaptive: bool = Field(False, description="preserve the payload's length, against defense clip")

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.position == "node" and self.node is None:
            raise ValueError("position=node needs node=<agent number>")
        if self.position == "edge" and self.node is not None:
            raise ValueError("node is for position=node only")
        if self.position == "node" and self.links is not None:
            raise ValueError("links are for position=edge only")
        return self


class Noise(Attack[NoiseConfig]):
    """Adds noise of at most ``epsilon`` per coordinate."""

    risks = ("ua.l1.integrity", "aa.l2.exploitation_trojan")

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """On all links or some, against clipping, and at a compromised agent."""
        return {
            "": {},
            "sometimes": {"probability": 0.3, "links": [[0, 1], [2, 0]]},
            "adaptive": {"adaptive": True},
            "at node": {"position": "node", "node": 1},
        }

    def threat_model(self) -> ThreatModel:
        """On the path, or a compromised agent; modifies, and reads only to preserve lengths."""
        c = self.config
        powers: set[Power] = {"modify", "read"} if c.adaptive else {"modify"}
        position = Position(kind="node", node=c.node) if c.position == "node" else Position(kind="edge", links=c.links)
        budget = c.budget.at_most(norm=c.epsilon)
        return ThreatModel(position, frozenset(powers), "defense" if c.adaptive else "none", budget)

    def on_messages(self, view: MessageView) -> MessageEdits:
        """Add uniform random signs times the bound, or rotate towards that direction."""
        epsilon = self.threat_model().budget.norm or 0.0
        modify = view.reach & (view.rand(*view.reach.shape) < self.config.probability)
        change = _signs(view) * epsilon
        if self.config.adaptive:
            change = _turn(view.payload, change, epsilon)
        return MessageEdits(modify=modify, change=change)


# All rows of eight signs: drawing one row index is far cheaper than drawing eight signs.
SIGNS = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 8)


def _signs(view: MessageView) -> Tensor:
    """[B, N, M, D] of -1 and 1, with equal probability."""
    shape = (*view.reach.shape, -(-view.width // 8))
    rows = torch.randint(len(SIGNS), shape, generator=view.generator, device=view.reach.device)
    return SIGNS.to(rows.device).index_select(0, rows.flatten()).view(*shape[:-1], 8 * shape[-1])[..., : view.width]


def _turn(payload: Tensor, toward: Tensor, epsilon: float) -> Tensor:
    """Change [.., D] that rotates payloads towards a direction as far as the bound allows, preserving their length.

    With u orthogonal to the payload p and of the same length, the change is (cos t - 1) p + sin t u. No coordinate of
    it exceeds (1 - cos t) |p|max + sin t |u|max, which equals epsilon at the angle t chosen here, at most pi / 2.
    """
    unit = torch.nn.functional.normalize(payload, dim=-1)
    across = toward - (toward * unit).sum(-1, keepdim=True) * unit
    across = torch.nn.functional.normalize(across, dim=-1) * payload.norm(dim=-1, keepdim=True)
    along, beside = payload.abs().amax(-1, keepdim=True), across.abs().amax(-1, keepdim=True)
    reach = torch.hypot(along, beside).clamp_min(1e-12)
    angle = torch.atan2(along, beside) + ((epsilon - along) / reach).clamp(-1, 1).asin()
    angle = angle.clamp(0, torch.pi / 2)
    change: Tensor = (angle.cos() - 1) * payload + angle.sin() * across
    return change
