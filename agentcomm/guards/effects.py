"""The form of the edits that attacks return, and the effects of those that are carried out."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from agentcomm.base.errors import HookError
from agentcomm.contracts.edits import Envelopes, MessageEdits
from agentcomm.contracts.fragments import ForgedFragments
from agentcomm.contracts.traffic import HEADER, HOPS, LIFETIME, Traffic
from agentcomm.guards.returned import Form

MOST_FRAGMENTS = 1024  # fragments that an attack may begin ahead of one message


@dataclass(frozen=True)
class Effects:
    """Effects of an attack on one exchange.

    Attributes:
        dropped: [B, N, M] bool.
        tampered: [B, N, M] bool.
        forged: [B, N, M] bool.
        delay: [B, N, M] int64, steps.
        fragments: Fragments put on the wire or taken off it; None for none.
        unsaid: [B, N, M] bool, dropped messages that a compromised sender never sent, which cost no bytes; None for
            none.
        repeated: [B, N, M] int64, injected fragments that repeat honest ones, which reassembly discards; None for none.
    """

    dropped: Tensor
    tampered: Tensor
    forged: Tensor
    delay: Tensor
    fragments: ForgedFragments | None = None
    unsaid: Tensor | None = None
    repeated: Tensor | None = None

    @property
    def touched(self) -> Tensor:
        """[B, N, M] bool, slots in which it did anything."""
        touched = self.dropped | self.tampered | self.forged | (self.delay > 0)
        return touched if self.fragments is None else touched | (self.fragments.count() > 0)

    def and_then(self, later: Effects) -> Effects:
        """These effects combined with those of an attack that acts afterwards."""
        return Effects(
            self.dropped | later.dropped,
            self.tampered | later.tampered,
            self.forged | later.forged,
            self.delay + later.delay,
            _both(self.fragments, later.fragments),
            self.unsaid,
            self.repeated if later.repeated is None else _sum(later.repeated, self.repeated),
        )


def _sum(first: Tensor, second: Tensor | None) -> Tensor:
    return first if second is None else first + second


def _both(first: ForgedFragments | None, second: ForgedFragments | None) -> ForgedFragments | None:
    """Fragments of two attacks."""
    if first is None or second is None:
        return first or second
    return first.and_then(second)


def forms_of(traffic: Traffic, injections: int) -> dict[str, Form]:
    """Shape and type of each tensor in the edits of an exchange.

    Args:
        traffic: The exchange.
        injections: Messages that may be injected per receiver.
    """
    slots, width, number = tuple(traffic.present.shape), traffic.spoken.shape[-1], traffic.spoken.dtype
    places = (*slots[:2], injections)
    return {
        **dict.fromkeys(("drop", "modify"), (slots, torch.bool)),
        **{f"fragments.{name}": (slots, torch.bool) for name in ("early", "middle", "missing")},
        **{f"fragments.{name}": (slots, torch.int64) for name in ("begin", "stray", "sender")},
        "delay": (slots, torch.int64),
        "change": ((*slots, width), number),
        "inject.where": (places, torch.bool),
        "inject.payload": ((*places, width), number),
        **{f"inject.{name}": (places, torch.int64) for name in HEADER},
    }


def check_edits(who: str, edits: MessageEdits) -> None:
    """Check what shapes and types do not tell of edits.

    Args:
        who: The attack, for errors.
        edits: The edits.

    Raises:
        HookError: If something is missing or out of range.
    """
    if edits.modify is not None and edits.change is None:
        raise HookError(f"{who}: edits.modify needs edits.change")
    for name in ("begin", "stray"):
        count = None if edits.fragments is None else getattr(edits.fragments, name)
        if count is not None and count.numel():
            least, most = (int(x) for x in count.aminmax())
            if least < 0 or most > MOST_FRAGMENTS:
                raise HookError(
                    f"{who}: edits.fragments.{name} must be in 0 .. {MOST_FRAGMENTS}, not {least} .. {most}"
                )


def completed(inject: Envelopes) -> Envelopes:
    """Fill in header fields that an attack left out as honest senders write them."""
    expiry = inject.sent_at + LIFETIME if inject.expiry is None else inject.expiry
    hops = torch.full_like(inject.sent_at, HOPS) if inject.hops is None else inject.hops
    return replace(inject, expiry=expiry, hops=hops)
