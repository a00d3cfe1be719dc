"""Takes over what an attack returns: exact types, every field read once, and a copy of every tensor.

A subclass can answer each question as it likes, and a tensor that the attack still holds can change after it was
judged. So guards judge and carry out copies, and never look at the attack's own objects again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from typing import Any, TypeVar, cast, get_args, get_type_hints

import torch
from torch import Tensor

from agentcomm.base.errors import HookError

T = TypeVar("T")
Form = tuple[tuple[int, ...], torch.dtype]  # shape and type of a tensor


def take(who: str, what: str, value: object, kind: type[T], forms: Mapping[str, Form], device: torch.device) -> T:
    """A copy of edits that an attack returned.

    Args:
        who: The attack, for errors: ``attack 'drop'``.
        what: What it returned, for errors: ``edits``.
        value: The edits.
        kind: The dataclass that they must be an instance of; its fields are tensors, flags and other such dataclasses.
        forms: Shape and type of each tensor, by its dotted name.
        device: Device of the tensors.

    Raises:
        HookError: If the edits or one of their fields have a wrong type or shape.
    """
    if type(value) is not kind:
        raise HookError(f"{who}: {what} must be {kind.__name__}, not {named(value)}")
    parts: dict[str, Any] = {}
    for name, (declared, optional) in _declared(cast(Any, kind)).items():
        part, path = getattr(value, name, None), f"{what}.{name}"
        if part is None and optional:
            parts[name] = None
        elif declared is Tensor:
            shape, dtype = forms[path.partition(".")[2]]
            parts[name] = take_tensor(who, path, part, shape, dtype, device)
        elif declared is bool:
            if type(part) is not bool:
                raise HookError(f"{who}: {path} must be True or False, not {named(part)}")
            parts[name] = part
        else:
            parts[name] = take(who, path, part, declared, forms, device)
    return kind(**parts)


def take_tensor(
    who: str, what: str, value: object, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> Tensor:
    """A copy of a tensor that an attack returned.

    Raises:
        HookError: If it is no plain tensor, or has another shape, type or device.
    """
    if type(value) is not Tensor:
        raise HookError(f"{who}: {what} must be a plain torch.Tensor, not {named(value)}")
    form = (tuple(value.shape), value.dtype, value.device, value.layout)
    if form != (shape, dtype, device, torch.strided):
        raise HookError(f"{who}: {what} must be {dtype} {shape} on {device}, not {form[1]} {form[0]} on {form[2]}")
    return torch.clone(value).detach()  # not value.clone(): an attribute of the object could stand in for the method


def named(value: object) -> str:
    """The type of a value, for errors."""
    return "None" if value is None else type(value).__name__


@cache
def _declared(kind: Any) -> dict[str, tuple[type, bool]]:
    """The declared type of each field, and whether None is allowed."""
    hints = get_type_hints(kind)
    out = {}
    for field in fields(kind):
        options = get_args(hints[field.name]) or (hints[field.name],)
        named = next(option for option in options if option is not type(None))
        out[field.name] = (named, type(None) in options)
    return out
