"""The graph of a relay network: which nodes have a link, and where they are."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Literal

import torch
from torch import Tensor

Layout = Literal["grid", "geometric"]


@dataclass(frozen=True)
class Network:
    """Nodes and links; each node numbers its links from 0.

    Attributes:
        neighbor: [N, S] int64, the node at the other end of each of a node's links; the node itself if there is none.
        edge: [N, S] int64, number of the link among all links, the same from both ends; -1 if there is none.
        place: [N, 2] float32, row and column of each node, in 0 .. 1.
        names: Of the S links of a node.
    """

    neighbor: Tensor
    edge: Tensor
    place: Tensor
    names: tuple[str, ...]

    @property
    def edges(self) -> int:
        """Number of links."""
        return int(self.edge.max()) + 1


def grid(members: int) -> Network:
    """A square grid, row by row, whose last row may be shorter: the same as in the channel ``relay``."""
    columns = ceil(members**0.5)
    node = torch.arange(members)
    row, column = node // columns, node % columns
    neighbor = torch.stack([node - columns, node + 1, node + columns, node - 1], 1)
    inside = (neighbor >= 0) & (neighbor < members)
    inside[:, 1] &= column < columns - 1
    inside[:, 3] &= column > 0
    place = torch.stack([row, column], 1).float() / max(columns - 1, 1)
    return _numbered(torch.where(inside, neighbor, node.unsqueeze(1)), place, ("up", "right", "down", "left"))


def geometric(members: int, wiring: int) -> Network:
    """A random geometric graph: nodes uniform in the unit square, linked up to the least distance that connects all."""
    place = torch.rand(members, 2, generator=torch.Generator().manual_seed(wiring))
    apart = torch.cdist(place, place)
    # The longest link of the minimum spanning tree is the least distance: minimax paths, by repeated squaring.
    reach = apart.clone()
    for _ in range(members.bit_length()):
        reach = torch.maximum(reach.unsqueeze(2), reach.unsqueeze(0)).amin(1)
    linked = (apart <= reach.max() + 1e-6).fill_diagonal_(False)
    slots = int(linked.sum(1).max())
    order = torch.where(linked, apart, torch.inf).argsort(1)[:, :slots]
    node = torch.arange(members).unsqueeze(1)
    neighbor = torch.where(linked.gather(1, order), order, node)
    return _numbered(neighbor, place, tuple(f"link_{slot}" for slot in range(slots)))


def _numbered(neighbor: Tensor, place: Tensor, names: tuple[str, ...]) -> Network:
    """The network with its links numbered."""
    node = torch.arange(len(neighbor)).unsqueeze(1)
    code = torch.minimum(neighbor, node) * len(neighbor) + torch.maximum(neighbor, node)
    codes: Tensor = torch.unique(code[neighbor != node])
    edge = torch.searchsorted(codes, code).masked_fill(neighbor == node, -1)
    return Network(neighbor, edge, place, names)


def network(layout: Layout, members: int, wiring: int) -> Network:
    """The network of a layout."""
    return grid(members) if layout == "grid" else geometric(members, wiring)
