"""Oracle-Hint: each agent must guess the observation of one other agent, so the task is to learn whom to listen to.

In each step every agent observes a fresh secret, one of ``symbols``, and must guess the secret of its *source*. The
sources form one cycle over all agents, the same in all episodes and drawn with seed ``wiring``; no agent observes who
its source is. An agent gets 1 for a right guess and 0 for a wrong one; an episode has ``max_steps`` steps.

Known baselines, as mean reward of an agent per step: 1 for a team in which each agent hears its source (and repeats
the source's secret), 1 / ``symbols`` for any team without messages.

For an even number of agents the cycle is the only graph with one sender per receiver that informs all of them, even
if messages are passed on over a second hop: such a graph must be one cycle itself, in which all agents are informed at
the first hop or all at the second, and two hops along an even cycle make two cycles, never one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.world import DrawnMessage, Observation, Transition, World, WorldConfig
from agentcomm.pettingzoo.view import ParallelView
from envs.gridworld.drawing import FATE_COLORS

CELL = 16  # pixels of the picture per sender and receiver


class OracleHintConfig(WorldConfig):
    """Arguments of Oracle-Hint."""

    members: int = Field(8, ge=2, le=1024, description="number of agents")
    symbols: int = Field(4, ge=2, le=64, description="number of values of a secret")
    wiring: int = Field(0, ge=0, description="seed of the agents' sources")
    max_steps: int = Field(8, ge=1, description="steps of an episode")


class OracleHint(World[OracleHintConfig]):
    """B copies of Oracle-Hint.

    State: ``secrets`` [B, N] int64, observed now; ``guesses`` [B, N] int64 of the last step, -1 before the first;
    ``flawless`` [B] bool, whether all guesses of the episode were right.

    Attributes:
        informative: [N] int64, the source of each agent: ground truth for evaluations, which no agent observes.
    """

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """The default team, and a small one."""
        return {"": {}, "small": {"members": 4, "symbols": 2}}

    def __init__(self, config: OracleHintConfig, num_worlds: int = 1, device: str | torch.device = "cpu") -> None:
        super().__init__(config, num_worlds, device)
        self.symbols = config.symbols
        self.agents = tuple(f"agent_{number}" for number in range(config.members))
        self.action_names = tuple(f"guess_{symbol}" for symbol in range(config.symbols))
        if config.observation == "dense":
            self.layout = Observation("dense", config.symbols, low=0.0, high=1.0)
        else:
            self.layout = Observation("indices", 1, config.symbols)
        self.informative = cycle(config.members, config.wiring).to(self.device)
        shape = (num_worlds, config.members)
        self.state = {
            "secrets": torch.zeros(shape, dtype=torch.int64, device=self.device),
            "guesses": torch.full(shape, -1, device=self.device),
            "flawless": torch.ones(num_worlds, dtype=torch.bool, device=self.device),
        }

    def begin(self, worlds: Tensor, generator: torch.Generator, scene: Mapping[str, Any] | None = None) -> None:
        """Draw secrets, or use those of the scene.

        Args:
            worlds: [W] int64 indices.
            generator: Source of all randomness.
            scene: ``{"secrets": [symbol, ...]}`` of the first step, agents in the order of ``agents``.

        Raises:
            ValueError: If there is another key, or not exactly one symbol per agent.
        """
        secrets = self._draw(len(worlds), generator) if scene is None else self._read(scene)
        self.state["secrets"][worlds] = secrets
        self.state["guesses"][worlds] = -1
        self.state["flawless"][worlds] = True

    def _draw(self, count: int, generator: torch.Generator) -> Tensor:
        return torch.randint(self.symbols, (count, self.num_agents), generator=generator, device=self.device)

    def _read(self, scene: Mapping[str, Any]) -> Tensor:
        if set(scene) != {"secrets"}:
            raise ValueError(f"scene: it must have the one key 'secrets', not {list(scene)}")
        n, secrets = self.num_agents, scene["secrets"]
        symbols = isinstance(secrets, list) and all(type(s) is int and 0 <= s < self.symbols for s in secrets)
        if not symbols or len(secrets) != n:
            raise ValueError(f"scene: 'secrets' must be a list of {n} symbols 0 .. {self.symbols - 1}, not {secrets!r}")
        return torch.tensor(secrets, device=self.device)

    def advance(self, actions: Tensor, generator: torch.Generator) -> Transition:
        """Compare the guesses with the sources' secrets, then draw new ones."""
        right = actions == self.state["secrets"][:, self.informative]
        self.state |= {
            "secrets": self._draw(self.num_worlds, generator),
            "guesses": actions.clone(),
            "flawless": self.state["flawless"] & right.all(1),
        }
        never = torch.zeros(self.num_worlds, dtype=torch.bool, device=self.device)
        return Transition(reward=right.float(), terminated=never, active=torch.ones_like(right))

    def observe(self, worlds: Tensor | None = None) -> Tensor:
        """[B, N, symbols] float32 one-hot secrets, or [B, N, 1] int64 with ``observation="indices"``."""
        secrets = self.state["secrets"] if worlds is None else self.state["secrets"][worlds]
        if self.layout.kind == "indices":
            return secrets.unsqueeze(2).clone()
        return torch.nn.functional.one_hot(secrets, self.symbols).float()

    def success(self) -> Tensor:
        """[B] bool, all guesses of the episode were right."""
        return self.state["flawless"].clone()

    def scene(self, world: int) -> dict[str, Any]:
        """Each agent's secret, its source, and its last guess (-1 before the first)."""
        return {
            "secrets": self.state["secrets"][world].tolist(),
            "source": self.informative.tolist(),
            "guesses": self.state["guesses"][world].tolist(),
        }

    def render(self, world: int, mode: Literal["ansi", "rgb_array"], links: list[DrawnMessage] | None = None) -> Any:
        """Draw one world as text, or the graph as a matrix of receivers (rows) and senders (columns).

        The image has a dot at each receiver's source, on cells in the colors of the links' fates.

        Raises:
            ValueError: If the mode is unknown.
        """
        links = links or []
        if mode == "ansi":
            secrets, sources, guesses = self.scene(world).values()
            lines = [
                f"{agent} sees {secret}, its source is {self.agents[source]}, "
                + ("it has not guessed" if guess < 0 else f"its last guess was {guess}")
                for agent, secret, source, guess in zip(self.agents, secrets, sources, guesses, strict=True)
            ]
            lines += [f"{self.agents[link.sender]} -> {self.agents[link.receiver]}: {link.fate}" for link in links]
            return "\n".join(lines)
        if mode == "rgb_array":
            picture = np.full((self.num_agents * CELL, self.num_agents * CELL, 3), 255, np.uint8)
            for link in links:
                row, column = link.receiver * CELL, link.sender * CELL
                picture[row : row + CELL, column : column + CELL] = FATE_COLORS[link.fate]
            for receiver, sender in enumerate(self.informative.tolist()):
                row, column = receiver * CELL + CELL // 4, sender * CELL + CELL // 4
                picture[row : row + CELL // 2, column : column + CELL // 2] = 0
            return picture
        raise ValueError(f"render mode must be 'ansi' or 'rgb_array', not {mode!r}")


def cycle(members: int, wiring: int) -> Tensor:
    """[N] int64, each agent's predecessor in one random cycle over all agents."""
    order = torch.randperm(members, generator=torch.Generator().manual_seed(wiring))
    source = torch.empty_like(order)
    source[order] = order.roll(1)
    return source


def parallel_env(
    members: int = 8,
    symbols: int = 4,
    wiring: int = 0,
    max_steps: int = 8,
    render_mode: Literal["ansi", "rgb_array"] | None = None,
) -> ParallelView:
    """One Oracle-Hint world as a PettingZoo parallel environment."""
    config = OracleHintConfig(members=members, symbols=symbols, wiring=wiring, max_steps=max_steps, observation="dense")
    return ParallelView(OracleHint(config), "oracle_hint", render_mode)
