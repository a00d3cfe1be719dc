"""The numbers of scripted teams that pages print."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from agentcomm.runs.assembly import make_world
from agentcomm.runs.config import load
from envs.gridworld.grid import GridWorld
from envs.gridworld.scripted import ScriptedPolicy

RUNS = Path(__file__).parents[2] / "studies" / "runs"


@pytest.mark.parametrize(("run", "worlds"), [("capture", 2000), ("prey_10", 2000), ("prey_20", 500)])
@pytest.mark.parametrize("sharing", [False, True])
def test_scripted_teams_need_the_printed_number_of_steps(
    scripts: Callable[[str], ModuleType], run: str, worlds: int, sharing: bool
) -> None:
    world = make_world(load(RUNS / run / "config.yaml", trust=True).environment, worlds)
    assert isinstance(world, GridWorld)
    policy = ScriptedPolicy(world, sharing)
    world.reset(seed=0)
    policy.reset()
    done, steps = torch.zeros(world.num_worlds, dtype=torch.bool), torch.zeros(world.num_worlds)
    while not done.all():
        step = world.step(policy.act(), auto_reset=False)
        steps += ~done
        done |= step.done
    assert float(steps.mean()) == pytest.approx(scripts("answers").SCRIPTED[run][sharing], rel=0.03)
