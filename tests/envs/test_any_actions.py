"""No sequence of actions breaks an environment, for actions of every kind."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agentcomm.base import registry
from agentcomm.contracts.world import World

# The trained attacker's environment needs a team, and environments of others have rendering and code of their own; both
# have their own tests.
ELSEWHERE = ("attacker", "pettingzoo", "gymnasium")
FORMS = [form for form in registry.forms("environment") if not form.startswith(ELSEWHERE)]


def made(form: str, worlds: int) -> World:
    name, arguments = registry.forms("environment")[form]
    config = registry.build_config("environment", name, arguments | {"max_steps": 7})
    world: World = registry.find("environment", name)(config, worlds)
    return world


@pytest.mark.parametrize("form", FORMS)
@given(st.integers(0, 2**31), st.lists(st.booleans(), min_size=1, max_size=12), st.booleans())
@settings(max_examples=8, deadline=None)
def test_no_sequence_of_actions_breaks_an_environment(
    form: str, seed: int, allowed: list[bool], restarts: bool
) -> None:
    """Random actions, possible ones at times and any at others; also after the end of an episode."""
    world = made(form, 2)
    generator, shape = torch.Generator().manual_seed(seed), (2, world.num_agents)
    world.reset(seed)
    for careful in allowed:
        possible = world.available() if careful else world.actions.available(world.device)
        zeros = torch.zeros(*shape, world.actions.parameters)
        parameters = world.actions.masked(zeros, None if possible is None else possible.expand_as(zeros))
        noise = world.actions.noise(shape, generator, world.device)
        step = world.step(world.actions.executed(world.actions.choose(parameters, noise)), auto_reset=restarts)
        assert bool(step.reward.isfinite().all())
        assert bool(step.observation.isfinite().all())
        if world.layout.kind == "dense":
            inside = (step.observation >= world.layout.low) & (step.observation <= world.layout.high)
            assert bool(inside[: 2 if restarts else 0].all())
    assert world.render(0, "ansi")
    assert world.render(1, "rgb_array").ndim == 3
