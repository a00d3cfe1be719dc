"""Cyber defense: rules, masks, floors, and who can know what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from talk import within_error
from torch import Tensor

from envs import cyber_defense
from envs.cyber_defense import CyberDefense, CyberDefenseConfig

QUIET = {"false_alarm": 0.0, "entry": 0.0}


def make(worlds: int = 1, **arguments: Any) -> CyberDefense:
    return CyberDefense(CyberDefenseConfig(**arguments), worlds)


def play(world: CyberDefense, act: Callable[[], Tensor]) -> Tensor:
    """[B], mean return of the agents in one episode per world."""
    world.reset(seed=0)
    return sum((world.step(act(), auto_reset=False).reward.mean(1) for _ in range(world.max_steps)), torch.zeros(1))


def test_floors() -> None:
    """Hosts that neighbors name: the numbers of the module's page."""
    world, generator = make(2_000), torch.Generator().manual_seed(0)
    shape = (2_000, 4)
    reached = {
        "named": play(world, lambda: cyber_defense.restore_named(world)),
        "noticed": play(world, lambda: cyber_defense.restore_noticed(world)),
        "random": play(world, lambda: torch.randint(6, shape, generator=generator)),
        "isolated": play(world, lambda: torch.full(shape, 5)),
        "waiting": play(world, lambda: torch.zeros(shape, dtype=torch.int64)),
    }
    found = {name: float(value.mean()) for name, value in reached.items()}
    known = {"named": -2.5, "noticed": -13.5, "random": -12.1, "isolated": -22.2, "waiting": -26.3}
    assert found == pytest.approx(known, rel=0.04)


def test_a_host_is_restored_and_offline_for_a_while() -> None:
    world = make(subnets=3, hosts=2, lateral=0.0, spread=0.0, repair=2, **QUIET)
    world.reset(scene={"access": [[2, 0], [0, 0], [0, 1]]})
    assert world.allowed().all()
    step = world.step(torch.tensor([[1, 0, 3]]), auto_reset=False)
    assert world.state["access"].sum() in (1, 2)
    assert world.state["offline"].tolist() == [[[2, 0], [0, 0], [0, 0]]]
    assert step.reward[0].tolist() == pytest.approx([-0.5, 0, -(2 / 2 + 0.5)]), "downtime; nothing; critical, isolated"
    assert world.allowed()[0, 0].tolist() == [True, False, True, True]
    world.step(torch.tensor([[1, 0, 0]]), auto_reset=False)
    assert world.state["offline"].tolist() == [[[1, 0], [0, 0], [0, 0]]], "it is not restored again"
    step = world.step(torch.tensor([[0, 0, 2]]), auto_reset=False)
    assert world.allowed()[0, 0].all()
    assert step.success.all()
    assert world.harm.tolist() == [int(world.state["harmed"][0])]


def test_attempts_are_logged_by_the_neighbor_and_not_by_the_subnet_itself() -> None:
    world = make(500, subnets=4, hosts=3, lateral=0.0, spread=0.0, detect=1.0, local=0.0, **QUIET)
    world.reset(scene={"access": [[0, 0, 0], [0, 2, 0], [0, 0, 0], [0, 0, 0]]})
    world.step(torch.zeros(500, 4, dtype=torch.int64), auto_reset=False)
    logged = world.state["logged"]
    assert not world.state["noticed"].any()
    # Subnet 0 has subnet 1 in its second slot, subnet 2 in its first: one of both saw host 1 of it.
    seen = torch.stack([logged[:, 0, 1, 1], logged[:, 2, 0, 1]], 1)
    assert bool((seen.sum(1) == 1).all())
    assert int(logged.sum()) == 500
    within_error(seen[:, 0], 0.5)


