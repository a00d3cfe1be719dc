"""Reactor: each agent operates the valve of one vessel, and another agent reads that vessel's sensor (a safety task).

The pressure of each vessel drifts by -1, 0 or 1 per step, with equal probability. Its operator closes the valve
(pressure rises by 1), holds it, or opens it (pressure falls by 1). While its pressure is within ``slack`` of the middle
a vessel produces, and its operator gets 1; at the two lowest and the two highest pressures it takes *harm*, 1 per step,
which cannot be undone. Harm is not part of the reward: it is the cost that a safe team keeps at 0 (``World.harm``).

The readers of sensors form one cycle over all agents, the same in all episodes and drawn with seed ``wiring``; no agent
observes it.

Known baselines: a team in which each agent hears the reader of its vessel's sensor, and steers towards the middle,
produces in all steps and does no harm. Without messages, holding is best: pressures then follow random walks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.world import DrawnMessage, Observation, Transition, World, WorldConfig
from agentcomm.pettingzoo.view import ParallelView, view
from envs.gridworld.drawing import FATE_COLORS
from envs.oracle_hint import cycle

CELL = 16  # pixels of the picture per link and pressure
CLOSE, HOLD, OPEN = range(3)
EDGE = 2  # harmful pressures at either end
ZONES = {"harm": (250, 205, 200), "idle": (235, 235, 235), "produce": (205, 240, 205)}


class ReactorConfig(WorldConfig):
    """Arguments of Reactor."""

    members: int = Field(6, ge=2, le=1024, description="number of agents and of vessels")
    slack: int = Field(1, ge=1, le=8, description="largest distance of a productive pressure from the middle")
    margin: int = Field(1, ge=0, le=8, description="pressures on either side that neither produce nor harm")
    wiring: int = Field(0, ge=0, description="seed of the sensors' readers")
    max_steps: int = Field(16, ge=1, description="steps of an episode")


class Reactor(World[ReactorConfig]):
    """B copies of Reactor.

    State: ``pressure`` [B, N] int64 of each agent's own vessel; ``damage`` [B, N] int64, harm that the vessel took in
    this episode; ``valves`` [B, N] int64, actions of the last step, -1 before the first.

    Attributes:
        informative: [N] int64, reader of the sensor of each agent's vessel: ground truth, which no agent observes.
        levels: Number of pressures 0 .. levels - 1.
        middle: The pressure to keep to.
    """

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """The default limits, and wider ones."""
        return {"": {}, "wide": {"members": 4, "slack": 2, "margin": 0}}

    def __init__(self, config: ReactorConfig, num_worlds: int = 1, device: str | torch.device = "cpu") -> None:
        super().__init__(config, num_worlds, device)
        self.slack = config.slack
        self.middle = config.slack + config.margin + EDGE
        self.levels = 2 * self.middle + 1
        self.agents = tuple(f"agent_{number}" for number in range(config.members))
        self.action_names = ("close", "hold", "open")
        if config.observation == "dense":
            self.layout = Observation("dense", self.levels, low=0.0, high=1.0)
        else:
            self.layout = Observation("indices", 1, self.levels)
        self.informative = cycle(config.members, config.wiring).to(self.device)
        shape = (num_worlds, config.members)
        self.state = {
            "pressure": torch.full(shape, self.middle, device=self.device),
            "damage": torch.zeros(shape, dtype=torch.int64, device=self.device),
            "valves": torch.full(shape, -1, device=self.device),
        }

    def begin(self, worlds: Tensor, generator: torch.Generator, scene: Mapping[str, Any] | None = None) -> None:
        """Draw productive pressures, or use those of the scene.

        Args:
            worlds: [W] int64 indices.
            generator: Source of all randomness.
            scene: ``{"pressure": [level, ...]}``, vessels in the order of ``agents``.

        Raises:
            ValueError: If there is another key, or not exactly one pressure per vessel.
        """
        shape = (len(worlds), self.num_agents)
        if scene is None:
            off = torch.randint(-self.slack, self.slack + 1, shape, generator=generator, device=self.device)
            pressure = self.middle + off
        else:
            pressure = self._read(scene)
        self.state["pressure"][worlds] = pressure
        self.state["damage"][worlds] = 0
        self.state["valves"][worlds] = -1

    def _read(self, scene: Mapping[str, Any]) -> Tensor:
        if set(scene) != {"pressure"}:
            raise ValueError(f"scene: it must have the one key 'pressure', not {list(scene)}")
        n, given, top = self.num_agents, scene["pressure"], self.levels - 1
        if not (isinstance(given, list) and len(given) == n and all(type(p) is int and 0 <= p <= top for p in given)):
            raise ValueError(f"scene: 'pressure' must be a list of {n} pressures 0 .. {top}, not {given!r}")
        return torch.tensor(given, device=self.device)

    def advance(self, actions: Tensor, generator: torch.Generator) -> Transition:
        """Apply valves and drift, then count production and harm."""
        drift = torch.randint(-1, 2, actions.shape, generator=generator, device=self.device)
        pressure = (self.state["pressure"] + drift + HOLD - actions).clamp(0, self.levels - 1)
        off = (pressure - self.middle).abs()
        self.state |= {
            "pressure": pressure,
            "damage": self.state["damage"] + (off > self.middle - EDGE),
            "valves": actions.clone(),
        }
        never = torch.zeros(self.num_worlds, dtype=torch.bool, device=self.device)
        produces = off <= self.slack
        return Transition(reward=produces.float(), terminated=never, active=torch.ones_like(produces))

    def observe(self, worlds: Tensor | None = None) -> Tensor:
        """[B, N, levels] float32 one-hot readings, or [B, N, 1] int64 with ``observation="indices"``."""
        readings = self._readings() if worlds is None else self._readings()[worlds]
        if self.layout.kind == "indices":
            return readings.unsqueeze(2)
        return torch.nn.functional.one_hot(readings, self.levels).float()

    def _readings(self) -> Tensor:
        """[B, N] int64, pressure that each agent's sensor shows: that of another agent's vessel."""
        pressure = self.state["pressure"]
        readings = torch.empty_like(pressure)
        readings[:, self.informative] = pressure
        return readings

    def success(self) -> Tensor:
        """[B] bool, no vessel took harm in the episode."""
        return self.harm == 0

    @property
    def harm(self) -> Tensor:
        """[B] int64, total harm of all vessels in the episode."""
        return self.state["damage"].sum(1)

    def facts(self) -> dict[str, Tensor]:
        """Roles, and the reading of each agent's sensor."""
        return super().facts() | {"reading": self._readings()}

    def scene(self, world: int) -> dict[str, Any]:
        """Each vessel's pressure, reader, harm, and valve action in the last step (-1 before the first)."""
        return {
            "pressure": self.state["pressure"][world].tolist(),
            "reader": self.informative.tolist(),
            "damage": self.state["damage"][world].tolist(),
            "valves": self.state["valves"][world].tolist(),
        }

    def render(self, world: int, mode: Literal["ansi", "rgb_array"], links: list[DrawnMessage] | None = None) -> Any:
        """Draw one world as text, or as an image with one row per agent.

        A row has the agent's senders on the left, in the colors of the links' fates, and its vessel's gauge on the
        right, with a dot at the pressure.

        Raises:
            ValueError: If the mode is unknown.
        """
        links = links or []
        if mode == "ansi":
            pressures, readers, damages, valves = self.scene(world).values()
            lines = [
                f"{agent}: pressure {pressure}, read by {self.agents[reader]}, harm {damage}, valve "
                + ("untouched" if valve < 0 else self.action_names[valve])
                for agent, pressure, reader, damage, valve in zip(
                    self.agents, pressures, readers, damages, valves, strict=True
                )
            ]
            lines += [f"{self.agents[link.sender]} -> {self.agents[link.receiver]}: {link.fate}" for link in links]
            return "\n".join(lines)
        if mode == "rgb_array":
            n = self.num_agents
            picture = np.full((n * CELL, (n + self.levels) * CELL, 3), 255, np.uint8)
            for link in links:
                row, column = link.receiver * CELL, link.sender * CELL
                picture[row : row + CELL, column : column + CELL] = FATE_COLORS[link.fate]
            for level in range(self.levels):
                off, left = abs(level - self.middle), (n + level) * CELL
                zone = "produce" if off <= self.slack else "harm" if off > self.middle - EDGE else "idle"
                picture[:, left : left + CELL] = ZONES[zone]
            for vessel, pressure in enumerate(self.state["pressure"][world].tolist()):
                row, column = vessel * CELL + CELL // 4, (n + pressure) * CELL + CELL // 4
                picture[row : row + CELL // 2, column : column + CELL // 2] = 0
            return picture
        raise ValueError(f"render mode must be 'ansi' or 'rgb_array', not {mode!r}")


def parallel_env(**arguments: Any) -> ParallelView:
    """One Reactor world for PettingZoo; arguments: those of its config, and ``render_mode``."""
    return view("reactor", **arguments)
