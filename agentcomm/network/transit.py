"""Transit: a buffer of delayed messages until they are due.

A delayed message arrives in the same round of a later step. If several messages arrive in one slot at the same time,
the newest is delivered; the others are late.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from agentcomm.base.state import State
from agentcomm.contracts.traffic import HEADER, Traffic

FIELDS = ("source", "origin", *HEADER)  # followed by the marks: forged, tampered, and size in bytes
Marks = tuple[Tensor, Tensor, Tensor]  # [B, N, M] bool, bool and int64


class Transit(State):
    """The messages in transit in B worlds.

    Args:
        num_worlds: B.
        exchanges: Rounds per step.
        agents: N.
        slots: M.
        width: W, numbers per payload on the wire.
        longest: Largest delay of a message, in steps.
        device: Where the tensors live.
    """

    keeps = ("_due", "_numbers", "_seconds", "_payload")

    def __init__(
        self, num_worlds: int, exchanges: int, agents: int, slots: int, width: int, longest: int, device: torch.device
    ) -> None:
        self.longest = longest
        shape = (num_worlds, exchanges, longest + 1, agents, slots)
        self._due = torch.full(shape, -1, dtype=torch.int64, device=device)  # step of arrival; -1 for an empty place
        self._numbers = torch.zeros(*shape, len(FIELDS) + 3, dtype=torch.int64, device=device)
        self._seconds = torch.zeros(shape, device=device)
        self._payload = torch.zeros(*shape, width, device=device)
        self._worlds = torch.arange(num_worlds, device=device)

    @property
    def waiting(self) -> Tensor:
        """[B] int64, number of messages in transit."""
        return (self._due >= 0).flatten(1).sum(1)

    def reset(self, worlds: Tensor) -> Tensor:
        """Discard the messages in transit in the given worlds ([W] indices); returns their number [W]."""
        forgotten = (self._due[worlds] >= 0).flatten(1).sum(1)
        self._due[worlds] = -1
        return forgotten

    def pass_through(
        self, traffic: Traffic, marks: Marks, seconds: Tensor, steps: Tensor, step: Tensor, round_: int
    ) -> tuple[Traffic, Marks, Tensor, Tensor]:
        """Store the delayed messages and release those that are due.

        Args:
            traffic: The messages of one exchange.
            marks: Which messages are forged and tampered, and their sizes.
            seconds: [B, N, M] delay of each message in seconds.
            steps: [B, N, M] int64 delay in whole steps.
            step: [B] int64.
            round_: Round within the step.

        Returns:
            The traffic that arrives now, its marks, its delays in seconds, and [B, N, M] the number of late messages.
        """
        late = self._keep(traffic, marks, seconds, steps, step, round_)
        place = (self._worlds, round_, step % (self.longest + 1))
        kept_for = self._due[place]
        self._due[place] = -1
        here = traffic.present & (steps == 0)
        # Where agents act in turns, the number of exchanges varies between steps. Messages that were due in an exchange
        # which did not take place are late.
        due = kept_for == step.view(-1, 1, 1)
        late = late + ((kept_for >= 0) & (here | ~due))
        taken = due & ~here
        traffic = replace(traffic, present=here | taken)
        if not bool(taken.any()):
            return traffic, marks, seconds, late
        traffic = traffic.edit_payload(taken, self._payload[place])
        numbers = torch.where(taken.unsqueeze(-1), self._numbers[place], _numbers(traffic, marks)).unbind(-1)
        fields: dict[str, Any] = dict(zip(FIELDS, numbers, strict=False))
        traffic = replace(traffic, **fields)
        marks = numbers[-3].bool(), numbers[-2].bool(), numbers[-1]
        return traffic, marks, torch.where(taken, self._seconds[place], seconds), late

    def _keep(
        self, traffic: Traffic, marks: Marks, seconds: Tensor, steps: Tensor, step: Tensor, round_: int
    ) -> Tensor:
        """Store the delayed messages; returns [B, N, M], the number of older messages that they overtake."""
        waits = traffic.present & (steps > 0) & (steps <= self.longest)
        late = torch.zeros_like(traffic.source)
        if not bool(waits.any()):
            return late
        world, receiver, slot = waits.nonzero(as_tuple=True)
        due = step[world] + steps[waits]
        place = (world, torch.full_like(world, round_), due % (self.longest + 1), receiver, slot)
        late[waits] = (self._due[place] >= 0).long()
        self._numbers[place] = _numbers(traffic, marks)[waits]
        self._due[place] = due
        self._seconds[place] = seconds[waits]
        said = traffic.spoken[world, traffic.source[waits]]
        if traffic.scale is not None:
            said = said * traffic.scale[waits].unsqueeze(-1)
        self._payload[place] = said if traffic.delta is None else said + traffic.delta[waits]
        return late


def _numbers(traffic: Traffic, marks: Marks) -> Tensor:
    """[B, N, M, F] int64, all fields of a message except payload and delay, stored together."""
    fields = [getattr(traffic, name) for name in FIELDS]
    return torch.stack([*fields, *(mark.long() for mark in marks)], -1)
