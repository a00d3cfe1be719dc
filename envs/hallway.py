"""Hallway: agents on private lines must all reach the end of their line in the same step.

Rules are those of NDQ (Wang et al., ICLR 2020, arXiv 1910.05366, section 5.1). Agent i starts uniformly in 1 ..
``lengths[i]`` and goes to the left, to the right or stays; its line ends at 0. An episode ends when any agent reaches
0, and is truncated after ``max_steps`` steps, by default max(``lengths``) + 10.

| | |
|---|---|
| agents | one per line: ``agent_0`` .. |
| actions | 0 stay, 1 left (towards 0), 2 right (at the last place: stay) |
| observation | the agent's own place; with ``clock`` the number of steps taken, too; one-hot or as indices |
| reward | 1 for every agent if all reach 0 in the same step, else 0 |
| success | all reached 0 in the same step |

| argument | default | |
|---|---|---|
| ``lengths`` | (2, 6, 10) | usual are also (6, 6), (4, 5, 6) and (3, 3, 4, 4) |
| ``clock`` | false | whether agents observe the step |
| ``start`` | none | farthest place to start at, for curricula |
| ``max_steps`` | max(lengths) + 10 | |

Known answers (:func:`expected`), as share of successes: 1 for agents that hear each other's places (those at the
largest place go on, the others wait). Also 1 without any message, for agents that know the time: each leaves its start
when the time left until step max(``lengths``) is as long as its way (``clock``). So messages are worth something here
only for policies without a clock and without a memory; :mod:`envs.hallway_c` is the task in which they are needed.
Agents that always go left succeed if they start at equal places: min(``lengths``) / product(``lengths``).

Versions: 1. Deviation from the released code: it pays 10; here the return is the share of successes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from agentcomm.contracts.world import DrawnMessage, Transition, World, WorldConfig
from agentcomm.pettingzoo.view import ParallelView, view
from envs.canvas import AGENT, GOAL, Mark, draw, frame
from envs.gridworld.drawing import CELL, middle
from envs.symbols import arranged, check_keys, check_mode, draw_text, layout, readings

STAY, LEFT, RIGHT = range(3)
SPARE = 10  # steps of an episode beyond the longest line

Length = Annotated[int, Field(ge=1, le=64)]


class HallwayConfig(WorldConfig):
    """Arguments of Hallway."""

    lengths: tuple[Length, ...] = Field(
        (2, 6, 10), min_length=2, max_length=64, description="places of each agent's line"
    )
    clock: bool = Field(False, description="whether agents observe how many steps the episode has taken")
    start: int | None = Field(
        None, ge=1, description="farthest place to start at, for curricula; anywhere on the line when not given"
    )
    max_steps: int = Field(20, ge=1, description="steps of an episode; the longest line and 10 more when not given")

    @model_validator(mode="before")
    @classmethod
    def _steps(cls, data: Any) -> Any:
        if not isinstance(data, Mapping) or "max_steps" in data:
            return data
        lengths = data.get("lengths", cls.model_fields["lengths"].default)
        valid = isinstance(lengths, list | tuple) and lengths and all(isinstance(one, int) for one in lengths)
        return {**data, "max_steps": max(lengths) + SPARE} if valid else data

    @property
    def longest(self) -> int:
        """Places of the longest line."""
        return max(self.lengths)

    @property
    def starts(self) -> tuple[int, ...]:
        """The farthest place at which each agent starts."""
        return tuple(min(length, self.start or length) for length in self.lengths)


class Hallway(World[HallwayConfig]):
    """B copies of Hallway.

    State: ``places`` [B, N] int64, 0 at the end of the line; ``won`` [B] bool, all reached it as they should.
    """

    action_names = ("stay", "left", "right")

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Short lines, without and with a clock."""
        return {"": {"lengths": (2, 3)}, "clock": {"lengths": (1, 2, 3), "clock": True}}

    def __init__(self, config: HallwayConfig, num_worlds: int = 1, device: str | torch.device = "cpu") -> None:
        super().__init__(config, num_worlds, device)
        self.agents = tuple(f"agent_{number}" for number in range(len(config.lengths)))
        self.lengths = torch.tensor(config.lengths, device=self.device)
        self._starts = torch.tensor(config.starts, device=self.device)
        self._entries = self._codes()
        self.layout = layout(config.observation, len(self._entries), self._entries[-1].stop)
        self.state = {
            "places": torch.ones(num_worlds, self.num_agents, dtype=torch.int64, device=self.device),
            "won": torch.zeros(num_worlds, dtype=torch.bool, device=self.device),
        }

    def _codes(self) -> list[range]:
        """Codes of each entry of an observation: of the places 0 .. max, and of the steps 0 .. max_steps."""
        places = range(self.config.longest + 1)
        clock = range(places.stop, places.stop + self.max_steps + 1)
        return [places, clock] if self.config.clock else [places]

    def begin(self, worlds: Tensor, generator: torch.Generator, scene: Mapping[str, Any] | None = None) -> None:
        """Draw where agents start, or use the places of the scene.

        Args:
            worlds: [W] int64 indices.
            generator: Source of all randomness.
            scene: ``{"places": [place, ...]}``, each from 1 to the length of the agent's line.

        Raises:
            ValueError: If there is another key, or a place is not on its line.
        """
        if scene is None:
            luck = torch.rand(len(worlds), self.num_agents, generator=generator, device=self.device)
            places = 1 + (luck * self._starts).long().minimum(self._starts - 1)
        else:
            check_keys(scene, ("places",))
            places = self._read(scene["places"])
        self.state["places"][worlds] = places
        self.state["won"][worlds] = False

    def _read(self, given: Any) -> Tensor:
        lengths = self.config.lengths
        whole = isinstance(given, list | tuple) and all(type(place) is int for place in given)
        if not whole or len(given) != len(lengths) or not all(1 <= p <= n for p, n in zip(given, lengths, strict=True)):
            raise ValueError(f"scene: 'places' must be a list of places from 1 to {list(lengths)}, not {given!r}")
        return torch.tensor(given, device=self.device)

    def advance(self, actions: Tensor, generator: torch.Generator) -> Transition:
        """Agents move; the episode ends if any is at the end of its line."""
        moved = self.state["places"] - (actions == LEFT).long() + (actions == RIGHT).long()
        places = moved.minimum(self.lengths).clamp_min(0)
        over, won = self._ends(places)
        self.state |= {"places": places, "won": won}
        reward = won.float().unsqueeze(1).expand(-1, self.num_agents).clone()
        return Transition(reward=reward, terminated=over, active=torch.ones_like(actions, dtype=torch.bool))

    def _ends(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """[B] bool each, whether the episode ends with this step, and whether it is won, given the new places."""
        return (places == 0).any(1), (places == 0).all(1)

    def _seen(self, worlds: Tensor) -> list[Tensor]:
        """Codes [W, N] of each entry."""
        places = self.state["places"][worlds]
        if not self.config.clock:
            return [places]
        step = self.length[worlds].clamp_max(self.max_steps)
        return [places, (self._entries[1].start + step.unsqueeze(1)).expand_as(places)]

    def observe(self, worlds: Tensor | None = None) -> Tensor:
        """[B, N, K] int64 codes of place and, if agents have a clock, step; or the sum of their one-hot codes."""
        return arranged(torch.stack(self._seen(self._all if worlds is None else worlds), 2), self.layout)

    def readings(self) -> Tensor | None:
        """Places up to the length of the agent's own line, and steps."""
        shown = readings(self, *self._entries)
        if shown is not None:
            code = torch.arange(-1, self.layout.vocabulary, device=self.device)
            shown[:, 0] &= code <= self.lengths.unsqueeze(1)
        return shown

    def success(self) -> Tensor:
        """[B] bool, all agents reached the end of their line together."""
        return self.state["won"].clone()

    def facts(self) -> dict[str, Tensor]:
        """Roles, and each agent's place."""
        return super().facts() | {"place": self.state["places"].clone()}

    def scene(self, world: int) -> dict[str, Any]:
        """Each line is a row of the report's player, with its end in the first column."""
        places = self.state["places"][world].tolist()
        size = max(self.num_agents, self.config.longest + 1)
        return {"size": size, "agents": [[row, place] for row, place in enumerate(places)], "places": places}

    def render(self, world: int, mode: Literal["ansi", "rgb_array"], links: list[DrawnMessage] | None = None) -> Any:
        """Draw one world as text or as an [H, W, 3] image: a row per line, with its end to the left.

        Raises:
            ValueError: If the mode is unknown.
        """
        check_mode(mode)
        places = self.state["places"][world].tolist()
        if mode == "rgb_array":
            height, width = self.num_agents * CELL + 1, (self.config.longest + 1) * CELL + 1
            lines = [(middle(row, 0), middle(row, n), (208, 215, 222)) for row, n in enumerate(self.config.lengths)]
            ends = [Mark(middle(row, 0), CELL * 0.4, GOAL, "diamond") for row in range(self.num_agents)]
            spots = [middle(row, place) for row, place in enumerate(places)]
            agents = [Mark(spot, CELL * 0.25, AGENT) for spot in spots]
            return draw(height, width, ends + agents, spots, links, frame(height, width) + lines)
        rows = []
        for agent, place, length in zip(self.agents, places, self.config.lengths, strict=True):
            row = ["|", *"." * length]
            row[place] = "*" if place == 0 else "o"
            rows.append(f"{''.join(row).ljust(self.config.longest + 1)}  {agent} at {place}")
        return draw_text(rows + self._notes(world), self.agents, links)

    def _notes(self, world: int) -> list[str]:
        """Further lines of the text."""
        return []


def go_left(world: Hallway) -> Tensor:
    """[B, N] int64, actions of agents that always go left."""
    return torch.full_like(world.state["places"], LEFT)


def by_clock(world: Hallway, arrival: int | None = None) -> Tensor:
    """[B, N] int64, actions of agents that know the time but hear nothing: all arrive in the same, agreed step.

    Args:
        world: The worlds.
        arrival: The step, counted from 1; that of the farthest start when not given.
    """
    left = (max(world.config.starts) if arrival is None else arrival) - world.length.unsqueeze(1)
    return torch.where(world.state["places"] >= left, LEFT, STAY)


def by_places(world: Hallway) -> Tensor:
    """[B, N] int64, actions of agents that hear each other's places: those at the largest go left, the others wait."""
    places = world.state["places"]
    return torch.where(places == places.amax(1, keepdim=True), LEFT, STAY)


def arrivals(length: int, start: int, steps: int) -> Tensor:
    """[steps] float64, chance that an agent that moves at random reaches 0 in step 1, 2, .. for the first time.

    Args:
        length: Places of its line.
        start: It starts in 1 .. start.
        steps: How many chances.
    """
    move = torch.zeros(length + 1, length + 1, dtype=torch.float64)  # from place to place
    for place in range(1, length + 1):
        for to in (place, place - 1, min(place + 1, length)):
            move[place, to] += 1 / 3
    at = torch.zeros(length + 1, dtype=torch.float64)
    at[1 : start + 1] = 1 / start
    found = []
    for _ in range(steps):
        at = at @ move
        found.append(at[0].clone())
        at[0] = 0.0
    return torch.stack(found)


def expected(config: HallwayConfig, team: Literal["random", "left", "clock", "told"]) -> float:
    """Share of successes in closed form: of agents that move at random, always go left, know the time, or messages."""
    if team == "random":
        lines = zip(config.lengths, config.starts, strict=True)
        return float(torch.stack([arrivals(*line, config.max_steps) for line in lines]).prod(0).sum())
    if team == "left":
        return min(config.starts) / math.prod(config.starts)
    return 1.0


def parallel_env(**arguments: Any) -> ParallelView:
    """One Hallway world for PettingZoo; arguments: those of its config, and ``render_mode``."""
    return view("hallway", **arguments)