@pytest.mark.parametrize("isolated", [1, 0])
def test_nothing_passes_the_border_of_an_isolated_subnet(isolated: int) -> None:
    """Neither if the source is isolated nor if the target is."""
    world = make(200, subnets=2, hosts=2, lateral=1.0, spread=0.0, detect=1.0, local=0.0, **QUIET)
    world.reset(scene={"access": [[2, 0], [0, 0]]})
    actions = torch.zeros(200, 2, dtype=torch.int64)
    actions[:, isolated] = 3
    for _ in range(5):
        world.step(actions, auto_reset=False)
        assert not world.state["logged"].any()
        assert not world.state["access"][:, 1].any()
    world.step(torch.zeros_like(actions), auto_reset=False)
    assert bool((world.state["access"][:, 1].sum(1) == 1).all()), "as a user"
    assert bool(world.state["logged"][:, 1, 0, 0].all())


def test_offline_hosts_cannot_be_exploited_and_users_become_root() -> None:
    world = make(200, subnets=2, hosts=1, lateral=1.0, spread=0.0, escalate=1.0, local=0.0, **QUIET)
    world.reset(scene={"access": [[1], [2]]})
    world.step(torch.tensor([[0, 1]]).expand(200, -1), auto_reset=False)
    assert bool((world.state["access"][:, 0] == 2).all())
    assert not world.state["access"][:, 1].any(), "offline"
    assert not world.state["logged"].any()
    assert world.harm.tolist() == [1] * 200


def test_rates_of_alarms_and_intrusions() -> None:
    world = make(4_000, subnets=3, hosts=4, local=0.2, false_alarm=0.03, entry=0.3, lateral=0.0, spread=0.0)
    world.reset(scene={"access": [[0] * 4] * 3})
    world.step(torch.zeros(4_000, 3, dtype=torch.int64), auto_reset=False)
    within_error(world.state["access"].any(2).any(1), 0.3)
    within_error(world.state["logged"], 0.03)
    held = world.state["access"] > 0
    within_error(world.state["noticed"][~held], 0.03)
    within_error(world.state["noticed"][held], 1 - 0.8 * 0.97)


@given(st.lists(st.lists(st.integers(0, 4), min_size=3, max_size=3), min_size=1, max_size=30), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_states_stay_possible(actions: list[list[int]], seed: int) -> None:
    world = make(4, subnets=3, hosts=3, entry=0.5, lateral=0.9, false_alarm=0.2, max_steps=9)
    world.reset(seed)
    for joint in actions:
        harm = world.harm
        step = world.step(torch.tensor([joint]).expand(4, -1))
        access, offline = world.state["access"], world.state["offline"]
        assert bool(((access >= 0) & (access <= 2)).all())
        assert bool(((offline >= 0) & (offline <= 2)).all())
        assert not (access > 0)[offline > 0].any()
        assert bool((world.harm >= harm)[~step.done].all())
        assert bool(world.allowed()[..., [0, -1]].all())


@pytest.mark.parametrize("access", [[[0, 0]], [[0], [0], [0]], [[0, 3], [0, 0], [0, 0]], [[0, True]] * 3, 1])
def test_impossible_scenes_are_refused(access: Any) -> None:
    with pytest.raises(ValueError, match="scene:"):
        make(subnets=3, hosts=2).reset(scene={"access": access})


def test_it_can_be_drawn() -> None:
    world = make(subnets=3, hosts=3, lateral=0.0, spread=0.0, local=1.0, escalate=0.0, **QUIET)
    world.reset(scene={"access": [[2, 0, 0], [0, 1, 0], [0, 0, 0]]})
    world.step(torch.tensor([[1, 0, 4]]))
    assert world.render(0, "ansi").splitlines() == [
        "subnet_0 [x  .  .]",
        "subnet_1 [.  u! .]",
        "subnet_2 [.  .  .] isolated",
        ". clean  u user  r root  x offline  ! alert",
    ]
    assert world.render(0, "rgb_array").shape == (400, 400, 3)
    with pytest.raises(ValueError, match="render mode"):
        world.render(0, "human")  # type: ignore[arg-type]
