"""tamper: change payloads by a fixed rule that needs no knowledge of the policy.

``bias`` adds the same vector to every payload, ``flip`` negates payloads, ``permute`` applies one fixed permutation to
their entries, ``swap`` delivers the payload of another link, and ``zero`` sets payloads to zero. A compromised agent
(``node``) seals the changed payloads with its own valid key.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.attack import Attack
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.threat_model import Power, ThreatModel
from agentcomm.contracts.views import MessageView
from attacks.external.place import PlaceConfig


class TamperConfig(PlaceConfig):
    """Arguments of ``tamper``."""

    how: Literal["bias", "flip", "permute", "swap", "zero"] = Field("flip", description="the rule")
    strength: float = Field(2.0, ge=0, description="of bias: absolute value of each added entry")


class Tamper(Attack[TamperConfig]):
    """Changes payloads by a fixed rule."""

    risks = ("ua.l1.integrity", "aa.l2.exploitation_trojan")

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Each rule, on the wire and at a compromised agent."""
        return {
            "": {},
            "bias": {"how": "bias", "probability": 0.5},
            "at node": {"how": "flip", "node": 1},
            "permute": {"how": "permute", "links": [[0, 1], [2, 0]]},
            "swap": {"how": "swap"},
            "zero": {"how": "zero"},
        }

    def __init__(self, config: TamperConfig, team_shape: TeamShape) -> None:
        super().__init__(config, team_shape)
        generator = torch.Generator().manual_seed(20210830)
        signs = torch.randint(2, (team_shape.width,), generator=generator) * 2 - 1
        self._bias = (config.strength * signs).to(team_shape.device)
        self._order = torch.randperm(team_shape.width, generator=generator).to(team_shape.device)

    def threat_model(self) -> ThreatModel:
        """On the path, or a compromised agent; modifies, and reads unless it adds a fixed bias."""
        powers: set[Power] = {"modify"} if self.config.how == "bias" else {"read", "modify"}
        return ThreatModel(self.config.position(), frozenset(powers), "none", self.config.budget)

    def on_messages(self, view: MessageView) -> MessageEdits:
        """Change each message with the given probability."""
        some = view.reach & (view.rand(*view.reach.shape) < self.config.probability)
        if self.config.how == "bias":
            return MessageEdits(modify=some, change=self._bias.expand(*view.reach.shape, -1))
        return MessageEdits(modify=some, change=self._wanted(view.payload, view.reach) - view.payload)

    def _wanted(self, payload: Tensor, reach: Tensor) -> Tensor:
        how = self.config.how
        if how == "flip":
            return -payload
        if how == "zero":
            return torch.zeros_like(payload)
        if how == "permute":
            return payload[..., self._order]
        return _next_in_reach(payload, reach)


def _next_in_reach(payload: Tensor, reach: Tensor) -> Tensor:
    """[B, N, M, D], each payload in reach replaced by the next one in reach of its world, the last by the first."""
    worlds, width = len(payload), payload.shape[-1]
    inside = reach.flatten(1)
    place = torch.arange(inside.shape[1], device=reach.device)
    order = torch.where(inside, place, place + len(place)).argsort(1)  # those in reach first
    count = inside.sum(1, keepdim=True)
    following = torch.where(place + 1 < count, place + 1, 0).expand(worlds, -1)
    source = torch.empty_like(order).scatter_(1, order, order.gather(1, following))
    source = torch.where(inside, source, place)
    return payload.flatten(1, 2).gather(1, source.unsqueeze(-1).expand(-1, -1, width)).view_as(payload)
