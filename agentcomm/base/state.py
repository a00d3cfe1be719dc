"""State that outlives a step: saving, restoring and resetting it.

A class names the attributes that make up its state in ``keeps``; :meth:`State.snapshot` returns them as plain values
and numpy arrays, and :meth:`State.restore` reads them back. Attributes may be tensors, generators, counters, plain
values, other :class:`State` objects, and dictionaries, lists or tuples of these. State per world belongs in a
:class:`Memory`, which resets the rows of a world when its episode ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor


class State:
    """An object whose state can be saved and restored.

    Attributes:
        keeps: Names of the attributes to save; those of base classes are saved, too.
    """

    keeps: ClassVar[tuple[str, ...]] = ()

    def snapshot(self) -> dict[str, Any]:
        """The state as plain values and numpy arrays, which share no memory with this object."""
        return {name: _saved(getattr(self, name)) for name in _kept(type(self))}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Restore a state that :meth:`snapshot` returned. Containers and nested objects stay the same objects.

        Raises:
            ValueError: If the state is that of another class.
        """
        names = _kept(type(self))
        if set(saved) != set(names):
            raise ValueError(f"{type(self).__name__}: a saved state needs {sorted(names)}, not {sorted(saved)}")
        for name in names:
            present = getattr(self, name)
            restored = _restored(present, saved[name])
            if restored is not present:
                setattr(self, name, restored)


class Memory(State):
    """Named tensors with one row per world; a row is reset when the episode of its world ends.

    Args:
        make: Makes fresh tensors [B, ...].

    Attributes:
        tensors: The current tensors; their owner changes them in place.
    """

    keeps = ("tensors",)

    def __init__(self, make: Callable[[], dict[str, Tensor]]) -> None:
        self.tensors = make()
        self._fresh = {name: value.clone() for name, value in self.tensors.items()}

    def sound(self) -> bool:
        """Whether all tensors have the shapes and types that they started with."""
        return all(
            self.tensors[name].shape == fresh.shape and self.tensors[name].dtype == fresh.dtype
            for name, fresh in self._fresh.items()
        )

    def reset(self, worlds: Tensor) -> None:
        """Forget everything about the given worlds ([W] indices)."""
        for name, fresh in self._fresh.items():
            self.tensors[name][worlds] = fresh[worlds]


class DrawingMemory(Memory):
    """A memory whose owner also draws random numbers.

    Args:
        make: As for :class:`Memory`.
        generator: The owner's generator; it is saved and restored, but not reset.
    """

    keeps = ("generator",)

    def __init__(self, make: Callable[[], dict[str, Tensor]], generator: torch.Generator) -> None:
        super().__init__(make)
        self.generator = generator


def _kept(owner: type) -> tuple[str, ...]:
    named = (name for base in reversed(owner.__mro__) for name in vars(base).get("keeps", ()))
    return tuple(dict.fromkeys(named))


def _saved(value: Any) -> Any:
    if isinstance(value, State):
        return value.snapshot()
    if isinstance(value, Tensor):
        return value.detach().cpu().numpy().copy()
    if isinstance(value, torch.Generator):
        return value.get_state().numpy().copy()
    if isinstance(value, dict):
        return {key: _saved(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_saved(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return value
    raise TypeError(f"a {type(value).__name__} cannot be saved: keep tensors, generators, plain values or State")


def _restored(present: Any, saved: Any) -> Any:
    """The saved value, in the type of ``present``, which is changed in place where other objects may refer to it."""
    if isinstance(present, State):
        present.restore(saved)
        return present
    if isinstance(present, torch.Generator):
        present.set_state(torch.as_tensor(np.array(saved)))
        return present
    if isinstance(present, dict):
        device = next((item.device for item in present.values() if isinstance(item, Tensor)), None)
        new = {
            key: _restored(present[key], item) if key in present else _fresh(item, device)
            for key, item in saved.items()
        }
        present.clear()
        present.update(new)
        return present
    if isinstance(present, list | tuple):
        new_items = [_restored(old, item) for old, item in zip(present, saved, strict=True)]
        if isinstance(present, tuple):
            return tuple(new_items)
        present[:] = new_items
        return present
    device = present.device if isinstance(present, Tensor) else None
    return _fresh(saved, device)


def _fresh(saved: Any, device: torch.device | None) -> Any:
    return torch.as_tensor(np.array(saved), device=device) if isinstance(saved, np.ndarray) else saved
