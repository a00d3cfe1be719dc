"""Values that plug-in code can reach are restored in place, whatever holds them; untouched ones are left alone."""

from __future__ import annotations

import random
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from agentcomm.guards.watching import Watcher


class Own:
    """An object of the plug-in's own package."""

    shared: list[int] = []  # noqa: RUF012

    def __init__(self) -> None:
        self.count = 0


class Slow(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)


def _train(module: Slow) -> None:
    with torch.no_grad():
        module.layer.weight.add_(1)


CHANGES: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "list": (lambda: [1, 2], lambda v: v.append(3)),
    "list, same length": (lambda: [1, 2], lambda v: v.reverse()),
    "dict": (lambda: {"a": 1}, lambda v: v.update(a=2)),
    "ordered dict": (lambda: OrderedDict(a=1), lambda v: v.update(b=2)),
    "default dict": (lambda: defaultdict(int), lambda v: v["a"]),
    "counter": (lambda: Counter("a"), lambda v: v.update("a")),
    "deque": (lambda: deque([1], maxlen=1), lambda v: v.append(2)),
    "set": (lambda: {1}, lambda v: v.add(2)),
    "bytes": (lambda: bytearray(b"a"), lambda v: v.extend(b"b")),
    "tensor": (lambda: torch.zeros(2), lambda v: v.add_(1)),
    "tensor, resized": (lambda: torch.zeros(2), lambda v: v.resize_(3)),
    "array": (lambda: np.zeros(2), lambda v: v.fill(1)),
    "module": (Slow, _train),
    "torch generator": (lambda: torch.Generator().manual_seed(1), lambda v: torch.rand(2, generator=v)),
    "random": (lambda: random.Random(1), lambda v: v.random()),
    "numpy generator": (lambda: np.random.default_rng(1), lambda v: v.random()),
    "numpy's old generator": (lambda: np.random.Generator(np.random.MT19937(1)), lambda v: v.random()),
    "nested": (lambda: {"a": ([deque([torch.zeros(1)])],)}, lambda v: v["a"][0][0][0].add_(1)),
    "own object": (Own, lambda v: setattr(v, "count", 1)),
    "attribute of an own class": (Own, lambda v: v.shared.append(1)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_changes_are_found_and_undone(name: str) -> None:
    make, change = CHANGES[name]
    value, watcher = make(), Watcher(__name__.partition(".")[0])
    watcher.value(value)
    watcher.value(Own)
    assert not watcher.restore(), "nothing has changed"
    change(value)
    assert watcher.restore()
    assert not watcher.restore(), "it was undone"


def test_restored_containers_are_the_same_objects_with_the_same_content() -> None:
    inner = deque([1])
    value, watcher = {"a": inner, "b": torch.tensor([float("nan"), 1.0])}, Watcher("")
    watcher.value(value)
    value.pop("b")
    inner.append(2)
    assert watcher.restore()
    assert value["a"] is inner
    assert list(inner) == [1]
    assert list(value) == ["a", "b"]


def test_objects_of_others_and_what_contains_itself_are_no_trouble() -> None:
    value: list[Any] = [iter([1]), object(), torch.nn.functional.relu, float("nan"), torch.tensor(float("nan"))]
    value.append(value)
    watcher = Watcher("")
    watcher.value(value)
    assert not watcher.restore()
