"""Whisper: a random agent holds a symbol that all must come to know, so the order of listening decides how fast.

In each episode a random agent holds a random symbol. In every step each agent names a symbol or passes: it gets 1 for
the right symbol, loses ``wrong`` for a wrong one, and gets 1 / ``symbols`` for passing, as much as a guess is worth if
wrong symbols cost nothing. An agent observes the step, and the symbol that it named in the step before; the holder
observes its symbol instead. An agent that has come to know the symbol can therefore remember it by naming it, and as
guesses cost more than they are worth, one that names a symbol knows it. Episodes end after ``max_steps`` steps.

The task is meant for the channel ``airtime``, in which only one of a sender's listeners, a random one, gets its message
in an exchange.

Known answers as mean reward of an agent per step, for teams of one exchange per step: 1 / S + (1 - 1 / S) times the
share of agents that know the symbol, averaged over steps. After t exchanges at most 2^t agents know it, which the
topology ``one_peer`` reaches for every holder: agent i listens to i - 2^(t mod log2 N). In a cycle, 1 + t agents know
it. Without messages, the holder alone does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.world import DrawnMessage, Transition, World
from agentcomm.pettingzoo.view import ParallelView, view
from envs.symbols import (
    Members,
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


class WhisperConfig(SymbolsConfig):
    """Arguments of Whisper."""

    members: Members = 16
    symbols: Symbols = 4
    wrong: float = Field(0.1, ge=0, description="reward lost by naming a wrong symbol")
    max_steps: int = Field(8, ge=1, description="steps of an episode; 2 log2(members) is usual")


class Whisper(World[WhisperConfig]):
    """B copies of Whisper.

    State: ``symbol`` [B] int64; ``holder`` [B] int64, who holds it; ``named`` [B, N] int64 of the last step, -1 for
    agents that passed, and before the first step.
    """

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """A small team."""
        return {"": {"members": 4, "symbols": 3, "max_steps": 4}}

    def __init__(self, config: WhisperConfig, num_worlds: int = 1, device: str | torch.device = "cpu") -> None:
        super().__init__(config, num_worlds, device)
        self.symbols = config.symbols
        self.agents = tuple(f"agent_{number}" for number in range(config.members))
        self.action_names = (*(f"name_{symbol}" for symbol in range(config.symbols)), "pass")
        # Codes of symbols, then those of the steps 0 .. max_steps: the last is observed at the end.
        self.layout = layout(config.observation, 2, config.symbols + config.max_steps + 1)
        self.state = {
            "symbol": torch.zeros(num_worlds, dtype=torch.int64, device=self.device),
            "holder": torch.zeros(num_worlds, dtype=torch.int64, device=self.device),
            "named": torch.full((num_worlds, config.members), -1, device=self.device),
        }

    @property
    def holding(self) -> Tensor:
        """[B, N] bool, the agent that holds the symbol."""
        return torch.arange(self.num_agents, device=self.device) == self.state["holder"].unsqueeze(1)

    def begin(self, worlds: Tensor, generator: torch.Generator, scene: Mapping[str, Any] | None = None) -> None:
        """Draw holder and symbol, or use those of the scene.

        Args:
            worlds: [W] int64 indices.
            generator: Source of all randomness.
            scene: ``{"symbol": [symbol], "holder": [agent]}``.

        Raises:
            ValueError: If there is another key, or not one symbol and one agent.
        """
        if scene is None:
            symbol = torch.randint(self.symbols, worlds.shape, generator=generator, device=self.device)
            holder = torch.randint(self.num_agents, worlds.shape, generator=generator, device=self.device)
        else:
            check_keys(scene, ("symbol", "holder"))
            symbol = read_numbers(scene, "symbol", 1, self.symbols).to(self.device)
            holder = read_numbers(scene, "holder", 1, self.num_agents, "agents").to(self.device)
        self.state["symbol"][worlds] = symbol
        self.state["holder"][worlds] = holder
        self.state["named"][worlds] = -1

    def advance(self, actions: Tensor, generator: torch.Generator) -> Transition:
        """Compare the named symbols with the right one."""
        passed = actions == self.symbols
        right = actions == self.state["symbol"].unsqueeze(1)
        self.state["named"] = actions.masked_fill(passed, -1)
        # Agents observe the step, so the end is part of the task: there is no return after it to estimate from the last
        # observation, which depends on the last action (Pardo et al., ICML 2018, arXiv 1712.00378).
        over = self.length + 1 >= self.max_steps
        reward = right.float() + passed / self.symbols - self.config.wrong * ~(right | passed)
        return Transition(reward=reward, terminated=over, active=torch.ones_like(right))

    def observe(self, worlds: Tensor | None = None) -> Tensor:
        """[B, N, 2] int64, codes of the symbol held or named last (-1 for none) and of the step; or one-hot."""
        chosen = self._all if worlds is None else worlds
        held, symbol = self.holding[chosen], self.state["symbol"][chosen].unsqueeze(1)
        step = self.symbols + self.length[chosen].clamp_max(self.max_steps).unsqueeze(1).expand_as(held)
        return arranged(torch.stack([torch.where(held, symbol, self.state["named"][chosen]), step], 2), self.layout)

    def readings(self) -> Tensor | None:
        """The first entry shows a symbol or nothing, the second a step."""
        steps = range(self.symbols, self.layout.vocabulary)
        return readings(self, range(-1, self.symbols), steps)

    def success(self) -> Tensor:
        """[B] bool, all agents named the right symbol in the last step."""
        return (self.state["named"] == self.state["symbol"].unsqueeze(1)).all(1)

    def facts(self) -> dict[str, Tensor]:
        """Roles, and the symbol, for its holder."""
        return super().facts() | {"symbol": torch.where(self.holding, self.state["symbol"].unsqueeze(1), -1)}

    def scene(self, world: int) -> dict[str, Any]:
        """The symbol, its holder, and what agents named last (-1 if they passed, and before the first step)."""
        symbol, holder = (int(self.state[name][world]) for name in ("symbol", "holder"))
        return {"symbol": symbol, "holder": holder, "named": self.state["named"][world].tolist()}

    def render(self, world: int, mode: Literal["ansi", "rgb_array"], links: list[DrawnMessage] | None = None) -> Any:
        """Draw one world as text, or as a matrix of receivers (rows) and senders (columns).

        The image has a dot on the diagonal for each agent, dark if it named the right symbol last.

        Raises:
            ValueError: If the mode is unknown.
        """
        check_mode(mode)
        symbol, holder, named = self.scene(world).values()
        if mode == "rgb_array":
            dots = {(agent, agent): 0 if name == symbol else 160 for agent, name in enumerate(named)}
            return draw_dots(draw_links(self.num_agents, links), dots)
        lines = [f"{self.agents[holder]} holds {symbol}"]
        lines += [
            f"{agent} named no symbol" if name < 0 else f"{agent} named {name} last"
            for agent, name in zip(self.agents, named, strict=True)
        ]
        return draw_text(lines, self.agents, links)


def name_known(world: Whisper, known: Tensor) -> Tensor:
    """[B, N] int64, actions of agents that name the symbol where they know it [B, N], and pass where they do not."""
    return torch.where(known, world.state["symbol"].unsqueeze(1), world.symbols)


def parallel_env(**arguments: Any) -> ParallelView:
    """One Whisper world for PettingZoo; arguments: those of its config, and ``render_mode``."""
    return view("whisper", **arguments)
