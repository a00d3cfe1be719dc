"""The variational bottleneck: messages are noisy, and their information costs.

A payload is drawn from N(mu, sigma^2), both functions of the payload without noise, and the loss includes
``weight * KL(N(mu, sigma^2) || N(0, 1))`` per message (IMAC: Wang et al., ICML 2020, arXiv 1911.06992; BVME, arXiv
2512.11179). Coordinates without information converge to the prior and are not sent: greedy messages are mu without
them. The noise is computed from a recorded draw, so that updates reproduce the messages of rollouts.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from policies.graphs.noise import normal
from policies.graphs.part import Part


class BottleneckConfig(Part):
    """Arguments of the bottleneck."""

    weight: float = Field(1e-3, ge=0, description="loss per nat of information in a message")
    idle: float = Field(0.05, ge=0, description="nats below which a coordinate is not sent")


class Bottleneck(nn.Module):
    """Linear maps from payloads without noise to mean and variance of the messages.

    Attributes:
        information: [D], nats per coordinate, as a moving average over training.
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
        """Loss per nat."""
        return self.config.weight

    @property
    def spoken(self) -> Tensor:
        """[D] bool, coordinates that carry information."""
        return self.information > self.config.idle

    def forward(self, said: Tensor, draw: Tensor | None, round_: int) -> tuple[Tensor, Tensor]:
        """Payloads without noise [B, N, D] -> noisy payloads and nats per coordinate, both [B, N, D].

        Args:
            said: [B, N, D], payloads without noise.
            draw: [B] int64, draws of the noise; None for the mean.
            round_: Round of messages; every round has its own noise.
        """
        mean, log_variance = self.mean(said), self.log_variance(said).clamp(-8.0, 4.0)
        nats = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)
        if draw is None:
            return mean * self.spoken, nats
        noise = normal(draw, round_, *said.shape[1:])
        return mean + (0.5 * log_variance).exp() * noise, nats

    @torch.no_grad()
    def note(self, nats: Tensor) -> None:
        """Update the moving average with the nats per coordinate [..., D] of the present policy."""
        self.information.lerp_(nats.flatten(0, -2).mean(0), 0.05)
