"""The temporal gate: each receiver decides at every step whether to listen (arXiv 2411.00382).

Here the gate is an action: its log-probability joins the PPO ratio, and listening costs
``cost * degree / N`` of the reward, so that a gate stays open only when what it hears is worth that.
The baseline it is held against must not know whether it was open (see ``CommPolicy.value``).
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn


class GateConfig(BaseModel):
    """Arguments of the gate."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cost: float = Field(0.0, ge=0, description="price of listening for one step, times degree / N")
    initial_logit: float = Field(3.0, description="open with probability sigmoid(this) at first")


class Gate(nn.Module):
    """MLP from an agent's own token to the logit of listening."""

    def __init__(self, config: GateConfig, width: int) -> None:
        super().__init__()
        self.cost = config.cost
        last = nn.Linear(width // 2, 1)
        nn.init.orthogonal_(last.weight, 0.01)
        nn.init.constant_(last.bias, config.initial_logit)
        self.layers = nn.Sequential(nn.Linear(width, width // 2), nn.GELU(), last)

    def forward(self, token: Tensor) -> Tensor:
        """Token [B, N, D] -> logit [B, N]."""
        out: Tensor = self.layers(token)
        return out.squeeze(-1)
