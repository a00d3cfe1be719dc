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


def check_actions(actions: Tensor, shape: tuple[int, int], below: int) -> None:
    """Check actions given to worlds.

    Args:
        actions: The actions.
        shape: Numbers of worlds and of agents.
        below: Number of actions.

    Raises:
        ValueError: If they do not have this shape, are not integers, or do not lie in 0 .. below - 1.
    """
    if actions.shape != shape:
        raise ValueError(f"actions must have shape {shape} (worlds, agents), not {tuple(actions.shape)}")
    if actions.dtype.is_floating_point or actions.dtype == torch.bool:
        raise ValueError(f"actions must be integers, not {actions.dtype}")
    if not bool(((actions >= 0) & (actions < below)).all()):  # one copy to the host
        raise ValueError(f"actions must lie in 0 .. {below - 1}, but go from {actions.min()} to {actions.max()}")
