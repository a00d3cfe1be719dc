"""Relay line: agents in a line must name a symbol that only the first one sees, so it has to be passed on.

The symbol is fixed for an episode; agent 0, the head, observes it in every step, the others observe nothing. In each
step every agent names a symbol: 1 for the right one, 0 for a wrong one.

The task is meant for the channel ``relay`` with the arguments ``layout=line, limit=1, seconds=0``, which delivers
messages of neighbors only: agent p can hear p - 1 and p + 1. (Without it, the best graph is a star around the head.)

Known answers (:func:`expected`), as mean reward of an agent per step, for teams of R rounds per step in which agents
that do not know the symbol guess: without messages only the head knows it. If each agent listens to the one before it,
agents p <= R know it; if they remember what they know, agents p <= R t after t steps. If each listens to one of its
neighbors, chosen at random and fixed, the chain to agent p is unbroken with probability 2^-p.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from agentcomm.contracts.world import DrawnMessage, Transition, World
from agentcomm.pettingzoo.view import ParallelView, view
from envs.symbols import (
    Symbols,
    SymbolsConfig,
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


class RelayLineConfig(SymbolsConfig):
    """Arguments of Relay line."""

    symbols: Symbols = 4


class RelayLine(World[RelayLineConfig]):
    """B copies of Relay line.

    State: ``symbol`` [B] int64; ``named`` [B, N] int64 of the last step, -1 before the first.
    """

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """A short line."""
        return {"": {"members": 4, "symbols": 3}}

    def __init__(self, config: RelayLineConfig, num_worlds: int = 1, device: str | torch.device = "cpu") -> None:
        super().__init__(config, num_worlds, device)
        self.agents = tuple(f"agent_{number}" for number in range(config.members))
        self.action_names = tuple(f"name_{symbol}" for symbol in range(config.symbols))
        self.layout = layout(config.observation, 1, config.symbols)
        self.state = {
            "symbol": torch.zeros(num_worlds, dtype=torch.int64, device=self.device),
            "named": torch.full((num_worlds, config.members), -1, device=self.device),
        }

    def begin(self, worlds: Tensor, generator: torch.Generator, scene: Mapping[str, Any] | None = None) -> None:
        """Draw the symbol, or use that of the scene.

        Args:
            worlds: [W] int64 indices.
            generator: Source of all randomness.
            scene: ``{"symbol": [symbol]}``.

        Raises:
            ValueError: If there is another key, or not one symbol.
        """
        if scene is None:
            symbol = torch.randint(len(self.action_names), worlds.shape, generator=generator, device=self.device)
        else:
            check_keys(scene, ("symbol",))
            symbol = read_numbers(scene, "symbol", 1, len(self.action_names)).to(self.device)
        self.state["symbol"][worlds] = symbol
        self.state["named"][worlds] = -1

    def advance(self, actions: Tensor, generator: torch.Generator) -> Transition:
        """Compare the named symbols with that of the head."""
        right = actions == self.state["symbol"].unsqueeze(1)
        self.state["named"] = actions.clone()
        never = torch.zeros(self.num_worlds, dtype=torch.bool, device=self.device)
        return Transition(reward=right.float(), terminated=never, active=torch.ones_like(right))

    def observe(self, worlds: Tensor | None = None) -> Tensor:
        """[B, N, symbols] float32, one-hot for the head and zero for others; or [B, N, 1] int64, -1 for others."""
        return arranged(self._seen(self._all if worlds is None else worlds).unsqueeze(2), self.layout)

    def _seen(self, worlds: Tensor) -> Tensor:
        """[W, N] int64, the symbol where it is observed, else -1."""
        seen = torch.full((len(worlds), self.num_agents), -1, device=self.device)
        seen[:, 0] = self.state["symbol"][worlds]
        return seen

    def readings(self) -> Tensor | None:
        """The head observes a symbol, the others nothing."""
        shown = readings(self, range(self.num_actions))
        if shown is not None:
            shown[1:] = torch.arange(self.num_actions + 1, device=self.device) == 0
        return shown

    def success(self) -> Tensor:
        """[B] bool, all agents named the right symbol in the last step."""
        return (self.state["named"] == self.state["symbol"].unsqueeze(1)).all(1)

    def facts(self) -> dict[str, Tensor]:
        """Roles, and the symbol, for the head."""
        return super().facts() | {"symbol": self._seen(self._all)}

    def scene(self, world: int) -> dict[str, Any]:
        """The symbol, and what agents named last (-1 before the first step)."""
        return {"symbol": int(self.state["symbol"][world]), "named": self.state["named"][world].tolist()}

    def render(self, world: int, mode: Literal["ansi", "rgb_array"], links: list[DrawnMessage] | None = None) -> Any:
        """Draw one world as text, or as a matrix of receivers (rows) and senders (columns).

        The image has a dot on the diagonal for each agent, dark if it named the right symbol last.

        Raises:
            ValueError: If the mode is unknown.
        """
        check_mode(mode)
        symbol, named = self.scene(world).values()
        if mode == "rgb_array":
            dots = {(agent, agent): 0 if name == symbol else 160 for agent, name in enumerate(named)}
            return draw_dots(draw_links(self.num_agents, links), dots)
        lines = [f"{self.agents[0]} sees {symbol}"]
        lines += [
            f"{agent} has not named a symbol" if name < 0 else f"{agent} named {name} last"
            for agent, name in zip(self.agents, named, strict=True)
        ]
        return draw_text(lines, self.agents, links)


def name_known(world: RelayLine, known: Tensor) -> Tensor:
    """[B, N] int64, actions of agents that name the symbol where they know it [B, N], and else another agent's guess.

    The guess is agent p's number modulo the number of symbols: as good as any, as the symbol is uniform.
    """
    guess = torch.arange(world.num_agents, device=world.device) % world.num_actions
    return torch.where(known, world.state["symbol"].unsqueeze(1), guess)


def expected(
    config: RelayLineConfig, graph: Literal["silent", "right", "random"], rounds: int = 2, memory: bool = False
) -> float:
    """Mean reward of an agent per step in closed form.

    Args:
        config: The arguments.
        graph: ``right``: each agent listens to the one before it; ``random``: to one of its neighbors.
        rounds: R.
        memory: Whether agents remember the symbol once they know it.
    """
    n, steps = config.members, config.max_steps
    known = 0.0
    for step in range(1, steps + 1):
        reached = 0 if graph == "silent" else min(rounds * (step if memory else 1), n - 1)
        # The last agent has one neighbor only, so it always listens to the one before it.
        chain = [2.0 ** -min(p, n - 2) if graph == "random" else 1.0 for p in range(reached + 1)]
        known += sum(chain) / (n * steps)
    return 1 / config.symbols + (1 - 1 / config.symbols) * known


def parallel_env(**arguments: Any) -> ParallelView:
    """One Relay line world for PettingZoo; arguments: those of its config, and ``render_mode``."""
    return view("relay_line", **arguments)
