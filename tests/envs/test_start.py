"""Episodes may start in a random square of the grid; nothing else differs."""

from __future__ import annotations

import pytest
import torch
from grids import make
from hypothesis import given, settings
from hypothesis import strategies as st

from agentcomm.base.errors import ConfigError


@given(st.integers(3, 8), st.integers(2, 8), st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_agents_and_prey_start_in_a_square_on_distinct_cells(size: int, start: int, seed: int) -> None:
    start = min(start, size)
    world = make("predator_prey", 64, size=size, start=start, predators=3, observation="indices")
    observation = world.reset(seed)
    cells = torch.cat([world.state["cells"], world.state["prey"]], 1)
    for line in (cells // size, cells % size):
        assert int(line.min()) >= 0
        assert int(line.max()) < size
        assert int((line.amax(1) - line.amin(1)).max()) < start
    assert all(len(set(row)) == 4 for row in cells.tolist())
    assert torch.equal(observation[:, :, 0], world.state["cells"]), "codes of cells are those of the whole grid"


def test_squares_are_anywhere_and_agents_may_leave_them() -> None:
    world = make("predator_prey", 512, size=6, start=2, predators=2, max_steps=9)
    world.reset(0)
    assert set(world.state["cells"].flatten().tolist()) == set(range(36))
    for _ in range(5):
        world.step(torch.zeros(512, 2, dtype=torch.int64))  # up
    moving = (world.state["cells"] != world.state["prey"]).all(1)
    assert bool((world.state["cells"][moving] < 6).all())


def test_the_whole_grid_is_the_default_and_draws_the_same_cells() -> None:
    ours, whole = make("predator_prey", 8, size=5, start=5), make("predator_prey", 8, size=5)
    ours.reset(3)
    whole.reset(3)
    assert torch.equal(ours.state["cells"], whole.state["cells"])


def test_a_square_that_is_too_large_or_too_small_is_refused() -> None:
    with pytest.raises(ConfigError, match="start=7 is larger than the grid of size=6"):
        make("predator_prey", size=6, start=7)
    with pytest.raises(ConfigError, match="4 agents and a prey need distinct cells; start=2 has 4"):
        make("predator_prey", size=6, start=2, predators=4)
