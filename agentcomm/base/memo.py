"""Memo: a result that is computed once, for as long as what it follows from stays the same."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


class Memo:
    """The last result, while neither it nor the tensors that it was computed from have changed.

    Results that need gradients are computed each time, since each prediction has a graph of its own.
    """

    def __init__(self) -> None:
        self._state: list[tuple[Tensor | None, int]] = []
        self._value: Tensor | None = None

    def of(self, parts: tuple[Tensor | None, ...], compute: Callable[[], Tensor]) -> Tensor:
        """The result of ``compute``, which depends on ``parts`` alone; they are compared by identity and version.

        Parts that need gradients are never looked up: a result that was computed while none were recorded has no graph.
        """
        if any(part is not None and part.requires_grad for part in parts):
            return compute()
        known = self._value
        if known is not None and _same(self._state, _state(known, *parts)):
            return known
        value = compute()
        if not value.requires_grad:
            self._state, self._value = _state(value, *parts), value
        return value


def _state(*tensors: Tensor | None) -> list[tuple[Tensor | None, int]]:
    return [(tensor, 0 if tensor is None else tensor._version) for tensor in tensors]


def _same(one: list[tuple[Tensor | None, int]], other: list[tuple[Tensor | None, int]]) -> bool:
    return all(a is b and i == j for (a, i), (b, j) in zip(one, other, strict=True))
