"""Cells of a grid are embedded by row and column, and policies without it are as they were."""

from __future__ import annotations

import pytest
import torch
from builders import team

from agentcomm.base.errors import ConfigError
from agentcomm.contracts.world import Observation
from policies.parts.token_encoder import TokenEncoder

# Five codes before and one behind a grid of 3 x 4 cells.
LAYOUT = Observation("indices", 3, 18, grids=((5, 3, 4),))


def test_the_token_of_a_cell_is_that_of_its_row_and_column() -> None:
    encoder = TokenEncoder(LAYOUT, 2, 8, by_grid=True)
    assert encoder.linear.weight.shape == (8, 3 + 4 + 6)
    rows, columns, others = encoder.linear.weight.T.split((3, 4, 6))
    observation = torch.tensor([[[5 + 2 * 4 + 1, 4, -1], [17, -1, 5]]])
    sums = torch.stack([rows[2] + columns[1] + others[4], others[5] + rows[0] + columns[0]])
    expected = torch.nn.functional.layer_norm(torch.nn.functional.gelu(sums + encoder.agent), (8,))
    torch.testing.assert_close(encoder(observation)[0], expected)


def test_codes_outside_of_grids_and_policies_without_it_stay_as_they_are() -> None:
    torch.manual_seed(0)
    plain = TokenEncoder(Observation("indices", 3, 18), 2, 8)
    torch.manual_seed(0)
    declared = TokenEncoder(LAYOUT, 2, 8)
    observation = torch.randint(-1, 18, (4, 2, 3))
    assert plain.state_dict().keys() == declared.state_dict().keys() == {"linear.weight", "agent"}
    assert torch.equal(plain(observation), declared(observation))


def test_grid_worlds_declare_their_cells() -> None:
    world, policy = team(3, world={"observation": "indices"}, grid_embedding=True)
    assert world.layout.grids == ((0, 4, 4),)
    assert policy.encode(world.reset(0)).shape == (3, world.num_agents, 16)
    with pytest.raises(ConfigError, match=r"grid_embedding=true needs .* observation=indices"):
        team(3, grid_embedding=True)
