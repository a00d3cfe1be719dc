"""The plug-ins keep the contracts of their axes, and agentcomm finds them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from harbor.attack import OldLight
from harbor.defense import Dim
from harbor.environment import Harbor, HarborConfig
from harbor.policy import Lookout

from agentcomm.base.registry import find
from agentcomm.conformance import check


@pytest.mark.parametrize(
    ("axis", "name", "plugin"),
    [
        ("environment", "harbor", Harbor),
        ("policy", "lookout", Lookout),
        ("attack", "old_light", OldLight),
        ("defense", "dim", Dim),
    ],
)
def test_it_keeps_its_contract(axis: Any, name: str, plugin: Any) -> None:
    assert find(axis, name) is plugin
    check(plugin)


def test_known_answers() -> None:
    """Ships that know the berth earn 1 per step, and those that guess 1 / berths."""
    world = Harbor(HarborConfig(ships=3, berths=4, max_steps=50), 200)
    world.reset(seed=0)
    knows, guesses = torch.zeros(5), torch.zeros(5)
    draws = torch.Generator().manual_seed(1)
    for _ in range(50):
        right = world.state["free"].unsqueeze(1).expand(-1, 5).clone()
        knows += world.step(right).reward.mean(0) / 50
    for _ in range(50):
        guesses += world.step(torch.randint(4, (200, 5), generator=draws)).reward.mean(0) / 50
    assert (knows == 1).all() or torch.allclose(knows, torch.ones(5))
    assert torch.allclose(guesses, torch.full((5,), 0.25), atol=0.02)
