"""The first number that is not finite is found, and what is finite passes, however huge."""

from __future__ import annotations

import math

import pytest
import torch

from agentcomm.base.answers import check_tensor
from agentcomm.base.errors import HookError, NumberError
from agentcomm.base.numbers import Numbers, all_finite, first_not_finite

AGENTS = ("a", "b", "c")
STEP = torch.tensor([4, 7])


def numbers() -> torch.Tensor:
    return torch.rand(2, 3, 5)


def test_huge_numbers_are_finite_although_their_sum_is_not() -> None:
    huge = torch.full((9,), 3e38)
    assert all_finite([huge, torch.zeros(0), torch.full((3,), 1e300, dtype=torch.float64)])
    assert all_finite([])
    assert first_not_finite({"huge": huge, "whole": torch.arange(3)}) is None


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_number_that_is_not_finite_is_found(bad: float) -> None:
    value = torch.rand(50, 7, 11)
    value[31, 2, 5] = bad
    assert not all_finite([torch.rand(3), value])
    assert not all_finite([torch.tensor([math.inf, -math.inf])])
    assert first_not_finite({"fine": torch.rand(3), "bad": value, "also": value}) == "bad"


def test_the_first_one_noted_is_named_with_agent_world_and_step() -> None:
    found = Numbers(AGENTS, STEP)
    bad, later = numbers(), numbers()
    bad[1, 2, 0], later[0, 0, 0] = math.nan, math.inf
    found.note("environment 'mine'", "reward", numbers()[..., 0])
    found.note("environment 'mine'", "action", torch.zeros(2, 3, dtype=torch.int64))
    found.check()
    found.note("defense 'own'", "scale", bad)
    found.note("policy 'p'", "value", later[..., 0])
    text = r"^defense 'own': scale of agent 'c' in world 1, step 7 is NaN; the defense must return finite numbers$"
    with pytest.raises(NumberError, match=text):
        found.check()


def test_rows_know_their_world_and_agent() -> None:
    found = Numbers(AGENTS, STEP)
    value = torch.tensor([0.0, -math.inf])
    found.note("policy 'p'", "chance", value, rows=(torch.tensor([1, 0]), torch.tensor([0, 1])))
    with pytest.raises(NumberError, match=r"chance of agent 'b' in world 0, step 4 is -infinite; .*learning_rate"):
        found.check()


def test_tensors_of_a_wrong_shape_or_type_are_named() -> None:
    check_tensor("codec 'c'", "bits", torch.zeros(2, 3), (2, None))
    check_tensor("codec 'c'", "bits", None, (2, None))
    wrong: list[tuple[object, str]] = [
        (None, "None"),
        ([1.0], "list"),
        (torch.zeros(2, 3), r"torch.float32 \(2, 3\)"),
        (torch.zeros(3).long(), r"torch.int64 \(3,\)"),
    ]
    for value, shown in wrong:
        with pytest.raises(HookError, match=rf"^codec 'c': bits must be torch.int64 \(2, any\), not {shown}$"):
            check_tensor("codec 'c'", "bits", value, (2, None), torch.int64, optional=False)
