"""smoothing: decide by a vote of the policy over copies of the inbox with Gaussian noise.

Randomized smoothing (Cohen, Rosenfeld and Kolter, "Certified adversarial robustness via randomized smoothing", ICML
2019) of what an agent hears in one step. The action that most copies lead to does not depend on changes of the payloads
that are shorter than a radius, which :mod:`agentcomm.certificates.smoothing` computes from the votes. What came in by
no link is never heard.

Honest payloads have length sqrt(D), entries of about 1. A radius never exceeds a few ``sigma``, far less than a message
that is replaced altogether: it bounds small changes in many messages, the opposite of ``ensemble``. A policy that was
trained without noise may not make sense of noisy messages; one with a variational bottleneck (``bottleneck: {}``) does.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.defense import Defense, DefenseConfig
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.verdicts import InboxView


class SmoothingConfig(DefenseConfig):
    """Arguments of ``smoothing``."""

    sigma: float = Field(0.25, gt=0, description="standard deviation of the noise in each entry of a payload")
    samples: int = Field(32, ge=2, description="copies that vote")


class Smoothing(Defense[SmoothingConfig]):
    """Votes over noisy copies; for policies with one round of messages whose agents all act at once."""

    answers = ("aa.l3.cross_agent_input_detection",)
    adaptive = ("gradient:adaptive=true,samples=4", "rewrite:adaptive=true,samples=4")
    order = "trust"
    refuses = False
    lossless = False
    in_training = False  # the gradient of a vote is not that of a policy
    draws: ClassVar[bool] = True

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Few copies."""
        return {"": {"samples": 4}}

    def __init__(self, config: SmoothingConfig, team_shape: TeamShape) -> None:
        super().__init__(config, team_shape)
        self.noise = config.sigma

    def subsets(self, inbox: InboxView, memory: dict[str, Tensor]) -> Tensor | None:
        """Every copy hears all links."""
        degree, slots = self.team_shape.degree, inbox.present.shape[-1]
        if not degree:
            return None
        linked = torch.arange(slots, device=inbox.present.device) < degree
        return linked.expand(self.config.samples, *inbox.present.shape)
