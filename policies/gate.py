"""The temporal gate: each receiver decides at every step whether to listen (arXiv 2411.00382).

Here the gate is an action: its log-probability joins the PPO ratio, and listening costs
``cost * degree / N`` of the reward, so that a gate stays open only when what it hears is worth that.
"""

from __future__ import annotations

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn


class GateConfig(BaseModel):
    """Arguments of the gate."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cost: float = Field(0.0, ge=0, description="price of listening for one step, times degree / N")
    learn_from: float = Field(0.5, ge=0, lt=1, description="share of training for which gates just stay open")
    initial_logit: float = Field(3.0, description="open with probability sigmoid(this) at first")


class Gate(nn.Module):
    """MLP from an agent's own token to the logit of listening.

    At first gates stay open and cost nothing: messages mean nothing yet, and gates that learn before
    they do drift shut, whereupon messages never come to mean anything.

    Attributes:
        learning: 1 once gates decide.
    """

    learning: Tensor

    def __init__(self, config: GateConfig, width: int) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("learning", torch.tensor(float(config.learn_from == 0)))
        last = nn.Linear(width // 2, 1)
        nn.init.orthogonal_(last.weight, 0.01)
        nn.init.constant_(last.bias, config.initial_logit)
        self.layers = nn.Sequential(nn.Linear(width, width // 2), nn.GELU(), last)

    def anneal(self, progress: float) -> None:
        """Let gates decide once enough of training is done."""
        self.learning.fill_(float(progress >= self.config.learn_from))

    def forward(self, token: Tensor) -> Tensor:
        """Token [B, N, D] -> logit [B, N]."""
        out: Tensor = self.layers(token)
        return out.squeeze(-1)
