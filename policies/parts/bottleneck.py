"""The variational bottleneck: what is said is a noisy message, and information beyond a prior costs.

A payload is drawn from N(mu, sigma^2), both functions of what the agent would say, and the loss pays
``weight * KL(N(mu, sigma^2) || N(0, 1))`` per message (IMAC: Wang et al., ICML 2020, arXiv 1911.06992; BVME, arXiv
2512.11179). Coordinates that carry nothing end at the prior, and are then not sent at all: greedy messages are mu
without them. The noise comes from a recorded draw, so that an update says again what the rollout said.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from policies.graphs.noise import normal
from policies.graphs.part import Part


class BottleneckConfig(Part):
    """Arguments of the bottleneck."""

    weight: float = Field(1e-3, ge=0, description="price of a nat of information per message")
    idle: float = Field(0.05, ge=0, description="nats below which a coordinate counts as saying nothing")


class Bottleneck(nn.Module):
    """Linear maps from what an agent would say to mean and spread of its message.

    Attributes:
        information: [D] nats per coordinate, a moving mean over training.
    """

    information: Tensor

    def __init__(self, config: BottleneckConfig, width: int) -> None:
        super().__init__()
        self.config = config
        self.mean = nn.Linear(width, width)
        self.log_variance = nn.Linear(width, width)
        nn.init.orthogonal_(self.mean.weight)
        nn.init.zeros_(self.mean.bias)
        nn.init.orthogonal_(self.log_variance.weight, 0.01)
        nn.init.constant_(self.log_variance.bias, -3.0)
        self.register_buffer("information", torch.full((width,), 1.0))

    @property
    def weight(self) -> float:
        """Price of a nat."""
        return self.config.weight

    @property
    def spoken(self) -> Tensor:
        """[D] bool, coordinates that say something."""
        return self.information > self.config.idle

    def forward(self, said: Tensor, draw: Tensor | None, round_: int) -> tuple[Tensor, Tensor]:
        """What an agent would say [B, N, D] -> payload [B, N, D] and nats per coordinate [B, N, D].

        Args:
            said: What it would say.
            draw: [B] int64 to sample with; None for the mean.
            round_: Round of messages; every round has noise of its own.
        """
        mean, log_variance = self.mean(said), self.log_variance(said).clamp(-8.0, 4.0)
        nats = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)
        if draw is None:
            return mean * self.spoken, nats
        noise = normal(draw, round_, *said.shape[1:])
        return mean + (0.5 * log_variance).exp() * noise, nats

    @torch.no_grad()
    def note(self, nats: Tensor) -> None:
        """Follow the nats per coordinate [..., D] of the present policy."""
        self.information.lerp_(nats.flatten(0, -2).mean(0), 0.05)
