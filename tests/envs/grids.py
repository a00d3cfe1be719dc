"""Grid worlds for tests: of any arguments, and their observations rebuilt from what the indices say."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from agentcomm.base.registry import build_config, find
from envs.gridworld.grid import GridWorld


def make(name: str, num_worlds: int = 1, **arguments: Any) -> GridWorld:
    world = find("environment", name)(build_config("environment", name, arguments), num_worlds)
    assert isinstance(world, GridWorld)
    return world


@st.composite
def worlds(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    arguments: dict[str, Any] = {
        "size": draw(st.integers(3, 8)),
        "vision": draw(st.integers(0, 3)),
        "max_steps": draw(st.integers(1, 12)),
    }
    if draw(st.booleans()):
        arguments |= {
            "predators": draw(st.integers(1, 5)),
            "mode": draw(st.sampled_from(["mixed", "cooperative", "competitive"])),
        }
        return "predator_prey", arguments
    arguments |= {
        "perception_agents": draw(st.integers(1, 3)),
        "capture_agents": draw(st.integers(1, 3)),
        "reward_scheme": draw(st.sampled_from(["single", "split"])),
    }
    return "predator_capture_prey", arguments


def actions_of(world: GridWorld, generator: torch.Generator) -> torch.Tensor:
    return torch.randint(world.num_actions, (world.num_worlds, world.num_agents), generator=generator)


def reconstruct(world: GridWorld, indices: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Dense observations, rebuilt from index observations and the grid's size and vision alone."""
    size, vision = world.size, world.vision
    span, cells = 2 * vision + 1, world.size**2
    codes = sorted({kind.code for kind in world.team})
    blind_index = world.layout.vocabulary - 1 if any(kind.blind for kind in world.team) else None
    dense = np.zeros((*indices.shape[:2], span**2, cells + 4), np.float32)
    for (b, i), view in np.ndenumerate(np.empty(indices.shape[:2])):
        del view
        own, *things = indices[b, i].tolist()
        for k in range(span**2):
            row, column = own // size + k // span - vision, own % size + k % span - vision
            inside = 0 <= row < size and 0 <= column < size
            dense[b, i, k, row * size + column if inside else cells + 1] = 1
        if blind_index in things:
            dense[b, i, :, cells:] = -1
            continue
        dense[b, i, span**2 // 2, cells + world.team[i].code] += 1
        for thing in things:
            if thing >= 0:
                which, k = divmod(thing - cells, span**2)
                dense[b, i, k, cells + [2, *codes][which]] += 1
    return dense.reshape(*indices.shape[:2], span**2 * (cells + 4))
