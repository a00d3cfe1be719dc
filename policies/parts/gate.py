"""The temporal gate: each agent decides at every step whether to listen (arXiv 2411.00382), in two variants.

*action*: the gate's log-probability is part of the PPO ratio, and listening costs ``cost * degree / N`` of the reward,
so that a gate stays open only if the received messages are worth the cost. Its baseline must not know whether the gate
was open (see ``CommPolicy.value``).

*straight_through*: the gate is a Gumbel sigmoid. Whether it was open was sampled with noise that the rollout records;
the update replays the decision with the gradient of the sigmoid, and adds the cost to the loss. Open and closed gates
alike learn from the difference that their messages make or would have made (:mod:`policies.parts.mixing`,
:mod:`agentcomm.training.gate_step`). Rollouts
force a few gates open and drop a few of their links, so that receivers know both cases; neither trains the gate.

Early in training messages mean little yet, and a price would close gates for good: it starts at 0 and rises later. With
a target rate, the price is a dual variable instead, which rises while gates are open more often, and falls to 0
otherwise.
"""

from __future__ import annotations

from typing import Literal, Self

import torch
from pydantic import Field, model_validator
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
    free_until: float = Field(0.25, ge=0, le=1, description="share of training during which the cost is 0")
    full_from: float = Field(
        0.75, ge=0, le=1, description="share of training after which it has risen to its full size"
    )
    target_rate: float | None = Field(
        None, gt=0, lt=1, description="share of gates to be open; sets the cost, which must be 0 then"
    )
    price_step: float = Field(
        0.005, gt=0, description="change of the cost per update and unit of rate above the target"
    )
    forced_open: float = Field(
        0.05, ge=0, lt=1, description="share of gates forced open in rollouts (straight_through)"
    )
    dropped: float = Field(0.1, ge=0, lt=1, description="share of links dropped in rollouts (straight_through)")

    @model_validator(mode="after")
    def _one_price(self) -> Self:
        if self.free_until > self.full_from:
            raise ValueError(f"free_until={self.free_until} is after full_from={self.full_from}")
        if self.target_rate is not None and self.cost:
            raise ValueError(f"cost={self.cost} and target_rate={self.target_rate}: give one of the two")
        return self


class Gate(nn.Module):
    """MLP from an agent's own token to the logit of an open gate.

    Attributes:
        price: [], present cost of an open gate.
        rate: [], share of open gates in the last update.
    """

    price: Tensor
    rate: Tensor

    def __init__(self, config: GateConfig, width: int) -> None:
        super().__init__()
        self.config = config
        self.side = config.side
        self.forced_open, self.dropped = config.forced_open, config.dropped
        self.straight_through = config.kind == "straight_through"
        self.temperature = config.temperature
        last = nn.Linear(width // 2, 1)
        nn.init.orthogonal_(last.weight, 0.01)
        nn.init.constant_(last.bias, config.initial_logit)
        self.layers = nn.Sequential(nn.Linear(width, width // 2), nn.GELU(), last)
        self.register_buffer("price", torch.tensor(0.0))
        self.register_buffer("rate", torch.tensor(0.0))
        if config.target_rate is None:
            self.anneal(0.0)

    def forward(self, token: Tensor) -> Tensor:
        """Tokens [B, N, D] -> logits [B, N]."""
        out: Tensor = self.layers(token)
        return out.squeeze(-1)

    def weight(self, logit: Tensor, noise: Tensor) -> Tensor:
        """[B, N], the relaxed gate sigmoid((logit + noise) / temperature)."""
        return ((logit + noise) / self.temperature).sigmoid()

    @torch.no_grad()
    def note(self, rate: Tensor) -> None:
        """Note the share [] of gates that decided to open."""
        self.rate.copy_(rate)

    @torch.no_grad()
    def anneal(self, progress: float) -> None:
        """Set the price for the progress of training (0 .. 1), or move it towards the target rate by one step."""
        c = self.config
        if c.target_rate is not None:
            self.price.add_(c.price_step * (self.rate - c.target_rate)).clamp_min_(0.0)
        elif progress <= c.free_until and c.free_until:
            self.price.fill_(0.0)
        else:
            ramp = max(c.full_from - c.free_until, 1e-9)
            self.price.fill_(c.cost * min((progress - c.free_until) / ramp, 1.0) if c.full_from else c.cost)
