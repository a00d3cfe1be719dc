"""What a message looks like to a network: the message, its neighborhood, the whole inbox, and the receiver."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from agentcomm.defenses.parts.detector import Messages


class Features(nn.Module):
    """Features of each message: [..., N, M, F] from messages.

    A message is described by itself and its Mahalanobis distance from clean messages, by the inbox without it (mean
    and spread), by its neighborhood (the mean of the others, weighted by their similarity to it), by what its receiver
    says, by claimed sender and by round.

    Args:
        clean: Clean messages, which set mean and scale.
        agents: N.
        rounds: Exchanges per step.
    """

    mean: Tensor
    spread: Tensor
    whitening: Tensor

    def __init__(self, clean: Messages, agents: int, rounds: int) -> None:
        super().__init__()
        known = clean.payload[clean.present]
        self.register_buffer("mean", known.mean(0))
        self.register_buffer("spread", known.std(0).clamp_min(1e-3 + 0.05 * float(known.std())))
        centered = (known - self.mean) / self.spread
        value, vector = torch.linalg.eigh(centered.T @ centered / len(centered))
        self.register_buffer("whitening", vector / value.clamp_min(1e-4 + 0.003 * float(value.mean())).sqrt())
        self.agents, self.rounds = agents, rounds
        self.width = known.shape[-1]

    @property
    def size(self) -> int:
        """F."""
        return 5 * self.width + self.agents + 1 + self.rounds + 2

    def forward(self, m: Messages) -> Tensor:
        """Features [B, N, M, F]; entries are bounded, so that no payload blinds the network."""
        present = m.present.unsqueeze(-1).float()
        unit = ((m.payload - self.mean) / self.spread).clamp(-20, 20) * present
        own = ((m.own - self.mean) / self.spread).clamp(-20, 20).unsqueeze(-2).expand_as(unit)
        count = present.sum(-2, keepdim=True) - present
        total, square = unit.sum(-2, keepdim=True), unit.square().sum(-2, keepdim=True)
        others = (total - unit) / count.clamp_min(1)
        spread = ((square - unit.square()) / count.clamp_min(1) - others.square()).clamp_min(0).sqrt()
        near = self._neighborhood(unit, m.present)
        far = (unit @ self.whitening).square().mean(-1, keepdim=True).log1p()
        sender = nn.functional.one_hot(m.sender, self.agents + 1).float()
        turn = nn.functional.one_hot(m.round, self.rounds).float()
        turn = turn.view(len(m.round), 1, 1, -1).expand(*unit.shape[:-1], -1)
        alone = count / max(m.present.shape[-1], 1)
        vectors = [squash(part) for part in (unit, others, spread, near, own)]
        return torch.cat([*vectors, far, sender, turn, alone], -1)

    def _neighborhood(self, unit: Tensor, present: Tensor) -> Tensor:
        """[B, N, M, D], the mean of the other messages of an inbox, weighted by similarity."""
        distance = torch.cdist(unit, unit).square() / self.width
        slots = present.shape[-1]
        itself = torch.eye(slots, dtype=torch.bool, device=unit.device)
        weight = (-distance).masked_fill(~present.unsqueeze(-2) | itself, -1e9).softmax(-1)
        return (weight @ unit) * (present.sum(-1) > 1).unsqueeze(-1).unsqueeze(-1)


def squash(value: Tensor) -> Tensor:
    """Values between -log(21) and log(21) that are nearly unchanged around 0."""
    return value.sign() * value.abs().log1p()


def flat(m: Messages) -> Messages:
    """The same messages with one inbox per row: [B * N, 1, M, ...]."""
    agents = m.present.shape[1]
    parts = (part.flatten(0, 1).unsqueeze(1) for part in m[:4])
    return Messages(*parts, *(part.repeat_interleave(agents) for part in m[4:]))
