"""Checks that numbers are finite: NaN and infinity are reported where they arise, with the place of the first one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from agentcomm.base.errors import NumberError

# How to fix it, by the axis of the plug-in that the number comes from.
FIXES = {
    "environment": "return finite numbers only, or clip them in the environment",
    "policy": "training may have diverged: lower training.ppo.learning_rate, or scale down observations and rewards",
}


def all_finite(values: Sequence[Tensor]) -> bool:
    """Whether all numbers are finite; one reduction per tensor, and one copy to the host."""
    if not values:
        return True
    # NaN and infinity survive a sum, which is several times faster than isfinite. A sum of huge numbers may overflow.
    if bool(torch.stack([value.detach().sum(dtype=torch.float32) for value in values]).isfinite().all()):
        return True
    return all(bool(value.isfinite().all()) for value in values)


def first_not_finite(named: Mapping[str, Tensor]) -> str | None:
    """Name of the first tensor with a number that is not finite; tensors of integers are skipped."""
    floating = {name: value for name, value in named.items() if value.is_floating_point()}
    if all_finite(list(floating.values())):
        return None
    return next(name for name, value in floating.items() if not bool(value.isfinite().all()))


class Numbers:
    """Tensors of one step of B worlds, in the order in which they arise, to be checked together.

    Args:
        agents: Names of the N agents.
        step: [B] int64, steps since each episode began.
    """

    def __init__(self, agents: Sequence[str], step: Tensor) -> None:
        self.agents, self.step = agents, step
        self._noted: list[tuple[str, str, Tensor, Tensor, tuple[Tensor, Tensor] | None]] = []
        self._checked: list[Tensor] = []

    def note(
        self,
        what: str,
        field: str,
        value: Tensor,
        step: Tensor | None = None,
        rows: tuple[Tensor, Tensor] | None = None,
        *,
        implied: bool = False,
    ) -> None:
        """Add a tensor; tensors of integers are ignored.

        Args:
            what: The plug-in that it comes from, such as ``environment 'predator_prey'``.
            field: What it is, such as ``reward``.
            value: [B, N, ...], or with rows [R, ...].
            step: [B] int64, steps that it belongs to, if not those of the whole.
            rows: World and agent of each row, [R] int64 each.
            implied: Whether a later tensor is not finite if this one is not, so that it only helps to find the place.
        """
        if not value.is_floating_point():
            return
        self._noted.append((what, field, value, self.step if step is None else step, rows))
        if not implied:
            self._checked.append(value)

    def check(self) -> None:
        """Check all tensors noted so far.

        Raises:
            NumberError: Names the first number that is not finite: of which plug-in, agent, world and step.
        """
        if all_finite(self._checked):
            return
        for what, field, value, step, rows in self._noted:
            places = (~value.isfinite()).nonzero()
            if len(places):
                self._raise(what, field, value, step, rows, places[0])

    def _raise(
        self,
        what: str,
        field: str,
        value: Tensor,
        step: Tensor,
        rows: tuple[Tensor, Tensor] | None,
        place: Tensor,
    ) -> None:
        world, agent = (int(place[0]), int(place[1])) if rows is None else (int(part[place[0]]) for part in rows)
        number, axis = float(value[tuple(place)]), what.partition(" ")[0]
        fix = FIXES.get(axis, f"the {axis} must return finite numbers")
        raise NumberError(
            f"{what}: {field} of agent {self.agents[agent]!r} in world {world}, step {int(step[world])}"
            f" is {shown(number)}; {fix}"
        )


def shown(number: float) -> str:
    """A number that is not finite, as errors write it."""
    return "NaN" if math.isnan(number) else f"{'-' if number < 0 else ''}infinite"
