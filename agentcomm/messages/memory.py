"""What stages remember: named tensors with one row per world, which are reset with their world."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor


class Memory:
    """The tensors of one stage.

    Args:
        make: Makes fresh tensors [B, ...].

    Attributes:
        tensors: What the stage is handed; it changes them in place.
    """

    def __init__(self, make: Callable[[], dict[str, Tensor]]) -> None:
        self.tensors = make()
        self._fresh = {name: value.clone() for name, value in self.tensors.items()}

    def reset(self, worlds: Tensor) -> None:
        """Forget everything about the given worlds ([W] indices)."""
        for name, fresh in self._fresh.items():
            self.tensors[name][worlds] = fresh[worlds]

    def get_state(self) -> dict[str, Any]:
        """As numpy arrays."""
        return {name: value.cpu().numpy().copy() for name, value in self.tensors.items()}

    def set_state(self, saved: dict[str, Any]) -> None:
        """Restore what :meth:`get_state` saved."""
        for name, value in self.tensors.items():
            value.copy_(torch.as_tensor(np.array(saved[name])))
