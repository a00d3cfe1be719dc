"""Fingerprints of the messages that an attack has seen, which tell replays (power ``replay``) from forgeries."""

from __future__ import annotations

import torch
from torch import Tensor

from agentcomm.base.masks import repeated
from agentcomm.base.state import State
from agentcomm.contracts.edits import Envelopes
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.traffic import HEADER, Traffic
from agentcomm.wire.keyring import Keyring, mix


class SeenMessages(State):
    """Fingerprints of the messages that an attack has seen in each world's episode.

    Attributes:
        seen: [B, T, rounds, N, M] int64 by step, 0 for no message; T grows with the longest episode.
        names: [B, N, P] int64, different claimed senders of messages to each receiver, then -1; P grows with the most.
    """

    keeps = ("seen", "names")

    def __init__(self, team_shape: TeamShape) -> None:
        shape = (team_shape.num_worlds, 0, team_shape.rounds, team_shape.num_agents, 0)
        self.seen = torch.zeros(shape, dtype=torch.int64, device=team_shape.device)
        self.outsider = team_shape.num_agents
        names = (team_shape.num_worlds, team_shape.num_agents, 0)
        self.names = torch.zeros(names, dtype=torch.int64, device=team_shape.device)

    def reset(self, worlds: Tensor) -> None:
        """Forget the given worlds' episodes ([W] indices)."""
        self.seen[worlds] = 0
        self.names[worlds] = -1

    def anything(self) -> Tensor:
        """[B, N] bool, whether any message to that receiver was seen."""
        return (self.seen != 0).any(-1).any(2).any(1)

    def remember(self, traffic: Traffic, keyring: Keyring, reach: Tensor, step: Tensor, round_: int) -> None:
        """Record the messages of an exchange that are in reach.

        Args:
            traffic: The messages on the wire.
            keyring: Computes the payloads' digests.
            reach: [B, N, M] bool.
            step: [B] int64.
            round_: Round of the exchange.
        """
        known, needed = self.seen.shape[1], int(step.max()) + 1
        if needed > known:
            worlds, _, rounds, agents, _ = self.seen.shape
            grown = self.seen.new_zeros(worlds, max(needed, 2 * known), rounds, agents, traffic.slots)
            if known:
                grown[:, :known] = self.seen
            self.seen = grown
        prints = _fingerprint(traffic, keyring.digests(traffic))
        self.seen[torch.arange(len(step), device=step.device), step, round_] = torch.where(reach, prints, 0)
        self._note_names(traffic.sender.clamp(0, self.outsider), reach)

    def named(self, sender: Tensor) -> Tensor:
        """[B, N, S] bool, whether a message to the receiver was seen that claims to be from this sender."""
        sender = sender.clamp(0, self.outsider)
        return (self.names.unsqueeze(2) == sender.unsqueeze(3)).any(3)

    def _note_names(self, sender: Tensor, reach: Tensor) -> None:
        """Add the senders [B, N, M] of the messages in reach to those that are known."""
        new = reach & ~self.named(sender)
        new &= ~repeated(new, sender)
        if not bool(new.any()):
            return
        place = (self.names >= 0).sum(2, keepdim=True) + new.cumsum(2) - 1
        needed = int(torch.where(new, place, -1).max()) + 1
        if needed > (known := self.names.shape[2]):
            self.names = torch.nn.functional.pad(self.names, (0, needed - known), value=-1)
        world, receiver, slot = new.nonzero(as_tuple=True)
        self.names[world, receiver, place[world, receiver, slot]] = sender[world, receiver, slot]

    def known(self, inject: Envelopes, digests: Tensor) -> Tensor:
        """[B, N, S] bool, whether the attack saw exactly this message at the step, round and receiver of its header."""
        place = (inject.sent_at, inject.sent_round, inject.audience)
        sizes = self.seen.shape[1:4]
        if not sizes[0]:
            return torch.zeros_like(inject.where)
        inside = torch.stack([(at >= 0) & (at < size) for at, size in zip(place, sizes, strict=True)]).all(0)
        worlds = torch.arange(len(inject.where), device=inject.where.device).view(-1, 1, 1)
        prints = self.seen[(worlds, *(at.clamp(0, size - 1) for at, size in zip(place, sizes, strict=True)))]
        return inside & (prints == _fingerprint(inject, digests).unsqueeze(-1)).any(-1)


def _fingerprint(envelope: Traffic | Envelopes, digests: Tensor) -> Tensor:
    """Hash of all fields in which a copy must equal its original; never 0, which marks an empty entry.

    The digest is keyed, so that one field cannot be chosen to compensate for a change of another.
    """
    mixed = digests
    for name in HEADER:
        if name != "hops":  # changes on a message's way
            mixed = mix(mixed + getattr(envelope, name))
    return torch.where(mixed == 0, 1, mixed)
