"""Sensor consensus: agents must agree on a quantity of which each has a noisy reading, and some sensors are faulty.

A quantity x is drawn per episode, uniformly from ``noise`` .. 1 - ``noise``. Each agent has a sensor with one reading
for the whole episode. ``faulty`` random sensors are faulty; the others read x with uniform noise of at most ``noise``.
Faulty sensors are ``stuck`` at 0 or at 1, all at the same end, drawn per episode; or each reads a ``random`` number
in 0 .. 1. An agent does not observe whether its own sensor is faulty. In every step each agent answers with a number.

| | |
|---|---|
| agents | ``sensor_0`` .. |
| actions | one of ``bins`` numbers, the middles of as many equal parts of 0 .. 1; or, if continuous, any number |
| observation | reading and own last answer (-1 before the first), as numbers or as indices of bins |
| reward | -((answer - x) / ``noise``)^2 in each step |
| success | all answers of the last step are within ``tolerance`` times ``noise`` of x |
| end | truncated after ``max_steps`` steps |

| argument | default | |
|---|---|---|
| ``members`` | 9 | number of agents |
| ``faulty`` | 2 | number of faulty sensors, less than half |
| ``noise`` | 0.2 | largest error of a sensor that is not faulty |
| ``fault`` | stuck | what faulty sensors read: stuck or random |
| ``bins`` | 16 | possible answers |
| ``continuous`` | false | answers are numbers in 0 .. 1, not rounded to bins |
| ``tolerance`` | 0.5 | largest error of a success, in units of ``noise`` |
| ``max_steps`` | 4 | |

Agreement needs no term of its own: the mean squared error of a team's answers is the squared error of their mean plus
their variance.

Known answers (:func:`envs.sensors.rules.expected`), as mean reward of an agent per step, for answers that are not
rounded to bins and sensors that get stuck. They follow from the moments of order statistics: the k-th smallest of m
uniform numbers has mean k / (m + 1), and cov(U_(i), U_(j)) = i (m + 1 - j) / ((m + 1)^2 (m + 2)) for i <= j (David and
Nagaraja, Order Statistics, 2003, section 2.2). An agent without messages does best with the posterior mean of x. Among
rules that hear all readings, a mean is moved by faulty sensors; median and trimmed mean stay between readings of
others. W-MSR (LeBlanc et al., JSAC 2013, section III) on the complete graph is, for an agent whose value has at least F
others above and F below, the trimmed mean (:func:`envs.sensors.rules.w_msr_complete`). On other graphs it reaches
consensus if the graph is (2F + 1)-robust. The graph of a team is its topology: a ring, a random graph, a learned one.

| own | posterior | mean | median | trimmed mean | mean of those not faulty |
|---|---|---|---|---|---|
| -1.815 | -0.340 | -0.374 | -0.167 | -0.122 | -0.048 |

Versions: 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from agentcomm.contracts.actions import ActionSpace
from agentcomm.contracts.continuous import Continuous
from agentcomm.contracts.world import DrawnMessage, Observation, Transition, World, WorldConfig
from agentcomm.pettingzoo.view import ParallelView, view
from envs.canvas import AGENT, GOAL, HARMED, Mark, draw, frame
from envs.symbols import Members, check_keys, check_mode, draw_text, layout, read_numbers, readings

ROW, WIDTH = 24, 320  # pixels of a picture: per agent, and of the range 0 .. 1


class SensorConsensusConfig(WorldConfig):
    """Arguments of Sensor consensus."""

    members: Members = 9
    faulty: int = Field(2, ge=0, description="number of faulty sensors, less than half of all")
    noise: float = Field(0.2, gt=0, le=0.4, description="largest error of a sensor that is not faulty")
    fault: Literal["stuck", "random"] = Field(
        "stuck", description="what faulty sensors read: all the same end of the range, or each a random number"
    )
    bins: int = Field(16, ge=2, le=256, description="number of possible answers")
    continuous: bool = Field(False, description="any number in 0 .. 1 is an answer, not the middles of bins only")
    tolerance: float = Field(0.5, gt=0, description="largest error of a success, in units of noise")
    max_steps: int = Field(4, ge=1, description="steps of an episode")

    @model_validator(mode="after")
    def _minority(self) -> Self:
        if 2 * self.faulty >= self.members:
            raise ValueError(f"faulty={self.faulty} must be less than half of members={self.members}")
        return self


class SensorConsensus(World[SensorConsensusConfig]):
    """B copies of Sensor consensus.

    State: ``quantity`` [B] float32; ``readings`` [B, N] float32; ``faulty`` [B, N] bool; ``answers`` [B, N] float32 of
    the last step, -1 before the first.
    """

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Sensors that get stuck, such that read random numbers, and continuous answers."""
        wild = {"members": 4, "faulty": 1, "fault": "random", "bins": 4}
        return {
            "": {"members": 5, "bins": 8},
            "random": wild,
            "continuous": {"members": 3, "faulty": 1, "continuous": True},
        }

    def __init__(self, config: SensorConsensusConfig, num_worlds: int = 1, device: str | torch.device = "cpu") -> None:
        super().__init__(config, num_worlds, device)
        self.agents = tuple(f"sensor_{number}" for number in range(config.members))
        self.action_names = tuple(f"answer_{number}" for number in range(config.bins))
        if config.observation == "dense":
            self.layout = Observation("dense", 2, low=-1.0, high=1.0)
        else:
            self.layout = layout(config.observation, 2, 2 * config.bins)
        shape = (num_worlds, config.members)
        self.state = {
            "quantity": torch.full((num_worlds,), 0.5, device=self.device),
            "readings": torch.full(shape, 0.5, device=self.device),
            "faulty": torch.zeros(shape, dtype=torch.bool, device=self.device),
            "answers": torch.full(shape, -1.0, device=self.device),
        }

    @property
    def actions(self) -> ActionSpace:
        """A bin, or a number."""
        return Continuous((0.0,), (1.0,)) if self.config.continuous else super().actions

    def action(self, answers: Tensor) -> Tensor:
        """Actions that answer with numbers [B, N] in 0 .. 1, rounded to bins unless the world is continuous."""
        return answers.unsqueeze(2) if self.config.continuous else self.bins_of(answers)

    def begin(self, worlds: Tensor, generator: torch.Generator, scene: Mapping[str, Any] | None = None) -> None:
        """Draw the quantity, the faulty sensors and all readings; or use those of the scene.

        Args:
            worlds: [W] int64 indices.
            generator: Source of all randomness.
            scene: ``{"quantity": x, "readings": [number, ...], "faulty": [agent, ...]}``, numbers in 0 .. 1.

        Raises:
            ValueError: If a key is missing or unknown, or a number is out of range.
        """
        drawn = self._draw(len(worlds), generator) if scene is None else self._read(scene)
        for name, value in zip(("quantity", "readings", "faulty"), drawn, strict=True):
            self.state[name][worlds] = value
        self.state["answers"][worlds] = -1.0

    def _draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Quantity [count], readings and faulty sensors [count, N]."""
        noise, shape = self.config.noise, (count, self.num_agents)
        luck = torch.rand(count, 2 + 3 * self.num_agents, generator=generator, device=self.device)
        quantity = noise + (1 - 2 * noise) * luck[:, 0]
        error, wild, key = luck[:, 2:].view(count, 3, self.num_agents).unbind(1)
        good = (quantity.unsqueeze(1) + noise * (2 * error - 1)).clamp(0.0, 1.0)
        end = (luck[:, 1:2] < 0.5).float().expand(shape)
        faulty = key.argsort(1).argsort(1) < self.config.faulty
        return quantity, torch.where(faulty, end if self.config.fault == "stuck" else wild, good), faulty

    def _read(self, scene: Mapping[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
        check_keys(scene, ("quantity", "readings", "faulty"))
        given = scene["readings"]
        numbers = [scene["quantity"], *(given if isinstance(given, list | tuple) else [None])]
        valid = all(isinstance(number, int | float) and 0 <= number <= 1 for number in numbers)
        if not valid or len(numbers) != self.num_agents + 1:
            raise ValueError(
                f"scene: 'quantity' must be a number in 0 .. 1 and 'readings' a list of {self.num_agents} of them,"
                f" not {scene['quantity']!r} and {given!r}"
            )
        agents = scene["faulty"]
        count = len(agents) if isinstance(agents, list) else 0
        faulty = torch.zeros(self.num_agents, dtype=torch.bool, device=self.device)
        faulty[read_numbers(scene, "faulty", count, self.num_agents, "agents").long()] = True
        values = torch.tensor(numbers, dtype=torch.float32, device=self.device)
        return values[0], values[1:], faulty

    def advance(self, actions: Tensor, generator: torch.Generator) -> Transition:
        """Compare the answers with the quantity."""
        answers = actions[..., 0].clone() if self.config.continuous else (actions + 0.5) / self.config.bins
        self.state["answers"] = answers
        never = torch.zeros(self.num_worlds, dtype=torch.bool, device=self.device)
        return Transition(reward=-self._error.square(), terminated=never, active=answers.isfinite())

    @property
    def _error(self) -> Tensor:
        """[B, N] float32, answers minus quantity, in units of the noise."""
        return (self.state["answers"] - self.state["quantity"].unsqueeze(1)) / self.config.noise

    def bins_of(self, values: Tensor) -> Tensor:
        """Int64, the bin of numbers in 0 .. 1."""
        return (values * self.config.bins).long().clamp(0, self.config.bins - 1)

    def observe(self, worlds: Tensor | None = None) -> Tensor:
        """[B, N, 2] float32, reading and last answer (-1 before the first); or [B, N, 2] int64, their bins."""
        chosen = self._all if worlds is None else worlds
        readings, answers = self.state["readings"][chosen], self.state["answers"][chosen]
        if self.layout.kind == "dense":
            return torch.stack([readings, answers], 2)
        last = torch.where(answers < 0, -1, self.bins_of(answers) + self.config.bins)
        return torch.stack([self.bins_of(readings), last], 2)

    def readings(self) -> Tensor | None:
        """Bins of readings, and of answers or none."""
        bins = self.config.bins
        return readings(self, range(bins), (-1, *range(bins, 2 * bins)))

    def success(self) -> Tensor:
        """[B] bool, all answers of the last step are close to the quantity."""
        return (self._error.abs() <= self.config.tolerance).all(1)

    def facts(self) -> dict[str, Tensor]:
        """Roles, whether a sensor is faulty, and the bin of its reading."""
        bins = self.bins_of(self.state["readings"])
        return super().facts() | {"faulty": self.state["faulty"].long(), "reading": bins}

    def scene(self, world: int) -> dict[str, Any]:
        """The quantity, the readings, which of them are faulty, and the last answers (-1 before the first)."""
        found = {name: self.state[name][world].tolist() for name in ("quantity", "readings", "faulty", "answers")}
        return {
            name: [round(v, 4) for v in value] if isinstance(value, list) else round(value, 4)
            for name, value in found.items()
        }

    def render(self, world: int, mode: Literal["ansi", "rgb_array"], links: list[DrawnMessage] | None = None) -> Any:
        """Draw one world as text, or as an [H, W, 3] image with a row per sensor over the range 0 .. 1.

        In the image the quantity is a vertical line, readings are squares, red if faulty, and answers discs.

        Raises:
            ValueError: If the mode is unknown.
        """
        check_mode(mode)
        x = float(self.state["quantity"][world])
        seen, faulty, answers = (self.state[name][world].tolist() for name in ("readings", "faulty", "answers"))
        if mode == "ansi":
            lines = [f"the quantity is {x:.2f}"]
            for agent, reading, bad, answer in zip(self.agents, seen, faulty, answers, strict=True):
                line = f"{agent} reads {reading:.2f}" + (", which is faulty" if bad else "")
                lines.append(line + (", has not answered" if answer < 0 else f", answered {answer:.2f}"))
            return draw_text(lines, self.agents, links)

        def at(row: float, value: float) -> Any:
            return np.array([(row + 0.5) * ROW, ROW + value * WIDTH])

        height, width = self.num_agents * ROW + 1, WIDTH + 2 * ROW
        marks = [
            Mark(at(i, reading), 5, HARMED if bad else AGENT, "square")
            for i, (reading, bad) in enumerate(zip(seen, faulty, strict=True))
        ]
        marks += [Mark(at(i, answer), 6, (36, 41, 47)) for i, answer in enumerate(answers) if answer >= 0]
        places = [at(i, reading) for i, reading in enumerate(seen)]
        truth = (at(-0.5, x), at(self.num_agents - 0.5, x), GOAL)
        return draw(height, width, marks, places, links, [*frame(height, width), truth])


def parallel_env(**arguments: Any) -> ParallelView:
    """One Sensor consensus world for PettingZoo; arguments: those of its config, and ``render_mode``."""
    return view("sensor_consensus", **arguments)
