"""Fragments of messages: what attacks put on the wire, and what a receiver sees of those that reach it.

Tags of fragments are symbolic, as seals are in the batch: a keyed tag cannot be made without the key, and a tag without
a key can be made by every agent that knows its content. So figures are an upper bound for short tags, which can be
guessed.

Shapes: B worlds, N agents, M inbox slots per receiver, E = 5 entries per slot in order of arrival (``ENTRIES``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from agentcomm.contracts.verdicts import Draws

# A message that is never completed, data of a message that was never begun, a first fragment in the message's place,
# the message itself, and a forged fragment in the middle of it.
ENTRIES = ("begin", "stray", "early", "message", "middle")
MESSAGE = ENTRIES.index("message")


@dataclass(frozen=True)
class ForgedFragments:
    """What attacks do to fragments in one exchange, all [B, N, M], by the slot of the message that they concern.

    Attributes:
        begin: int64, first fragments of messages that are never completed, ahead of the message in the slot.
        stray: int64, data fragments of messages of which no first fragment is sent, ahead of the message.
        early: bool, a first fragment under that message's id, ahead of the honest one.
        middle: bool, a forged fragment in the middle of that message.
        missing: bool, one fragment of that message is taken off the wire.
        sender: int64, claimed sender of ``begin`` and ``stray``; N for an outsider's own address.
        chained: bool, whether ``middle`` continues a chain of tags that are made without a key.
    """

    begin: Tensor
    stray: Tensor
    early: Tensor
    middle: Tensor
    missing: Tensor
    sender: Tensor
    chained: Tensor

    def and_then(self, later: ForgedFragments) -> ForgedFragments:
        """These and those of an attack that acts afterwards; where both begin messages, the later names the sender."""
        new = (later.begin + later.stray) > 0
        return ForgedFragments(
            self.begin + later.begin,
            self.stray + later.stray,
            self.early | later.early,
            self.middle | later.middle,
            self.missing | later.missing,
            torch.where(new, later.sender, self.sender),
            torch.where(later.middle, later.chained, self.chained),
        )

    def count(self) -> Tensor:
        """[B, N, M] int64, fragments that were put on the wire or taken off it."""
        return self.begin + self.stray + self.early + self.middle + self.missing


@dataclass(frozen=True, eq=False)
class ArrivingFragments:
    """What receivers see of the fragments of one exchange before they take up a buffer: [B, N, M, E] each.

    Which entry is forged is not for a defense to know: it may use what an entry shows, not its place.

    Attributes:
        step: [B] int64.
        round: Exchange within the step.
        count: int64, fragments or messages of that kind; 0 for none.
        sender: int64, their claimed sender; N for an outsider.
        keyed: bool, whether their tags are the claimed sender's, for a message that it has not sent before.
        chained: bool, whether their tags are right if made without a key: the message was begun, and none is missing.
        completed: [B, N, N + 1] int64, messages in each claimed sender's name that receivers have put together since
            the last exchange.
        failed: [B, N, N + 1] int64, those given up at their timeout, or discarded for a wrong checksum.
        draws: The defense's random numbers.
    """

    step: Tensor
    round: int
    count: Tensor
    sender: Tensor
    keyed: Tensor
    chained: Tensor
    completed: Tensor
    failed: Tensor
    draws: Draws

    def rand(self, *shape: int) -> Tensor:
        """Uniform random numbers in [0, 1) from the defense's own generator; it must declare that it draws."""
        return self.draws.rand(*shape)


class Accepted(Protocol):
    """What receivers let into their buffers."""

    @property
    def message(self) -> Tensor:
        """[B, N, M] bool, messages whose fragments are accepted."""
        ...

    @property
    def forged(self) -> ForgedFragments | None:
        """Forged fragments that are accepted; None for none."""
        ...


class Reassembly(Protocol):
    """Receivers that check fragments before they take up a buffer, as the defenses of their team say."""

    @property
    def tag_bytes(self) -> int:
        """Bytes that every fragment carries for these checks."""
        ...

    def accept(
        self, arriving: Tensor, sender: Tensor, forged: ForgedFragments | None, step: Tensor, round_: int
    ) -> Accepted:
        """What to accept of an exchange.

        Args:
            arriving: [B, N, M] bool, fragmented messages.
            sender: [B, N, M] int64, their claimed senders.
            forged: What attacks did to fragments; None for nothing.
            step: [B] int64.
            round_: Exchange within the step.
        """
        ...

    def note(self, completed: Tensor, failed: Tensor) -> None:
        """What became of messages in each claimed sender's name: [B, N, N + 1] int64 each."""
        ...
