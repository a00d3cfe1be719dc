"""How large the tensors are that some code makes: for tests that hold memory to a bound."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _Sizes(TorchDispatchMode):
    """Notes the elements of the largest storage that an operation returns, backward passes included."""

    def __init__(self) -> None:
        super().__init__()
        self.most = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in tree_leaves(out):
            if isinstance(value, Tensor):
                self.most = max(self.most, value.untyped_storage().nbytes() // value.element_size())
        return out


def largest(what: Callable[[], object]) -> int:
    """Elements of the largest tensor that an operation in ``what`` returns; views count as what they are views of."""
    with _Sizes() as sizes:
        what()
    return sizes.most
