"""Routes in a relay network: shortest paths, their delays in closed form, and distance vectors over messages.

The scripts read the world's state for speed, but decide only by what a node would know: at random without messages, and
with distance vectors by what neighbors advertise.
"""

from __future__ import annotations

import torch
from torch import Tensor

from envs.relay.relay import Relay

UNKNOWN = 1e6  # distance, in transmissions, of a node that knows no way to the sink


def at_random(world: Relay, generator: torch.Generator) -> Tensor:
    """[B, N] int64, each node sends over one of its links at random."""
    shape = (world.num_worlds, *world.edge.shape)
    key = torch.rand(shape, generator=generator, device=world.device).masked_fill(world.edge < 0, -1.0)
    return key.argmax(2)


def distances(world: Relay, hops: bool = False) -> Tensor:
    """[B, N], expected number of transmissions to the sink over the best route, or the number of hops."""
    known = advertised(world)
    for _ in range(world.num_agents - 1):
        known = _better(world, known, hops)
    return known


def advertised(world: Relay) -> Tensor:
    """[B, N], what nodes know of their distance before any message: 0 at the sink."""
    node = torch.arange(world.num_agents, device=world.device)
    return torch.where(node == world.state["sink"].unsqueeze(1), 0.0, UNKNOWN)


def lengths(world: Relay, hops: bool = False) -> Tensor:
    """[B, N, S], expected number of transmissions over each link, or 1; ``UNKNOWN`` where there is none."""
    chances = world.chances
    cost = torch.ones_like(chances) if hops else 1 / chances.clamp_min(1e-6)
    return cost.masked_fill(world.edge < 0, UNKNOWN)


def _better(world: Relay, known: Tensor, hops: bool = False, heard: Tensor | None = None) -> Tensor:
    """[B, N], distances after one exchange of what nodes know."""
    via = lengths(world, hops) + _of_neighbors(world, known, heard)
    return torch.minimum(known, via.amin(2))


def _of_neighbors(world: Relay, known: Tensor, heard: Tensor | None) -> Tensor:
    """[B, N, S], what nodes hear from each neighbor; ``UNKNOWN`` from those that they do not hear."""
    told = known[:, world.neighbor]
    if heard is None:
        return told
    slots = world.neighbor.expand(world.num_worlds, -1, -1)
    return told.masked_fill(~heard.gather(2, slots), UNKNOWN)


def shortest(world: Relay, hops: bool = False) -> Tensor:
    """[B, N] int64, each node sends over the first link of the best route."""
    return (lengths(world, hops) + distances(world, hops)[:, world.neighbor]).argmin(2)


class DistanceVectors:
    """Nodes that route by the distances that their neighbors advertise, heard so far in the episode.

    Args:
        world: The worlds, at the start of their episodes.
        liars: Nodes that advertise distance 0 and hold what they get: sinkholes.
    """

    def __init__(self, world: Relay, liars: tuple[int, ...] = ()) -> None:
        self.world = world
        self.known = advertised(world)
        self.told = torch.full_like(world.chances, UNKNOWN)  # last heard over each link
        self.liars = list(liars)

    def act(self, heard: Tensor | None = None) -> Tensor:
        """[B, N] int64, actions after one exchange.

        Args:
            heard: [B, N, N] bool, whether receiver i heard sender j; all when not given.
        """
        said = self.known.clone()
        said[:, self.liars] = 0.0
        now = _of_neighbors(self.world, said, heard)
        self.told = torch.where(now < UNKNOWN, now, self.told)
        via = lengths(self.world) + self.told
        sink = self.world.state["sink"].unsqueeze(1)
        self.known = via.amin(2).clamp_max(UNKNOWN).scatter(1, sink, 0.0)
        choice = torch.where(via.amin(2) < UNKNOWN, via.argmin(2), self.world.slots)
        choice[:, self.liars] = self.world.slots
        return choice


def delays(world: Relay, choice: Tensor) -> Tensor:
    """[B, N], mean steps until each node's packet is delivered, truncated at ``max_steps``, for fixed choices.

    Args:
        world: The worlds.
        choice: [B, N] int64, the link of each node.
    """
    slot = choice.unsqueeze(2)
    chance = world.chances.gather(2, slot).squeeze(2)
    beyond = world.neighbor.expand(len(choice), -1, -1).gather(2, slot)
    node = torch.arange(world.num_agents, device=world.device)
    sink = node == world.state["sink"].unsqueeze(1)
    move = torch.diag_embed(1 - chance).scatter_add(2, beyond, chance.unsqueeze(2))
    move = move.masked_fill(sink.unsqueeze(2), 0.0) + torch.diag_embed(sink.float())
    late, total = (~sink).float(), torch.zeros_like(chance)  # chance that a packet at a node is not delivered yet
    for _ in range(world.max_steps):
        total = total + late
        late = (move @ late.unsqueeze(2)).squeeze(2)
    return total
