"""Entries of a case: what is kept of a tensor, and how an entry is held against the recorded one.

Integers, truth values and texts must be equal, so whole tensors of them are kept as hashes, small ones as they are.
Floats differ from CPU to CPU, so of a tensor of floats a few moments are kept, which are equal up to a tolerance.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

Entries = dict[str, Any]
FLOOR = 1e-7  # numbers nearer to each other than this are equal
LARGE = 2**41  # whole numbers from here on are seals, which depend on floats bit by bit


def digest(x: Tensor) -> str:
    """Of integers or truth values: their shape and values, whatever they are stored as."""
    assert not x.is_floating_point()
    whole = x.detach().cpu().to(torch.int64).contiguous()
    return hashlib.sha256(repr(tuple(x.shape)).encode() + whole.numpy().tobytes()).hexdigest()[:16]


def moments(x: Tensor) -> list[float]:
    """Of floats: sum, sum of sizes, sum of squares, and the product with a fixed pattern, which minds the order.

    Where some are not finite, how many comes fifth.
    """
    flat = x.detach().cpu().double().flatten()
    odd = ~flat.isfinite()
    flat = flat.masked_fill(odd, 0.0)
    pattern = torch.cos(torch.arange(len(flat), dtype=torch.float64))
    found = [flat.sum(), flat.abs().sum(), flat.square().sum(), flat @ pattern]
    return [float(f"{float(value):.12g}") for value in found] + [float(odd.sum())] * bool(odd.any())


def told(x: Tensor, short: int = 8) -> Any:
    """The entry for a tensor."""
    if x.is_floating_point():
        return moments(x)
    return x.to(torch.int64).tolist() if x.dim() == 1 and len(x) <= short else digest(x)


def together(tensors: Iterable[Tensor]) -> Entries:
    """Entries for some tensors whose names and order do not matter; seals among them all count the same."""
    every = [x if x.is_floating_point() else x.long().masked_fill(x.long().abs() >= LARGE, LARGE) for x in tensors]
    whole = sorted(digest(x) for x in every if not x.is_floating_point())
    real = [sorted(value) for value in zip(*(moments(x)[:3] for x in every if x.is_floating_point()), strict=True)]
    out: Entries = {"whole": hashlib.sha256("".join(whole).encode()).hexdigest()[:16]} if whole else {}
    return out | ({"real": [sum(value) for value in real]} if real else {})


def differences(now: Entries, recorded: Entries, tolerance: float) -> Iterator[str]:
    """A line for every entry that is not as recorded."""
    for name in sorted(now.keys() | recorded.keys()):
        if name not in now:
            yield f"{name}: recorded as {recorded[name]}, not there now"
        elif name not in recorded:
            yield f"{name}: {now[name]} now, not recorded"
        elif not equal(now[name], recorded[name], tolerance):
            yield f"{name}: recorded as {recorded[name]}, now {now[name]}"


def equal(now: Any, recorded: Any, tolerance: float) -> bool:
    """Whether two entries are: numbers of a list relative to the largest of the first two, or to themselves."""
    if isinstance(recorded, float) and isinstance(now, float):
        return near(now, recorded, abs(recorded), tolerance)
    real = isinstance(recorded, list) and any(isinstance(value, float) for value in recorded)
    if not real or not isinstance(now, list):
        return type(now) is type(recorded) and bool(now == recorded)
    scale = max(map(abs, recorded[:2]))
    sizes = [max(abs(value), 0.0 if place == 2 else scale) for place, value in enumerate(recorded)]
    return len(now) == len(recorded) and all(
        near(a, b, size, tolerance) for a, b, size in zip(now, recorded, sizes, strict=True)
    )


def near(now: float, recorded: float, size: float, tolerance: float) -> bool:
    return abs(now - recorded) <= tolerance * size + FLOOR
