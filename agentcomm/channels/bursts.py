"""bursts: links alternate between good and bad states, so that losses come in bursts (Gilbert 1960, Elliott 1963).

With p = ``to_bad`` and r = ``to_good``, a link is bad for p / (p + r) of the time, and stays bad for 1 / r exchanges on
average. The loss rate is

    (r * loss_good + p * loss_bad) / (p + r)

If bad links lose all messages and good ones none, a loss rate e in bursts of L messages requires r = 1 / L
and p = e / (L * (1 - e)).
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.channel import Channel, ChannelConfig, ChannelEffect, ChannelInput


class BurstsConfig(ChannelConfig):
    """Arguments of ``bursts``; by default, 10% of the messages are lost, in bursts of four on average."""

    to_bad: float = Field(1 / 36, ge=0, le=1, description="chance per exchange that a good link goes bad")
    to_good: float = Field(0.25, gt=0, le=1, description="chance per exchange that a bad link recovers")
    loss_good: float = Field(0.0, ge=0, le=1, description="chance that a message is lost on a good link")
    loss_bad: float = Field(1.0, ge=0, le=1, description="chance that a message is lost on a bad link")


class Bursts(Channel[BurstsConfig]):
    """A two-state Markov chain for every inbox slot; it advances once per exchange, with or without a message."""

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Bursts that occur in a short conversation."""
        return {"": {"to_bad": 0.2, "loss_good": 0.05, "loss_bad": 0.9}}

    def memory(self) -> dict[str, Tensor]:
        """``bad``: [B, N, M] bool; ``started``: [B] bool, whether this episode's states have been drawn."""
        s = self.team_shape
        shape = (s.num_worlds, s.num_agents, self.slots)
        return {
            "bad": torch.zeros(shape, dtype=torch.bool, device=s.device),
            "started": torch.zeros(s.num_worlds, dtype=torch.bool, device=s.device),
        }

    def carry(self, entering: ChannelInput, memory: dict[str, Tensor]) -> ChannelEffect:
        """Advance every chain, or draw its initial state from the stationary distribution; then lose messages."""
        c, bad, started = self.config, memory["bad"], memory["started"]
        chance = entering.rand()
        moved = torch.where(bad, chance >= c.to_good, chance < c.to_bad)
        drawn = chance < c.to_bad / (c.to_bad + c.to_good)
        bad.copy_(torch.where(started.view(-1, 1, 1), moved, drawn))
        started.fill_(True)
        limit = bad * c.loss_bad + ~bad * c.loss_good
        return ChannelEffect(lost=entering.present & (entering.rand() < limit))
