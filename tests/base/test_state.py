"""Saving, restoring and resetting state."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agentcomm.base.state import Memory, State


class Inner(State):
    keeps = ("value",)

    def __init__(self, value: int) -> None:
        self.value = torch.tensor([value])


class Outer(State):
    keeps = ("generator", "count", "tensors", "inner", "nothing", "parts", "number")

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.count = Counter({"rule": seed})
        self.tensors = {"a": torch.full((2, 3), float(seed)), "b": torch.tensor([True, False])}
        self.inner = Inner(seed)
        self.nothing: Inner | None = None
        self.parts = [Inner(seed), Inner(seed + 1)]
        self.number = seed
        self.unsaved = seed


class Wider(Outer):
    keeps = ("more",)

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.more = torch.arange(seed + 1)


def same(first: Any, second: Any) -> bool:
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(map(same, first, second))
    return bool((first == second).all()) if hasattr(first, "all") else first == second


def test_a_restored_object_has_the_state_and_draws_the_same_numbers() -> None:
    first, second = Wider(1), Wider(2)
    torch.rand(5, generator=first.generator)
    saved = first.snapshot()
    second.restore(saved)
    assert same(second.snapshot(), saved)
    assert torch.equal(torch.rand(3, generator=first.generator), torch.rand(3, generator=second.generator))
    assert second.unsaved == 2
    assert isinstance(second.count, Counter)


def test_a_snapshot_shares_no_memory() -> None:
    owner = Outer(1)
    saved = owner.snapshot()
    kept = copy.deepcopy(saved)
    owner.tensors["a"].zero_()
    owner.count["rule"] += 1
    assert same(saved, kept)
    other = Outer(2)
    other.restore(saved)
    other.tensors["a"].fill_(9)
    assert same(saved, kept)


def test_containers_and_nested_objects_stay_the_same() -> None:
    owner = Outer(1)
    held = (owner.tensors, owner.count, owner.inner, owner.parts, owner.generator)
    owner.restore(Outer(2).snapshot())
    now = (owner.tensors, owner.count, owner.inner, owner.parts, owner.generator)
    assert all(a is b for a, b in zip(held, now, strict=True))
    assert int(owner.inner.value) == 2


def test_a_state_of_another_class_is_rejected_by_name() -> None:
    with pytest.raises(ValueError, match="Outer: a saved state needs"):
        Outer(1).restore(Wider(1).snapshot())


def test_what_cannot_be_saved_is_named() -> None:
    owner = Outer(1)
    owner.number = object()  # type: ignore[assignment]
    with pytest.raises(TypeError, match="object cannot be saved"):
        owner.snapshot()


@given(st.lists(st.integers(0, 4), unique=True))
def test_reset_forgets_the_given_worlds_only(worlds: list[int]) -> None:
    memory = Memory(lambda: {"seen": torch.arange(5), "payload": torch.zeros(5, 2)})
    memory.tensors["seen"].fill_(-1)
    memory.tensors["payload"].fill_(7.0)
    memory.reset(torch.tensor(worlds, dtype=torch.int64))
    for world in range(5):
        fresh = world in worlds
        assert int(memory.tensors["seen"][world]) == (world if fresh else -1)
        assert memory.tensors["payload"][world].tolist() == ([0.0, 0.0] if fresh else [7.0, 7.0])
