"""rewrite: a relay that puts things a little differently, so that another meaning is understood.

``gradient`` that leaves the form valid: what is passed on is exactly as long as what was said, and at most ``epsilon``
away from it. It turns payloads along the gradient of what receivers will do, within the sphere on which honest payloads
of normalized tokens lie, so that neither ``clip`` nor any other look at a payload's size sees it. ``blind`` turns them
as far into a random direction: what that does is the harm of the size of a change, the rest is the harm of its meaning.
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

    norm: Literal["l2"] = Field("l2", description="what epsilon bounds: the length of the change")
    blind: bool = Field(False, description="control: turn into a random direction, as far")


class Rewrite(Gradient[RewriteConfig]):
    """Gradient on a sphere."""

    risks = ("aa.l3.semantic_rewriting",)

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Along the gradient, and in random directions."""
        return {"": {"steps": 2}, "blind": {"blind": True, "epsilon": 2.0, "probability": 0.5}}

    def on_messages(self, view: MessageView) -> MessageEdits:
        """Find the turn; a blind one is not looked for."""
        if not self.config.blind:
            return super().on_messages(view)
        far = view.randn(*view.reach.shape, view.width) * 1e3
        some = view.reach & (view.rand(*view.reach.shape) < self.config.probability)
        return MessageEdits(modify=some, change=self._project(far, view))

    def _project(self, change: Tensor, view: MessageView) -> Tensor:
        """Turn into the direction of the change, as far as it says and the bound allows."""
        return turn(view.payload, change, self.epsilon)


def turn(payload: Tensor, change: Tensor, epsilon: float) -> Tensor:
    """What to add to payloads [.., D] to turn them towards payload + change, keeping their length.

    A turn by an angle t moves a payload p by 2 |p| sin(t / 2), which epsilon bounds.
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
