"""The scripted policies reach the known floors, so the tasks are solvable and talking is worth what it should be."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from agentcomm.base.registry import build_config, find
from envs.gridworld.grid import GridWorld
from envs.gridworld.scripted import Policy, RandomPolicy, ScriptedPolicy

PP5 = ("predator_prey", {"size": 5, "predators": 3, "max_steps": 80})
PP10 = ("predator_prey", {"size": 10, "predators": 5, "max_steps": 40})
PCP = ("predator_capture_prey", {"size": 5, "perception_agents": 2, "capture_agents": 1, "max_steps": 80})
EPISODES = 10_000


def make(case: tuple[str, dict[str, Any]], num_worlds: int, **changes: Any) -> GridWorld:
    name, arguments = case
    config = build_config("environment", name, arguments | {"observation": "indices"} | changes)
    world = find("environment", name)(config, num_worlds)
    assert isinstance(world, GridWorld)
    return world


def play(world: GridWorld, policy: Policy) -> tuple[float, float]:
    """Mean steps and mean return per agent of one episode per world."""
    world.reset(seed=0)
    policy.reset()
    done = torch.zeros(world.num_worlds, dtype=torch.bool)
    steps, returns = torch.zeros(world.num_worlds), torch.zeros(world.num_worlds)
    while not done.all():
        step = world.step(policy.act(), auto_reset=False)
        steps += ~done
        returns += step.reward.mean(1) * ~done
        done |= step.done
    return steps.mean().item(), returns.mean().item()


# Measured with the same rules in plain Python, 8,000 episodes each (standard error at most 0.7%).
@pytest.mark.parametrize(
    ("case", "sharing", "steps", "mean_return"),
    [
        (PP5, True, 5.33, -0.142),
        (PP5, False, 7.74, -0.221),
        (PP10, True, 12.49, -0.378),
        (PP10, False, 27.94, -0.837),
        (PCP, True, 6.36, -0.186),
        (PCP, False, 18.97, -0.439),
    ],
)
def test_scripts_reach_their_floors(
    case: tuple[str, dict[str, Any]], sharing: bool, steps: float, mean_return: float
) -> None:
    world = make(case, EPISODES)
    measured_steps, measured_return = play(world, ScriptedPolicy(world, sharing))
    assert measured_steps == pytest.approx(steps, rel=0.03)
    assert measured_return == pytest.approx(mean_return, rel=0.03)


@pytest.mark.parametrize(("case", "steps"), [(PP5, 129), (PCP, 156)])
def test_random_actions_take_long(case: tuple[str, dict[str, Any]], steps: float) -> None:
    world = make(case, EPISODES // 2, max_steps=5_000)
    measured, _ = play(world, RandomPolicy(world))
    assert measured == pytest.approx(steps, rel=0.03)


def test_scripts_follow_restarted_worlds() -> None:
    """With auto-reset, a script told of the restarts does as well in later episodes as in first ones."""
    world = make(PCP, 500)
    policy = ScriptedPolicy(world, sharing=True)
    world.reset(seed=0)
    policy.reset()
    lengths = []
    for _ in range(100):
        step = world.step(policy.act())
        lengths += step.length[step.finished].tolist()
        policy.reset(step.finished)
    assert len(lengths) > 5_000
    assert sum(lengths) / len(lengths) == pytest.approx(6.36, rel=0.03)


def test_the_silent_blind_agent_does_not_use_what_it_cannot_know() -> None:
    """Two worlds that differ only in where the prey is look alike to a blind agent far from it."""
    world = make(PCP, 2)
    for b, prey in enumerate([[0, 1], [1, 0]]):
        scene = {"positions": [[0, 0], [1, 1], [4, 4]], "prey": [prey]}
        world.begin(torch.tensor([b]), world.generator, scene)
    policies = {sharing: ScriptedPolicy(world, sharing) for sharing in (False, True)}
    silent, sharing = policies[False].act(), policies[True].act()
    assert silent[0, 2] == silent[1, 2]
    assert torch.equal(sharing[:, 2], torch.tensor([0, 0])), "told of the prey, it goes up"
    assert not torch.equal(silent[0, :2], silent[1, :2]), "those who see the prey do react to it"


@pytest.mark.parametrize(("size", "vision"), [(2, 0), (2, 3), (3, 1), (5, 2), (6, 1), (7, 2), (10, 1)])
def test_waypoints_let_scouts_find_a_prey_anywhere(size: int, vision: int) -> None:
    world = make(("predator_prey", {"size": size, "vision": vision, "predators": 1, "max_steps": 400}), size**2)
    world.reset(seed=0)
    world.state["prey"] = torch.arange(size**2).unsqueeze(1)
    world.state["cells"] = (world.state["prey"] + 1) % size**2
    policy = ScriptedPolicy(world, sharing=False)
    found = torch.zeros(size**2, dtype=torch.bool)
    for _ in range(200):
        found |= world.step(policy.act(), auto_reset=False).success
    assert found.all()
