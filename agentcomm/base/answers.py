"""Checks of tensors that plug-ins return, which name the plug-in and what is wrong, and of actions."""

from __future__ import annotations

import torch
from torch import Tensor

from agentcomm.base.errors import HookError


def check_tensor(
    what: str,
    field: str,
    value: object,
    shape: tuple[int | None, ...],
    dtype: torch.dtype | None = None,
    *,
    optional: bool = True,
) -> None:
    """Check the shape and type of a tensor that a plug-in returned.

    Args:
        what: The plug-in, such as ``defense 'clip'``.
        field: The hook, or what of its answer is checked, such as ``screen: scale``.
        value: The tensor.
        shape: Its sizes; None for any.
        dtype: Its type; None for any floating-point type.
        optional: Whether None passes, too.

    Raises:
        HookError: If it is no tensor, or its shape or type is wrong.
    """
    if value is None and optional:
        return
    if isinstance(value, Tensor):
        fits = len(value.shape) == len(shape) and all(
            want in (None, size) for want, size in zip(shape, value.shape, strict=True)
        )
        if fits and (value.is_floating_point() if dtype is None else value.dtype == dtype):
            return
    sizes = ", ".join("any" if size is None else str(size) for size in shape) + ("," if len(shape) == 1 else "")
    must = f"{'floating-point' if dtype is None else dtype} ({sizes})"
    raise HookError(f"{what}: {field} must be {must}, not {_described(value)}")


def _described(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype} {tuple(value.shape)}"
    return "None" if value is None else f"{type(value).__name__}"


def check_numbers(what: str, numbers: Tensor, shape: tuple[int, ...], below: int | Tensor) -> None:
    """Check whole numbers that are given to worlds.

    Args:
        what: The numbers, such as ``actions``.
        numbers: The numbers.
        shape: Their shape: worlds, agents, and the size of vectors.
        below: What they must lie below; of the shape of the last dimensions where it differs.

    Raises:
        ValueError: If they do not have this shape, are not integers, or do not lie in 0 .. below - 1.
    """
    if numbers.shape != shape:
        axes = ", ".join(("worlds", "agents", "numbers")[: len(shape)])
        raise ValueError(f"{what} must have shape {shape} ({axes}), not {tuple(numbers.shape)}")
    if numbers.dtype.is_floating_point or numbers.dtype == torch.bool:
        raise ValueError(f"{what} must be integers, not {numbers.dtype}")
    if not bool(((numbers >= 0) & (numbers < below)).all()):  # one copy to the host
        most = f"0 .. {below - 1}" if isinstance(below, int) else f"0 up to below {below.tolist()}"
        raise ValueError(f"{what} must lie in {most}, but go from {numbers.min()} to {numbers.max()}")
