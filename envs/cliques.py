"""Cliques: agents of hidden groups must name a bit of their group, of which each sees a noisy copy.

In each step every group has a fresh bit. Each of its agents sees that bit, flipped with probability ``error``, and must
name it: 1 for the right bit, 0 for the wrong one. No agent observes who is in its group, and only messages from there
help. Each link on which a message is sent costs its receiver ``price`` per step, in the rewards of training and
evaluation alike (the PettingZoo view, which knows no messages, leaves that out).

``members`` agents form as many groups of at least ``group`` agents as there can be, whose sizes differ by one at most:
5 + 5 + 6 of 16 agents, eight groups of 5 and four of 6 of 64. They are drawn with seed ``wiring``, by default the
training seed of the team. With ``copies`` they are drawn for ``members / copies`` agents, and agent i joins the group
of agent i modulo that number: a team of 64 can be evaluated as ``members=128, copies=2``, where agent i + 64 stands in
for agent i.

Known answers (:func:`expected`), if agents name the majority of their own bit and those heard from their group, a tie
being worth a half: the majority of n bits is right with probability Acc(n). Without messages Acc(1). In the right
graph, of k <= ``group`` - 1 links to the own group, Acc(1 + k). In the full graph Acc(size of the group), for those who
can tell who belongs to it. In a random graph of k links the mean of Acc(1 + r), with r hypergeometric.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import comb
from typing import Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from agentcomm.contracts.world import DrawnMessage, Transition, World
from agentcomm.pettingzoo.view import ParallelView, view
from envs.symbols import (
    Members,
    WiredConfig,
    arranged,
    check_keys,
    check_mode,
    draw_dots,
    draw_links,
    draw_text,
    layout,
    read_numbers,
    readings,
)


class CliquesConfig(WiredConfig):
    """Arguments of Cliques."""

    members: Members = 16
    group: int = Field(5, ge=2, description="size of the smallest groups")
    error: float = Field(0.2, ge=0, le=0.5, description="chance that an agent sees its group's bit flipped")
    price: float = Field(0.0, ge=0, description="what a link costs its receiver per step, in units of reward")
    copies: int = Field(1, ge=1, description="agents of each group per agent for whom the groups are drawn")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.members % self.copies:
            raise ValueError(f"copies={self.copies} does not divide members={self.members}")
        if self.group > self.members // self.copies:
            raise ValueError(f"group={self.group} is more than members / copies = {self.members // self.copies}")
        return self


class Cliques(World[CliquesConfig]):
    """B copies of Cliques.

    State: ``bits`` [B, G] int64, of the groups; ``seen`` [B, N] int64; ``named`` [B, N] int64 of the last step, -1
    before the first; ``flawless`` [B] bool, whether all agents were right in all steps.

    Attributes:
        group_of: [N] int64, the group of each agent: ground truth for evaluations, which no agent observes.
    """

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Groups of unequal size, and copies with priced links."""
        return {"": {"members": 7, "group": 3}, "copies": {"members": 8, "group": 2, "copies": 2, "price": 0.01}}

    def __init__(self, config: CliquesConfig, num_worlds: int = 1, device: str | torch.device = "cpu") -> None:
        super().__init__(config, num_worlds, device)
        self.agents = tuple(f"agent_{number}" for number in range(config.members))
        self.action_names = ("name_0", "name_1")
        self.layout = layout(config.observation, 1, 2)
        self.link_price = config.price
        self.group_of = groups(config).to(self.device)
        shape = (num_worlds, config.members)
        self.state = {
            "bits": torch.zeros(num_worlds, int(self.group_of.max()) + 1, dtype=torch.int64, device=self.device),
            "seen": torch.zeros(shape, dtype=torch.int64, device=self.device),
            "named": torch.full(shape, -1, device=self.device),
            "flawless": torch.ones(num_worlds, dtype=torch.bool, device=self.device),
        }

    def begin(self, worlds: Tensor, generator: torch.Generator, scene: Mapping[str, Any] | None = None) -> None:
        """Draw bits and what agents see of them, or use those of the scene.

        Args:
            worlds: [W] int64 indices.
            generator: Source of all randomness.
            scene: ``{"bits": [bit, ...], "seen": [bit, ...]}`` of the first step: of the groups, and of the agents.

        Raises:
            ValueError: If there is another key, or not exactly one bit per group and agent.
        """
        if scene is None:
            bits, seen = self._draw(len(worlds), generator)
        else:
            check_keys(scene, ("bits", "seen"))
            bits = read_numbers(scene, "bits", self.state["bits"].shape[1], 2, "bits").to(self.device)
            seen = read_numbers(scene, "seen", self.num_agents, 2, "bits").to(self.device)
        self.state["bits"][worlds] = bits
        self.state["seen"][worlds] = seen
        self.state["named"][worlds] = -1
        self.state["flawless"][worlds] = True

    def _draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Bits [count, G] of the groups, and what agents see of them [count, N]."""
        bits = torch.randint(2, (count, self.state["bits"].shape[1]), generator=generator, device=self.device)
        chance = torch.rand(count, self.num_agents, generator=generator, device=self.device)
        return bits, bits[:, self.group_of] ^ (chance < self.config.error).long()

    def advance(self, actions: Tensor, generator: torch.Generator) -> Transition:
        """Compare the named bits with those of the groups, then draw new ones."""
        right = actions == self.state["bits"][:, self.group_of]
        bits, seen = self._draw(self.num_worlds, generator)
        flawless = self.state["flawless"] & right.all(1)
        self.state |= {"bits": bits, "seen": seen, "named": actions.clone(), "flawless": flawless}
        never = torch.zeros(self.num_worlds, dtype=torch.bool, device=self.device)
        return Transition(reward=right.float(), terminated=never, active=torch.ones_like(right))

    def observe(self, worlds: Tensor | None = None) -> Tensor:
        """[B, N, 2] float32 one-hot bits, or [B, N, 1] int64 with ``observation="indices"``."""
        seen = self.state["seen"] if worlds is None else self.state["seen"][worlds]
        return arranged(seen.unsqueeze(2), self.layout).clone()

    def readings(self) -> Tensor | None:
        """The entry shows one of the two bits."""
        return readings(self, (0, 1))

    def success(self) -> Tensor:
        """[B] bool, all agents named the right bit in all steps of the episode."""
        return self.state["flawless"].clone()

    def facts(self) -> dict[str, Tensor]:
        """Roles, and the bit that each agent sees."""
        return super().facts() | {"seen": self.state["seen"].clone()}

    def scene(self, world: int) -> dict[str, Any]:
        """The bits of the groups, each agent's group, what it sees, and what it named last (-1 before the first)."""
        state = {name: self.state[name][world].tolist() for name in ("bits", "seen", "named")}
        return state | {"group": self.group_of.tolist()}

    def render(self, world: int, mode: Literal["ansi", "rgb_array"], links: list[DrawnMessage] | None = None) -> Any:
        """Draw one world as text, or the graph as a matrix of receivers (rows) and senders (columns).

        The image has a dot where both agents are of one group, on cells in the colors of the links' fates.

        Raises:
            ValueError: If the mode is unknown.
        """
        check_mode(mode)
        scene = self.scene(world)
        if mode == "rgb_array":
            same = self.group_of.unsqueeze(0) == self.group_of.unsqueeze(1)
            pairs = map(tuple, same.fill_diagonal_(False).nonzero().tolist())
            return draw_dots(draw_links(self.num_agents, links), dict.fromkeys(pairs, 0))
        lines = [f"group {group} has bit {bit}" for group, bit in enumerate(scene["bits"])]
        for agent, group, seen, named in zip(self.agents, scene["group"], scene["seen"], scene["named"], strict=True):
            line = f"{agent} of group {group} sees {seen}"
            lines.append(line + (", it has not named a bit" if named < 0 else f", it named {named} last"))
        return draw_text(lines, self.agents, links)


