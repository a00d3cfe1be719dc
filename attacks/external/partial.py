"""partial: remove parts of payloads, so that receivers act on incomplete messages.

The channel ``fragments`` discards a message when one of its fragments is missing. This attack models receivers that
do not: each missing part of the payload reads as zeros.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.attack import Attack
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.threat_model import ThreatModel
from agentcomm.contracts.views import MessageView
from attacks.external.place import PlaceConfig


class PartialConfig(PlaceConfig):
    """Arguments of ``partial``."""

    parts: int = Field(4, ge=1, le=256, description="equal parts that a payload is divided into")
    missing: float = Field(0.5, ge=0, le=1, description="share of the parts that are removed")
    pattern: Literal["random", "last"] = Field("random", description="each part by chance, or those at the end")


class Partial(Attack[PartialConfig]):
    """Sets parts of payloads to zero."""

    risks = ("aa.l3.contextual_fragmentation",)

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Random parts, and those at the end."""
        return {"": {"missing": 0.5}, "last parts": {"pattern": "last", "missing": 0.3, "parts": 3}}

    def __init__(self, config: PartialConfig, team_shape: TeamShape) -> None:
        super().__init__(config, team_shape)
        self._part = torch.arange(team_shape.width, device=team_shape.device) * config.parts // team_shape.width

    def threat_model(self) -> ThreatModel:
        """On the path, or a compromised agent; reads and modifies."""
        return ThreatModel(self.config.position(), frozenset({"read", "modify"}), "protocol", self.config.budget)

    def on_messages(self, view: MessageView) -> MessageEdits:
        """Choose parts of each message and set them to zero."""
        c, shape = self.config, view.reach.shape
        some = view.reach & (view.rand(*shape) < c.probability)
        lost: Tensor = view.rand(*shape, c.parts) < c.missing
        if c.pattern == "last":
            lost = (torch.arange(c.parts, device=lost.device) >= c.parts - round(c.missing * c.parts)).expand_as(lost)
        return MessageEdits(modify=some & lost.any(-1), change=-view.payload * lost[..., self._part])
