"""Observations of agents on a grid: the reference tasks' dense layout, and a compact one of the same information.

Shapes: B worlds, N agents, S = size of the grid, W = (2 * vision + 1)^2 cells of an agent's window.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from agentcomm.contracts.world import Observation

OUTSIDE, PREY = 1, 2  # class entries of a window cell; those of agents depend on their kind
CLASSES = 4


class Sight:
    """Observations of all agents, looked up in tables.

    *dense* [B, N, W * (S^2 + 4)] float32: for each window cell, row by row, the one-hot code of its position (all zero
    outside the grid) and four class entries, which count agents and prey in the cell and mark cells outside the grid.
    Every class entry of a blind agent is -1. This is the layout of IC3Net's Predator-Prey and of HetNet's
    Predator-Capture-Prey.

    *indices* [B, N, N + 1] int64: the agent's own cell; the prey's window cell (or, for a blind agent, "blind"); each
    other agent's window cell; -1 if out of sight. The vocabulary is S^2 cells, then W window cells for the prey and W
    for each kind of agent, then "blind".

    How an agent sees another depends only on the offset between the two, so both layouts take one lookup per pair.

    Attributes:
        readings: [N, N + 1, vocabulary + 1] bool, see :meth:`agentcomm.contracts.world.World.readings`; None if dense.
    """

    def __init__(
        self,
        size: int,
        vision: int,
        codes: Sequence[int],
        blind: Sequence[bool],
        kind: Literal["dense", "indices"],
        device: torch.device,
    ) -> None:
        self._num_agents = n = len(codes)
        self._device = device
        cells, window_cells = size**2, (2 * vision + 1) ** 2
        self._cell_width = cells + CLASSES
        kinds = sorted(set(codes))
        if kind == "dense":
            self.layout = Observation("dense", window_cells * self._cell_width, low=-float(any(blind)), high=n)
        else:
            vocabulary = cells + window_cells * (1 + len(kinds)) + any(blind)
            self.layout = Observation("indices", n + 1, vocabulary, grids=((0, size, size),))

        # With row-major codes of stride 2S, the difference of two codes identifies the offset (rows, columns).
        cell, stride = torch.arange(cells), 2 * size
        self._code = (cell // size * stride + cell % size).to(device)
        middle = (size - 1) * (stride + 1)
        offset = torch.arange(2 * middle + 1)
        rows, columns = offset // stride - (size - 1), offset % stride - (size - 1)
        near = (rows.abs() <= vision) & (columns.abs() <= vision)
        window = (rows + vision) * (2 * vision + 1) + columns + vision

        def shown(code: int) -> Tensor:
            """Position in the observation at which a class is shown, by offset; -1 out of sight."""
            if kind == "dense":
                return torch.where(near, window * self._cell_width + cells + code, -1)
            return torch.where(near, cells + window_cells * ([PREY, *kinds].index(code)) + window, -1)

        nothing = torch.full_like(offset, -1)
        prey_if_blind = nothing if kind == "dense" else torch.full_like(offset, self.layout.vocabulary - 1)
        tables = [shown(PREY), *(shown(code) for code in kinds), prey_if_blind, nothing]
        self._table = torch.cat(tables).to(device)

        # Each agent looks at the prey (thing 0) and at the other agents (things 1 .. N without itself).
        things = [[0, *(1 + j for j in range(n) if j != i)] for i in range(n)]
        table = [
            [len(kinds) + 1, *[len(kinds) + 2] * (n - 1)]
            if blind[i]
            else [0, *(1 + kinds.index(codes[j]) for j in range(n) if j != i)]
            for i in range(n)
        ]
        self._things = torch.tensor(things, device=device).flatten()
        self._start = torch.tensor(table, device=device) * len(offset) + middle
        self.readings: Tensor | None = None
        if kind == "indices":
            shows = torch.zeros(n, n + 1, self.layout.vocabulary + 1, dtype=torch.bool)
            shows[:, 0, 1 : cells + 1] = True
            seen = torch.cat(tables).view(-1, len(offset))[torch.tensor(table)]  # [N, N, offsets]
            shows[:, 1:].scatter_(2, seen + 1, True)
            self.readings = shows.to(device)
        self._background: Tensor | None = None
        if kind == "dense":
            self._background = _backgrounds(size, vision, codes, blind).to(device)
            self._first_row = torch.arange(n, device=device) * cells

    def look(self, cells: Tensor, prey: Tensor, alive: Tensor | None = None) -> Tensor:
        """Observations of agents at [B, N] cells with the prey at [B, 1].

        Agents that have left (``alive`` [B, N] is False) are not seen; their own observations are 0, or -1 for indices.
        """
        n = self._num_agents
        code = self._code[torch.cat([prey, cells], dim=1)]
        seen = code.index_select(1, self._things).view(-1, n, n) - code[:, 1:].unsqueeze(2) + self._start
        place = torch.take(self._table, seen)
        if alive is not None:
            visible = torch.nn.functional.pad(alive, (1, 0), value=True).index_select(1, self._things).view(-1, n, n)
            place = place.masked_fill(~(visible & alive.unsqueeze(2)), -1)
        if self._background is None:
            own = cells if alive is None else cells.masked_fill(~alive, -1)
            return torch.cat([own.unsqueeze(2), place], dim=2)
        rows = self._background.index_select(0, (cells + self._first_row).flatten())
        place = place.view(-1, n)
        rows.scatter_add_(1, place.clamp_min(0), (place >= 0).to(rows.dtype))
        if alive is not None:
            rows *= alive.view(-1, 1)
        return rows.view(-1, n, self.layout.width)


def _backgrounds(size: int, vision: int, codes: Sequence[int], blind: Sequence[bool]) -> Tensor:
    """[N * S^2, W * (S^2 + 4)], dense observations of each agent at each cell, with nothing else in sight."""
    cell = torch.arange(size**2)
    reach = torch.arange(-vision, vision + 1)
    row = (cell // size).view(-1, 1, 1) + reach.view(1, -1, 1)
    column = (cell % size).view(-1, 1, 1) + reach.view(1, 1, -1)
    inside = (row >= 0) & (row < size) & (column >= 0) & (column < size)
    outside_entry = size**2 + OUTSIDE
    entry = torch.where(inside, row * size + column, outside_entry).flatten(1)
    sighted = torch.nn.functional.one_hot(entry, size**2 + CLASSES).float()
    rows = []
    for code, cannot_see in zip(codes, blind, strict=True):
        view = sighted.clone()
        if cannot_see:
            view[:, :, size**2 :] = -1.0
        else:
            view[:, entry.shape[1] // 2, size**2 + code] += 1.0
        rows.append(view.flatten(1))
    return torch.cat(rows)
