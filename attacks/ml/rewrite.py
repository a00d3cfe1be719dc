"""rewrite: rotate payloads slightly so that receivers decide differently, with valid form (semantic rewriting).

A variant of ``gradient`` that preserves the length of payloads and changes them by at most ``epsilon``. It rotates
payloads along the gradient of receivers' action logits, on the sphere on which honest payloads of normalized tokens
lie, so that neither ``clip`` nor any other check of a payload's size detects it. The control ``blind`` rotates them as
far in a random direction: its effect is due to the size of the change, and the rest of the effect to its direction.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.views import MessageView
from attacks.ml.gradient import Gradient, GradientConfig


class RewriteConfig(GradientConfig):
    """Arguments of ``rewrite``."""

    norm: Literal["l2"] = Field("l2", description="norm that epsilon bounds: of the whole change")
    blind: bool = Field(False, description="control: rotate as far in a random direction")


class Rewrite(Gradient[RewriteConfig]):
    """Gradient attack on the sphere of payloads of equal length."""

    risks = ("aa.l3.semantic_rewriting",)

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Along the gradient, and in random directions."""
        return {"": {"steps": 2}, "blind": {"blind": True, "epsilon": 2.0, "probability": 0.5}}

    def on_messages(self, view: MessageView) -> MessageEdits:
        """Optimize the rotation, or with ``blind`` draw it."""
        if not self.config.blind:
            return super().on_messages(view)
        far = view.randn(*view.reach.shape, view.width) * 1e3
        some = view.reach & (view.rand(*view.reach.shape) < self.config.probability)
        return MessageEdits(modify=some, change=self._project(far, view))

    def _project(self, change: Tensor, view: MessageView) -> Tensor:
        """Rotate towards payload + change, at most as far as the bound allows."""
        return turn(view.payload, change, self.epsilon)


def turn(payload: Tensor, change: Tensor, epsilon: float) -> Tensor:
    """Change [.., D] that rotates payloads towards payload + change [.., D], preserving their length.

    A rotation by an angle t moves a payload p by 2 |p| sin(t / 2), which epsilon bounds.
    """
    length = payload.norm(dim=-1, keepdim=True)
    unit = payload / length.clamp_min(1e-12)
    towards = payload + change
    along = (towards * unit).sum(-1, keepdim=True)
    across = towards - along * unit
    beside = across.norm(dim=-1, keepdim=True)
    widest = 2 * (epsilon / (2 * length.clamp_min(1e-12))).clamp(max=1.0).asin()
    angle = torch.minimum(torch.atan2(beside, along), widest)
    turned: Tensor = (angle.cos() - 1) * payload + angle.sin() * length * across / beside.clamp_min(1e-12)
    return turned
