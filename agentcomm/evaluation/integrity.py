"""What a cell must leave as it was: the weights of its team, and the functions of this package.

Plug-ins run in the same process, so their code can write to both. Changes are put back, so that later cells are not
affected, and the cell that made them fails. Code that means to can hide from this too; see
:mod:`agentcomm.guards.side_effects`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import FunctionType, ModuleType

import torch
from torch import nn

from agentcomm.base.errors import HookError

PACKAGE = "agentcomm"


class Integrity:
    """Remembers weights and functions, and puts back what has changed.

    Args:
        policy: The team's policy.
    """

    def __init__(self, policy: nn.Module) -> None:
        self._weights = [(name, value, value.detach().clone()) for name, value in _tensors(policy)]
        self._functions = [
            (owner, name, value, value.__code__)
            for owner in _owners()
            for name, value in list(vars(owner).items())
            if isinstance(value, FunctionType)
        ]

    def check(self) -> None:
        """Put back what has changed.

        Raises:
            HookError: If anything has changed.
        """
        if changed := self.restore():
            raise HookError(
                f"the code of a plug-in changed {changed} during this cell, so its numbers mean nothing: read that code"
            )

    def restore(self) -> str:
        """Put back what has changed; names it, empty for nothing."""
        changed = []
        for name, value, before in self._weights:
            if value.shape != before.shape or not torch.equal(value, before):
                value.data = before.clone()
                changed.append(f"the policy's weights ({name})")
        for owner, name, function, code in self._functions:
            if vars(owner).get(name) is not function or function.__code__ is not code:
                setattr(owner, name, function)
                function.__code__ = code
                changed.append(f"{owner.__name__}.{name}")
        return ", ".join(changed[:3]) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")


def _tensors(policy: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from policy.named_parameters()
    yield from policy.named_buffers()


def _owners() -> Iterator[ModuleType | type]:
    """The modules of this package that are loaded, and their classes."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == PACKAGE:
            yield module
            yield from (v for v in list(vars(module).values()) if isinstance(v, type) and v.__module__ == name)
