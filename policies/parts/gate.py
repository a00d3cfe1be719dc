"""The temporal gate: each agent decides at every step whether to listen (arXiv 2411.00382), in two variants.

*action*: the gate's log-probability is part of the PPO ratio, and listening costs ``cost * degree / N`` of the reward,
so that a gate stays open only if the received messages are worth the cost. Its baseline must not know whether the gate
was open (see ``CommPolicy.value``).

*straight_through*: the gate is a Gumbel sigmoid. Whether it was open was sampled with noise that the rollout records;
the update replays it, multiplies received messages by the gate (value 1, gradient of the sigmoid), and adds the cost to
the loss. Closed gates received nothing, so they learn from the cost only.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from policies.graphs.part import Part


class GateConfig(Part):
    """Arguments of the gate."""

    kind: Literal["action", "straight_through"] = Field("action", description="how the gate is trained")
    side: Literal["receiver", "sender"] = Field(
        "receiver", description="receivers decide to listen, or senders to speak"
    )
    cost: float = Field(0.0, ge=0, description="cost of an open gate per step, in units of reward, times degree / N")
    initial_logit: float = Field(
        3.0, description="initial logit of gates, which are open with probability sigmoid(this)"
    )
    temperature: float = Field(1.0, gt=0, description="temperature of the Gumbel sigmoid (straight_through)")


class Gate(nn.Module):
    """MLP from an agent's own token to the logit of an open gate."""

    def __init__(self, config: GateConfig, width: int) -> None:
        super().__init__()
        self.cost = config.cost
        self.side = config.side
        self.straight_through = config.kind == "straight_through"
        self.temperature = config.temperature
        last = nn.Linear(width // 2, 1)
        nn.init.orthogonal_(last.weight, 0.01)
        nn.init.constant_(last.bias, config.initial_logit)
        self.layers = nn.Sequential(nn.Linear(width, width // 2), nn.GELU(), last)

    def forward(self, token: Tensor) -> Tensor:
        """Tokens [B, N, D] -> logits [B, N]."""
        out: Tensor = self.layers(token)
        return out.squeeze(-1)

    def weight(self, logit: Tensor, noise: Tensor) -> Tensor:
        """[B, N], the relaxed gate sigmoid((logit + noise) / temperature)."""
        return ((logit + noise) / self.temperature).sigmoid()
