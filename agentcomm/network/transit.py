"""Transit: messages that take longer than their exchange, kept until they are due.

A message sent in one exchange arrives in the same exchange of a later step. Of several that arrive on one slot
together, the receiver hears the newest; the others come too late.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from agentcomm.base.state import State
from agentcomm.contracts.traffic import HEADER, Traffic

FIELDS = ("source", "origin", *HEADER)  # and then whether it is forged, and whether it is tampered with


class Transit(State):
    """What is on its way in B worlds.

    Args:
        num_worlds: B.
        exchanges: Exchanges per step.
        agents: N.
        slots: M.
        width: W, numbers per payload on the wire.
        longest: Steps a message may take at most.
        device: Where the tensors live.
    """

    keeps = ("_due", "_numbers", "_seconds", "_payload")

    def __init__(
        self, num_worlds: int, exchanges: int, agents: int, slots: int, width: int, longest: int, device: torch.device
    ) -> None:
        self.longest = longest
        shape = (num_worlds, exchanges, longest + 1, agents, slots)
        self._due = torch.full(shape, -1, dtype=torch.int64, device=device)  # in which step; -1 where nothing is kept
        self._numbers = torch.zeros(*shape, len(FIELDS) + 2, dtype=torch.int64, device=device)
        self._seconds = torch.zeros(shape, device=device)
        self._payload = torch.zeros(*shape, width, device=device)
        self._worlds = torch.arange(num_worlds, device=device)

    @property
    def waiting(self) -> Tensor:
        """[B] int64, how many messages are on their way."""
        return (self._due >= 0).flatten(1).sum(1)

    def reset(self, worlds: Tensor) -> Tensor:
        """Forget what is on its way in the given worlds ([W] indices); returns [W], how many messages that were."""
        forgotten = (self._due[worlds] >= 0).flatten(1).sum(1)
        self._due[worlds] = -1
        return forgotten

    def pass_through(
        self, traffic: Traffic, marks: tuple[Tensor, Tensor], seconds: Tensor, steps: Tensor, step: Tensor, round_: int
    ) -> tuple[Traffic, tuple[Tensor, Tensor], Tensor, Tensor]:
        """Keep what takes longer, hand out what is due.

        Args:
            traffic: One exchange.
            marks: [B, N, M] bool each, forged and tampered messages.
            seconds: [B, N, M] how long each message takes.
            steps: [B, N, M] int64, the same in whole steps.
            step: [B] int64.
            round_: Round within the step.

        Returns:
            The traffic that arrives now, its marks, its seconds, and [B, N, M] how many came too late.
        """
        late = self._keep(traffic, marks, seconds, steps, step, round_)
        place = (self._worlds, round_, step % (self.longest + 1))
        kept_for = self._due[place]
        self._due[place] = -1
        here = traffic.present & (steps == 0)
        # Steps differ in how many exchanges they have where agents act in turns: one that did not take place kept its
        # messages for too long.
        due = kept_for == step.view(-1, 1, 1)
        late = late + ((kept_for >= 0) & (here | ~due))
        taken = due & ~here
        traffic = replace(traffic, present=here | taken)
        if not bool(taken.any()):
            return traffic, marks, seconds, late
        traffic = traffic.edit_payload(taken, self._payload[place])
        numbers = torch.where(taken.unsqueeze(-1), self._numbers[place], _numbers(traffic, marks)).unbind(-1)
        traffic = replace(traffic, **dict(zip(FIELDS, numbers, strict=False)))
        marks = numbers[-2].bool(), numbers[-1].bool()
        return traffic, marks, torch.where(taken, self._seconds[place], seconds), late

    def _keep(
        self, traffic: Traffic, marks: tuple[Tensor, Tensor], seconds: Tensor, steps: Tensor, step: Tensor, round_: int
    ) -> Tensor:
        """Store the messages that are not due now; [B, N, M] how many older ones they overtake."""
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


def _numbers(traffic: Traffic, marks: tuple[Tensor, Tensor]) -> Tensor:
    """[B, N, M, F] int64, all fields of a message but payload and time, kept and fetched together."""
    fields = [getattr(traffic, name) for name in FIELDS]
    return torch.stack([*fields, *(mark.long() for mark in marks)], -1)