def groups(config: CliquesConfig) -> Tensor:
    """[N] int64, the group of each agent."""
    drawn = config.members // config.copies
    order = torch.randperm(drawn, generator=torch.Generator().manual_seed(config.wiring or 0))
    group_of = torch.empty_like(order)
    group_of[order] = torch.arange(drawn) % (drawn // config.group)
    return group_of.repeat(config.copies)


def own_bits(world: Cliques) -> Tensor:
    """[B, N] int64, actions of agents without messages: each names the bit that it sees."""
    return world.state["seen"].clone()


def majorities(world: Cliques, heard: Tensor) -> Tensor:
    """[B, N] int64, the majority of the own bit and those heard from the own group; in a tie, the own bit.

    Args:
        world: The worlds.
        heard: [B, N, N] bool or [N, N], whether receiver i heard sender j.
    """
    group = world.group_of.unsqueeze(0) == world.group_of.unsqueeze(1)
    vote = (2 * world.state["seen"] - 1).float()
    votes = ((heard & group).float() @ vote.unsqueeze(-1)).squeeze(-1) + 1.5 * vote
    return (votes > 0).long()


def right_graph(world: Cliques, links: int) -> Tensor:
    """[N, links] int64, senders of the own group for each receiver, in ascending order."""
    same = (world.group_of.unsqueeze(0) == world.group_of.unsqueeze(1)).fill_diagonal_(False)
    return same.float().topk(links, dim=1).indices.sort(1).values


def majority(voters: int, error: float) -> float:
    """Acc(n): probability that the majority of n bits, each flipped with probability ``error``, is right."""
    right = 1 - error
    chance = [comb(voters, k) * right**k * error ** (voters - k) for k in range(voters + 1)]
    return sum(c * (1.0 if 2 * k > voters else 0.5 if 2 * k == voters else 0.0) for k, c in enumerate(chance))


def expected(
    config: CliquesConfig, graph: Literal["silent", "right", "full", "random"], links: int = 4, loss: float = 0.0
) -> float:
    """Mean reward of an agent per step in closed form, net of the price of links.

    Args:
        config: The arguments.
        graph: Which graph the team has.
        links: k of the right and of the random graph.
        loss: Probability with which a message is lost, independently of others.

    Raises:
        ValueError: If some group is too small for as many right links.
    """
    sizes = torch.bincount(groups(config)).tolist()
    links = {"silent": 0, "full": config.members - 1}.get(graph, links)
    if graph == "right" and links >= min(sizes):
        raise ValueError(f"links={links}: the smallest group has {min(sizes) - 1} others")
    total = 0.0
    for size in sizes:
        others, mates = config.members - 1, size - 1
        within = {links: 1.0}
        if graph != "right":  # how many of the links lead to the own group: hypergeometric
            most = min(mates, links)
            ways = {r: comb(mates, r) * comb(others - mates, links - r) for r in range(most + 1)}
            within = {r: count / comb(others, links) for r, count in ways.items()}
        for r, share in within.items():
            for h in range(r + 1):
                chance = comb(r, h) * (1 - loss) ** h * loss ** (r - h)
                total += size * share * chance * majority(1 + h, config.error)
    return total / config.members - config.price * links


def parallel_env(**arguments: Any) -> ParallelView:
    """One Cliques world for PettingZoo; arguments: those of its config, and ``render_mode``."""
    return view("cliques", **arguments)
