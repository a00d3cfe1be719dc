"""Relay: nodes of a network must route packets over lossy links to a sink whose place they do not know.

Each node is an agent and starts with a packet of its own. In each step every node chooses one of its links and sends
all packets that it holds over it in one burst; with the link's chance of delivery they arrive at the next node,
otherwise they stay and have to be sent again. A packet that arrives at the sink is delivered. In each episode another
node, drawn uniformly, is the sink, and each link is a poor one with probability ``poor``; a node observes its own links
only, and the sink alone that it is the sink. What is farther away it must learn from messages: these are routing
advertisements, so that jammed or late messages cost detours, and a node that lies about its way to the sink becomes a
sinkhole.

| | |
|---|---|
| agents | ``node_0`` .. |
| actions | one per link (on the grid up, right, down, left), and hold; links that do not exist: hold |
| observation | own number; whether it is the sink; of each link, whether it is poor; packets held (0, 1, more) |
| reward | -``cost`` for each step in which the node's own packet is not delivered yet |
| success | all packets are delivered |
| end | when all are delivered; truncated after ``max_steps`` steps |

| argument | default | |
|---|---|---|
| ``members`` | 9 | number of nodes |
| ``layout`` | grid | a square grid, row by row; or geometric, a random geometric graph drawn per team (``wiring``) |
| ``good``, ``bad`` | 0.95, 0.3 | chance of delivery of good and poor links, in both directions |
| ``poor`` | 0.4 | chance that a link is a poor one |
| ``cost`` | 0.05 | reward that a step costs |
| ``max_steps`` | 20 | |

Known answers: bursts do not get into each other's way, so the best route of each packet is the shortest path under the
expected number of transmissions, 1 / p per link (ETX; De Couto et al., MobiCom 2003):
D_i = min_j (1 / p_ij + D_j), with D = 0 at the sink (:func:`envs.relay.scripted.distances`). Without truncation the
return of node i is -``cost`` D_i; :func:`envs.relay.scripted.delays` is exact with it. For default arguments the mean
return is -0.147 for shortest paths, -0.175 for the fewest hops, -0.191 for distance vectors that spread by one hop per
step, and -0.53 at random (``tests/envs/test_relay.py``).

Messages between neighbors only: the channel ``relay`` with ``layout=grid, limit=1, seconds=0``.

Versions: 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from agentcomm.contracts.world import DrawnMessage, Transition, World
from agentcomm.pettingzoo.view import ParallelView, view
from envs.canvas import AGENT, GOAL, QUIET, Mark, draw
from envs.gridworld.drawing import CELL, LINE
from envs.relay.graph import Layout, network
from envs.symbols import (
    Members,
    WiredConfig,
    arranged,
    check_keys,
    check_mode,
    draw_text,
    layout,
    read_numbers,
    readings,
)

MOST = 2  # packets held, as observed: so many or more


class RelayConfig(WiredConfig):
    """Arguments of Relay."""

    members: Members = 9
    layout: Layout = Field("grid", description="the network: a square grid, or a random geometric graph")
    good: float = Field(0.95, gt=0, le=1, description="chance that a good link delivers, per step")
    bad: float = Field(0.3, gt=0, le=1, description="chance that a poor link delivers, per step")
    poor: float = Field(0.4, ge=0, le=1, description="chance that a link is a poor one")
    cost: float = Field(0.05, gt=0, description="what a step costs whose packet is not delivered, in units of reward")
    max_steps: int = Field(20, ge=1, description="steps of an episode")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.bad > self.good:
            raise ValueError(f"bad={self.bad} must be at most good={self.good}")
        return self


class Relay(World[RelayConfig]):
    """B copies of Relay.

    State: ``sink`` [B] int64; ``poor`` [B, E] bool, of all links; ``at`` [B, N] int64, the node that holds each
    packet; ``sent`` [B, N] int64, the link over which each node last sent, -1 before the first step and if it held.

    Attributes:
        network: The nodes and links.
    """

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """A small grid, whose last row is shorter, and a random geometric graph."""
        return {"": {"members": 5}, "geometric": {"members": 6, "layout": "geometric"}}

    def __init__(self, config: RelayConfig, num_worlds: int = 1, device: str | torch.device = "cpu") -> None:
        super().__init__(config, num_worlds, device)
        n = config.members
        self.network = network(config.layout, n, config.wiring or 0)
        self.neighbor, self.edge = self.network.neighbor.to(self.device), self.network.edge.to(self.device)
        self.slots = self.edge.shape[1]
        self.agents = tuple(f"node_{number}" for number in range(n))
        self.action_names = (*self.network.names, "hold")
        # Codes of the own number, of being the sink, of each link (good, poor), and of packets held.
        self._entries = [range(n), range(n, n + 1)]
        for width in (*(2,) * self.slots, MOST + 1):
            first = self._entries[-1].stop
            self._entries.append(range(first, first + width))
        self.layout = layout(config.observation, len(self._entries), self._entries[-1].stop)
        node = torch.arange(n, device=self.device).repeat(num_worlds, 1)
        self.state = {
            "sink": node[:, 0].clone(),
            "poor": torch.zeros(num_worlds, self.network.edges, dtype=torch.bool, device=self.device),
            "at": node.clone(),
            "sent": torch.full_like(node, -1),
        }

    @property
    def delivered(self) -> Tensor:
        """[B, N] bool, packets at the sink."""
        return self.state["at"] == self.state["sink"].unsqueeze(1)

    @property
    def held(self) -> Tensor:
        """[B, N] int64, number of packets that each node holds and has to forward."""
        held = torch.zeros_like(self.state["at"])
        return held.scatter_add_(1, self.state["at"], (~self.delivered).long())

    @property
    def chances(self) -> Tensor:
        """[B, N, S] float32, chance of delivery of each node's links; 0 where there is none."""
        poor = self.state["poor"][:, self.edge.clamp_min(0)]
        return torch.where(poor, self.config.bad, self.config.good) * (self.edge >= 0)

    def begin(self, worlds: Tensor, generator: torch.Generator, scene: Mapping[str, Any] | None = None) -> None:
        """Draw the sink and the links, or use those of the scene.

        Args:
            worlds: [W] int64 indices.
            generator: Source of all randomness.
            scene: ``{"sink": node, "poor": [[node, node], ...]}``, the links that are poor.

        Raises:
            ValueError: If a key is missing or unknown, a node is unknown, or there is no such link.
        """
        if scene is None:
            sink = torch.randint(self.num_agents, worlds.shape, generator=generator, device=self.device)
            shape = (len(worlds), self.network.edges)
            poor = torch.rand(shape, generator=generator, device=self.device) < self.config.poor
        else:
            sink, poor = self._read(scene)
        self.state["sink"][worlds] = sink
        self.state["poor"][worlds] = poor
        self.state["at"][worlds] = torch.arange(self.num_agents, device=self.device)
        self.state["sent"][worlds] = -1

    def _read(self, scene: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        check_keys(scene, ("sink", "poor"))
        sink = read_numbers({"sink": [scene["sink"]]}, "sink", 1, self.num_agents, "nodes")[0].to(self.device)
        poor = torch.zeros(self.network.edges, dtype=torch.bool, device=self.device)
        given = scene["poor"]
        ends = self._ends()
        for link in given if isinstance(given, list) else [given]:
            pair = tuple(sorted(link)) if isinstance(link, list | tuple) and len(link) == 2 else None
            if pair not in ends:
                raise ValueError(f"scene: 'poor' must be a list of links [node, node], not {link!r}")
            poor[ends[pair]] = True
        return sink, poor

    def _ends(self) -> dict[tuple[int, int], int]:
        """The numbers of all links by their nodes."""
        rows = zip(self.network.neighbor.tolist(), self.network.edge.tolist(), strict=True)
        return {
            (node, other): edge
            for node, (others, edges) in enumerate(rows)
            for other, edge in zip(others, edges, strict=True)
            if edge >= 0 and node < other
        }

    def advance(self, actions: Tensor, generator: torch.Generator) -> Transition:
        """Nodes send all that they hold over the chosen link."""
        late = ~self.delivered
        slot = actions.clamp_max(self.slots - 1).unsqueeze(2)
        luck = torch.rand(actions.shape, generator=generator, device=self.device)
        arrives = (luck < self.chances.gather(2, slot).squeeze(2)) & (actions < self.slots)
        beyond = self.neighbor.expand(self.num_worlds, -1, -1).gather(2, slot).squeeze(2)
        node = torch.arange(self.num_agents, device=self.device)
        target = torch.where(arrives, beyond, node)
        at, active = self.state["at"], self.held > 0
        self.state["at"] = torch.where(late, target.gather(1, at), at)
        self.state["sent"] = torch.where(active & (actions < self.slots), actions, -1)
        return Transition(reward=-self.config.cost * late, terminated=self.success(), active=active)

    def observe(self, worlds: Tensor | None = None) -> Tensor:
        """[B, N, S + 3] int64 codes: number, sink, links (good or poor) and packets held; or their one-hot codes."""
        chosen = self._all if worlds is None else worlds
        node = torch.arange(self.num_agents, device=self.device).expand(len(chosen), -1)
        is_sink = node == self.state["sink"][chosen].unsqueeze(1)
        first = torch.tensor([entry.start for entry in self._entries], device=self.device)
        poor = self.state["poor"][chosen][:, self.edge.clamp_min(0)].long()
        links = torch.where(self.edge >= 0, first[2:-1] + poor, -1)
        held = first[-1] + self.held[chosen].clamp_max(MOST)
        own = torch.stack([node, torch.where(is_sink, first[1], -1)], 2)
        return arranged(torch.cat([own, links, held.unsqueeze(2)], 2), self.layout)

    def readings(self) -> Tensor | None:
        """The own number, the sink or not, the links that a node has, and packets held."""
        number, sink, *links, held = self._entries
        shown = readings(self, number, (-1, *sink), *((-1, *link) for link in links), held)
        if shown is not None:
            code = torch.arange(-1, self.layout.vocabulary, device=self.device)
            node = torch.arange(self.num_agents, device=self.device)
            shown[:, 0] &= code == node.unsqueeze(1)
            shown[:, 2:-1] &= (code >= 0) == (self.edge >= 0).unsqueeze(2)
        return shown

    def success(self) -> Tensor:
        """[B] bool, all packets are delivered."""
        return self.delivered.all(1)

    def facts(self) -> dict[str, Tensor]:
        """Roles, whether a node is the sink, and packets held."""
        node = torch.arange(self.num_agents, device=self.device)
        sink = (node == self.state["sink"].unsqueeze(1)).long()
        return super().facts() | {"sink": sink, "held": self.held.clamp_max(MOST)}

    def scene(self, world: int) -> dict[str, Any]:
        """The sink, the poor links, where each packet is, and over which link each node last sent (-1 for none)."""
        poor = self.state["poor"][world].tolist()
        links = [list(pair) for pair, edge in self._ends().items() if poor[edge]]
        found = {name: self.state[name][world].tolist() for name in ("sink", "at", "sent")}
        return found | {"poor": links}

    def render(self, world: int, mode: Literal["ansi", "rgb_array"], links: list[DrawnMessage] | None = None) -> Any:
        """Draw one world as text, or as an [H, W, 3] image of the network, with poor links in light gray.

        The sink is a diamond, nodes that hold packets are large discs, and others small ones.

        Raises:
            ValueError: If the mode is unknown.
        """
        check_mode(mode)
        scene, held = self.scene(world), self.held[world].tolist()
        if mode == "ansi":
            lines = [f"{self.agents[scene['sink']]} is the sink; poor links: {scene['poor']}"]
            for agent, count, slot in zip(self.agents, held, scene["sent"], strict=True):
                lines.append(f"{agent} holds {count}" + (f", sent {self.action_names[slot]}" if slot >= 0 else ""))
            return draw_text(lines, self.agents, links)
        side = 2 * CELL * max(round(self.num_agents**0.5), 2)
        spots = [np.array(place) for place in ((0.1 + 0.8 * self.network.place.double()) * side).tolist()]
        poor = self.state["poor"][world].tolist()
        edges = [(spots[a], spots[b], LINE if poor[edge] else (36, 41, 47)) for (a, b), edge in self._ends().items()]
        marks = [
            Mark(spot, 12 if count else 7, AGENT if count else QUIET) for spot, count in zip(spots, held, strict=True)
        ]
        marks.append(Mark(spots[scene["sink"]], 16, GOAL, "diamond"))
        return draw(side, side, marks, spots, links, edges)


def parallel_env(**arguments: Any) -> ParallelView:
    """One Relay world for PettingZoo; arguments: those of its config, and ``render_mode``."""
    return view("relay", **arguments)
