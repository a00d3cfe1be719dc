"""Finds and undoes changes of values that plug-in code can reach: attributes, containers, tensors, globals, defaults.

A :class:`Watcher` remembers values, restores them in place, and tells whether they had changed. Of objects that it does
not know, such as iterators and locks, only the replacement is noticed, in the container that holds them.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from operator import is_
from types import CodeType, FunctionType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Restore = Callable[[], bool]
PLAIN = (int, float, complex, bool, str, bytes, type(None))


class Watcher:
    """Watches values once each, however they are reached.

    Args:
        package: Top-level package of the plug-in; of objects, classes and functions only its own are looked into.
    """

    def __init__(self, package: str) -> None:
        self.package = package
        self.restorers: list[Restore] = []
        self._seen: dict[int, object] = {}  # holds the objects, so that ids stay unique
        self._globals: dict[int, dict[str, Any]] = {}  # by module, so that functions of one share a look

    def restore(self) -> bool:
        """Undo all changes; whether there were any."""
        changed = [restore() for restore in self.restorers]  # all of them, so not any(...) over a generator
        return any(changed)

    def value(self, value: Any) -> None:
        """Watch a value and everything in it."""
        if isinstance(value, PLAIN) or id(value) in self._seen:
            return
        self._seen[id(value)] = value
        if isinstance(value, Tensor):
            self.restorers.append(_tensor(value))
        elif isinstance(value, np.ndarray):
            self.restorers.append(_array(value))
        elif isinstance(value, dict):
            self.restorers.append(_dict(value))
            self._each(value.values())
        elif isinstance(value, list | bytearray | deque | set):
            self.restorers.append(_collection(value))
            self._each(value)
        elif isinstance(value, tuple | frozenset):
            self._each(value)
        elif isinstance(value, torch.Generator | random.Random | np.random.Generator):
            self.restorers.append(_generator(value))
        elif isinstance(value, nn.Module):
            self._each((value._parameters, value._buffers, value._modules))
        elif isinstance(value, type):
            self._class(value)
        elif isinstance(value, FunctionType):
            self._function(value)
        elif self._own(type(value)) and hasattr(value, "__dict__"):
            self.value(vars(value))

    def _each(self, values: Iterable[Any]) -> None:
        for value in values:
            if not isinstance(value, FunctionType):  # a function that was handed over is somebody else's
                self.value(value)

    def _own(self, owner: type | FunctionType) -> bool:
        return str(owner.__module__).partition(".")[0] == self.package

    def _class(self, owner: type) -> None:
        """Watch the attributes of a class, and what its methods refer to."""
        if not self._own(owner):
            return
        names = {n: value for n, value in vars(owner).items() if not n.startswith("__") and n != "_abc_impl"}
        self.restorers.append(
            _names(lambda: vars(owner), lambda n, v: setattr(owner, n, v), lambda n: delattr(owner, n), names)
        )
        for name, value in list(vars(owner).items()):
            if name.startswith("__pydantic_"):  # a config's schema, nested deeply; fields are watched as they are
                continue
            value = getattr(value, "__func__", None) or getattr(value, "fget", None) or value
            self.value(value)
        for base in owner.__bases__:
            self.value(base)

    def _function(self, function: FunctionType) -> None:
        """Watch the defaults and closure of a function, and the globals of its module that it refers to."""
        if not self._own(function):
            return
        self._each((function.__defaults__, function.__kwdefaults__, vars(function)))
        self._each(cell.cell_contents for cell in function.__closure__ or () if _filled(cell))
        space = function.__globals__
        names = [name for name in _referred(function.__code__) if name in space]
        known = self._globals.setdefault(id(space), {})
        if names and not known:
            self.restorers.append(_names(lambda: space, space.__setitem__, space.__delitem__, known, more=False))
        for name in names:
            known.setdefault(name, space[name])
            self.value(space[name])


def _kept(now: Any, before: Any) -> bool:
    """Whether it is the same object, or an equal plain value."""
    return now is before or (type(now) is type(before) and isinstance(now, PLAIN) and bool(now == before))


def _names(
    read: Callable[[], Mapping[str, Any]],
    assign: Callable[[str, Any], None],
    delete: Callable[[str], None],
    before: Mapping[str, Any],
    more: bool = True,
) -> Restore:
    """Restores which objects some names stand for; with ``more``, new names are deleted."""
    count = len(read())

    def restore() -> bool:
        now, changed = read(), False
        same = before.keys() <= now.keys() and all(map(is_, map(now.get, before), before.values()))
        if same and not (more and len(now) > count):
            return False  # the usual case, without a call per name
        for name, value in before.items():
            if name not in now or not _kept(now[name], value):
                assign(name, value)
                changed = True
        if more and len(now) > count:
            for name in [n for n in now if n not in before and not n.startswith("__") and n != "_abc_impl"]:
                delete(name)
                changed = True
        return changed

    return restore


def _dict(target: dict[Any, Any]) -> Restore:
    before = dict(target)

    def restore() -> bool:
        if len(target) == len(before):
            if all(map(is_, target, before)) and all(map(is_, target.values(), before.values())):
                return False  # the usual case, without a call per entry
            if all(k in target and _kept(target[k], v) for k, v in before.items()):
                return False
        target.clear()
        target.update(before)
        return True

    return restore


def _collection(target: Any) -> Restore:
    before = list(target)

    def restore() -> bool:
        if len(target) == len(before):
            if isinstance(target, set):
                kept = all(item in target for item in before)
            else:
                kept = all(map(_kept, target, before))
            if kept:
                return False
        target.clear()
        (target.update if isinstance(target, set) else target.extend)(before)
        return True

    return restore


def _tensor(target: Tensor) -> Restore:
    before = target.detach().clone()

    def restore() -> bool:
        if target.shape == before.shape and target.dtype == before.dtype and _equal(target, before):
            return False
        target.data = before.clone()
        return True

    return restore


def _equal(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors are equal; NaN equals NaN."""
    if torch.equal(first, second):
        return True
    return (
        first.is_floating_point()
        and torch.equal(first.isnan(), second.isnan())
        and torch.equal(first.nan_to_num(), second.nan_to_num())
    )


def _array(target: np.ndarray[Any, Any]) -> Restore:
    before = target.copy()

    def restore() -> bool:
        if target.shape == before.shape and target.tobytes() == before.tobytes():
            return False
        target.resize(before.shape, refcheck=False)
        target[...] = before
        return True

    return restore


def _generator(target: torch.Generator | random.Random | np.random.Generator) -> Restore:
    before = _state(target)

    def restore() -> bool:
        now = _state(target)
        if isinstance(target, torch.Generator):
            if torch.equal(now, before):
                return False
            target.set_state(before)
            return True
        if repr(now) == repr(before):  # states of numpy can hold arrays, which == does not compare
            return False
        if isinstance(target, random.Random):
            target.setstate(before)
        else:
            target.bit_generator.state = before
        return True

    return restore


def _state(generator: torch.Generator | random.Random | np.random.Generator) -> Any:
    if isinstance(generator, torch.Generator):
        return generator.get_state()
    return generator.getstate() if isinstance(generator, random.Random) else generator.bit_generator.state


def _referred(code: CodeType) -> set[str]:
    """Names that a function, and functions inside it, read or write in their module."""
    nested = (const for const in code.co_consts if isinstance(const, CodeType))
    return set(code.co_names).union(*map(_referred, nested))


def _filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:  # a name that has no value yet
        return False
    return True
