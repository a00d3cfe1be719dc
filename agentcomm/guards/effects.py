"""Checks of the edits that attacks return, and the effects of those that are carried out."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from agentcomm.contracts.edits import Envelopes, Fragments, MessageEdits
from agentcomm.contracts.traffic import HEADER, HOPS, LIFETIME, Traffic


@dataclass(frozen=True)
class Effects:
    """Effects of an attack on one exchange.

    Attributes:
        dropped: [B, N, M] bool.
        tampered: [B, N, M] bool.
        forged: [B, N, M] bool.
        delay: [B, N, M] int64, steps.
        fragments: Injected fragments; None for none.
        unsaid: [B, N, M] bool, dropped messages that a compromised sender never sent, which cost no bytes; None for
            none.
    """

    dropped: Tensor
    tampered: Tensor
    forged: Tensor
    delay: Tensor
    fragments: Fragments | None = None
    unsaid: Tensor | None = None

    def and_then(self, later: Effects) -> Effects:
        """These effects combined with those of an attack that acts afterwards."""
        return Effects(
            self.dropped | later.dropped,
            self.tampered | later.tampered,
            self.forged | later.forged,
            self.delay + later.delay,
            _both(self.fragments, later.fragments),
            self.unsaid,
        )


def count_fragments(fragments: Fragments) -> Tensor:
    """[B, N, M] int64, number of injected fragments."""
    return fragments.begin + fragments.early + fragments.middle


def _both(first: Fragments | None, second: Fragments | None) -> Fragments | None:
    """Fragments of two attacks."""
    if first is None or second is None:
        return first or second
    return Fragments(first.begin + second.begin, first.early | second.early, first.middle | second.middle)


def check_edits(name: str, traffic: Traffic, edits: MessageEdits, injections: int) -> None:
    """Check that edits fit an exchange.

    Args:
        name: Name of the attack, for errors.
        traffic: The exchange.
        edits: The edits, whose shapes and types are checked here, but not whether they are permitted.
        injections: Messages that may be injected per receiver.

    Raises:
        ValueError: If a tensor has a wrong shape or type.
    """
    slots, width = tuple(traffic.present.shape), traffic.spoken.shape[-1]
    for field in ("drop", "modify"):
        check_tensor(name, f"edits.{field}", getattr(edits, field), slots, torch.bool)
    check_tensor(name, "edits.change", edits.change, (*slots, width), traffic.spoken.dtype)
    check_tensor(name, "edits.delay", edits.delay, slots, torch.int64)
    if edits.fragments is not None:
        check_tensor(name, "edits.fragments.begin", edits.fragments.begin, slots, torch.int64)
        check_tensor(name, "edits.fragments.early", edits.fragments.early, slots, torch.bool)
        check_tensor(name, "edits.fragments.middle", edits.fragments.middle, slots, torch.bool)
    if edits.modify is not None and edits.change is None:
        raise ValueError(f"{name}: edits.modify needs edits.change")
    if edits.inject is not None:
        # [worlds, receivers, injections()]
        places = (*slots[:2], injections)
        check_tensor(name, "edits.inject.where", edits.inject.where, places, torch.bool)
        check_tensor(name, "edits.inject.payload", edits.inject.payload, (*places, width), traffic.spoken.dtype)
        for field in HEADER:
            check_tensor(name, f"edits.inject.{field}", getattr(edits.inject, field), places, torch.int64)


def check_tensor(name: str, what: str, value: Tensor | None, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """Check the shape and type of a tensor that an attack returned; None passes.

    Raises:
        ValueError: If the shape or type is wrong.
    """
    if value is not None and (value.shape != shape or value.dtype != dtype):
        raise ValueError(f"{name}: {what} must be {dtype} {shape}, not {value.dtype} {tuple(value.shape)}")


def completed(inject: Envelopes) -> Envelopes:
    """Fill in header fields that an attack left out as honest senders write them."""
    expiry = inject.sent_at + LIFETIME if inject.expiry is None else inject.expiry
    hops = torch.full_like(inject.sent_at, HOPS) if inject.hops is None else inject.hops
    return replace(inject, expiry=expiry, hops=hops)
