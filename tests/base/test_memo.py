"""Results that are computed once."""

from __future__ import annotations

import torch
from torch import Tensor

from agentcomm.base.memo import Memo


def test_a_result_is_computed_again_once_a_part_has_changed() -> None:
    memo, part, calls = Memo(), torch.ones(2), []

    def compute() -> Tensor:
        calls.append(1)
        return part * 2

    assert memo.of((part,), compute) is memo.of((part,), compute)
    part += 1
    assert memo.of((part,), compute).tolist() == [4.0, 4.0]
    assert len(calls) == 2


def test_a_result_without_a_graph_is_not_given_to_those_who_need_gradients() -> None:
    memo, part = Memo(), torch.ones(2, requires_grad=True)
    with torch.no_grad():
        memo.of((part,), lambda: part * 2)
    assert memo.of((part,), lambda: part * 2).requires_grad
