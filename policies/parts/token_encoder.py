"""The encoder of observations to tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from agentcomm.base.errors import ConfigError
from agentcomm.contracts.world import Observation


class TokenEncoder(nn.Module):
    """Encodes an observation as a token x = LN(GELU(W o + agent embedding)) of length sqrt(D).

    Index observations stand for the sum of their one-hot codes, which is computed here before the product: on a CPU
    this is faster than an embedding bag, whose backward pass sorts. With ``by_grid``, codes that number the cells of a
    grid are replaced by two, of their row and their column, so that what is learned in one cell holds for others.

    Args:
        layout: The observations.
        num_agents: N.
        width: D.
        by_grid: Whether to replace the codes of cells by those of rows and columns.

    Attributes:
        identity: [N] int64, agent of the trained team whose embedding each agent has.

    Raises:
        ConfigError: If ``by_grid`` is asked for and the layout has no grids.
    """

    identity: Tensor
    codes: Tensor

    def __init__(self, layout: Observation, num_agents: int, width: int, by_grid: bool = False) -> None:
        super().__init__()
        self.layout = layout
        self.width = width
        if by_grid and not layout.grids:
            raise ConfigError(
                "grid_embedding=true needs an environment that observes cells of a grid as indices; give the"
                " environment observation=indices, or leave grid_embedding out"
            )
        self.inputs = layout.vocabulary or layout.width
        if layout.kind == "indices":
            codes = _by_grid(layout) if by_grid else torch.arange(-1, layout.vocabulary).unsqueeze(1)
            self.inputs = int(codes.max()) + 1
            self.register_buffer("codes", codes, persistent=False)
        self.linear = nn.Linear(self.inputs, width, bias=False)
        if layout.kind == "indices":
            nn.init.normal_(self.linear.weight, std=layout.width**-0.5)
        else:
            nn.init.orthogonal_(self.linear.weight)
        self.agent = nn.Parameter(0.5 * torch.randn(num_agents, width))
        self.register_buffer("identity", torch.arange(num_agents), persistent=False)

    def forward(self, observation: Tensor) -> Tensor:
        """Observations [B, N, O] -> tokens [B, N, D]."""
        if self.layout.kind == "indices":
            given = observation if self.codes.shape[1] == 1 else self.codes[observation + 1].flatten(2)
            none = self.agent.new_zeros(*observation.shape[:-1], self.inputs)
            # Unused entries (-1) add nothing to the first code.
            observation = none.scatter_add(-1, given.clamp_min(0), (given >= 0).to(none.dtype))
        hidden = nn.functional.gelu(self.linear(observation) + self.agent[self.identity])
        return nn.functional.layer_norm(hidden, (self.width,))


def _by_grid(layout: Observation) -> Tensor:
    """[vocabulary + 1, 2], inputs that stand for each code, from -1 on; -1 for none.

    A cell of a grid has one for its row and one for its column; other codes have one.
    """
    inputs = torch.full((layout.vocabulary + 1, 2), -1)
    others = torch.ones(layout.vocabulary, dtype=torch.bool)
    count = 0
    for first, rows, columns in layout.grids:
        cell = torch.arange(rows * columns)
        inputs[1 + first : 1 + first + len(cell), 0] = count + cell // columns
        inputs[1 + first : 1 + first + len(cell), 1] = count + rows + cell % columns
        others[first : first + len(cell)] = False
        count += rows + columns
    inputs[1:, 0][others] = count + torch.arange(int(others.sum()))
    return inputs
