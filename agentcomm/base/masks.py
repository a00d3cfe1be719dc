"""Masks over vectors, several times faster on a CPU than the plain calls, with the same results bit for bit."""

from __future__ import annotations

import torch
from torch import Tensor


def zero_unless(where: Tensor, values: Tensor) -> Tensor:
    """The vectors ``values`` [..., D] at ``where`` [...] bool; zeros elsewhere, also in place of NaN and infinity.

    ``masked_fill`` and ``where`` take one number at a time if the mask is broadcast over D; a bitwise AND takes a
    vector. It has no gradient, so values that need one are masked as usual.
    """
    if values.requires_grad or values.dtype != torch.float32:
        return values.masked_fill(~where.unsqueeze(-1), 0.0)
    bits = -where.to(torch.int32).unsqueeze(-1)  # all ones, or none
    return (values.view(torch.int32) & bits).view(torch.float32)


def finite(values: Tensor) -> Tensor:
    """[...] bool, whether all entries of the vectors ``values`` [..., D] are finite.

    Zero times NaN or infinity is NaN, which a sum keeps: about ten times faster than ``isfinite().all(-1)``.
    """
    zero: Tensor = (values.detach() * 0.0).sum(-1)
    return zero == 0


def repeated(among: Tensor, *keys: Tensor) -> Tensor:
    """[..., M] bool, slots in which all ``keys`` [..., M] are those of an earlier slot that is ``among`` [..., M] bool.

    Compares slots at each distance in turn, with slots first in memory: neither pairs of slots nor short rows.
    """
    kept, *found = (part.movedim(-1, 0).contiguous() for part in (among, *keys))
    again = torch.zeros_like(kept)
    for by in range(1, len(kept)):
        same = kept[:-by]
        for key in found:
            same = same & (key[by:] == key[:-by])
        again[by:] |= same
    return again.movedim(0, -1)
