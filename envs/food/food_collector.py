"""Food Collector: agents look for their own food around an obstacle, and may come across that of others.

Rules are those of FoodCollector as AME uses it (Sun et al., ICLR 2023, arXiv 2206.10158, section 5). In a unit square
with a round obstacle in the middle there are as many pieces of food as agents, one for each, and a poison. An agent has
six sensors, which do not reach far; it also sees the food of others, and can only tell them.

| | |
|---|---|
| agents | ``collector_0`` .., discs of radius 0.015 |
| actions | 0 rest; 1-4 a step of 0.05 to the right, left, up, down; 5-8 of 0.025 in both directions at once |
| ``continuous`` | acceleration in two directions, each in -1 .. 1, times 0.01; speed in each is at most 0.05 |
| observation | own number (one-hot), place, velocity, whether the own food is eaten; and what each sensor meets |
| a sensor | how close obstacle, wall, poison, other agents, the own food and each agent's food are (0 from 0.2 on) |
| reward | own food 10.01, poison -1, a step without having eaten -0.5, step or acceleration -0.5 times its length |
| success | all food is eaten |
| end | when all food is eaten; truncated after ``max_steps`` steps |

| argument | default | |
|---|---|---|
| ``members`` | 9 | agents and pieces of food |
| ``poisons`` | 1 | discs of radius 0.01125, which move elsewhere when touched |
| ``near`` | none | how far food is from its agent at first, in each direction, for curricula |
| ``continuous`` | false | accelerations instead of nine velocities |
| ``max_steps`` | 200 | |

Food has a radius of 0.03, the obstacle of 0.2. What is touched is eaten. Agents, food and poison start at random places
outside of the obstacle; agents do not collide with each other, and slide along walls and obstacle. Agents whose food is
eaten stay and may go on to look out for others.

Floors (``envs/food/scripted.py``, returns with discrete steps): 3.3 for agents that know where their food is, 0.8 if
they tell each other what their sensors meet, -7.0 if they do not, -89.6 at random.

Versions: 1. Where the paper leaves rules open, they are ours: speeds are limited, food is not replaced, there is no
collision among agents, and agents observe their own place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from agentcomm.base.errors import ConfigError
from agentcomm.contracts.actions import ActionSpace
from agentcomm.contracts.continuous import Continuous
from agentcomm.contracts.world import DrawnMessage, Observation, Transition, World, WorldConfig
from agentcomm.pettingzoo.view import ParallelView, view
from envs.canvas import AGENT, GOAL, HARMED, QUIET, Mark, draw, frame, rounded
from envs.food.sensing import CENTER, OBSTACLE, RAYS, TRIES, length, outside, pushed_out, rays, to_discs, to_walls
from envs.symbols import check_keys, check_mode, draw_text

BODY, FOOD, POISON = 0.015, 0.03, 0.01125  # radii
FAST, SLANTED, THRUST = 0.05, 0.025, 0.01  # steps, and the largest acceleration
EATEN, POISONED, EFFORT, HUNGER = 10.01, -1.0, -0.5, -0.5
STEPS = (
    (0.0, 0.0),
    *((FAST, 0.0), (-FAST, 0.0), (0.0, FAST), (0.0, -FAST)),
    *((x, y) for x in (SLANTED, -SLANTED) for y in (SLANTED, -SLANTED)),
)
SIDE = 480  # pixels of a picture


class FoodCollectorConfig(WorldConfig):
    """Arguments of Food Collector."""

    members: int = Field(9, ge=2, le=64, description="number of agents, and of pieces of food")
    poisons: int = Field(1, ge=0, le=64, description="number of poisons")
    near: float | None = Field(
        None, gt=0, le=1, description="distance in each direction within which food is at first, for curricula; any"
    )
    continuous: bool = Field(False, description="accelerations of any size in two directions, not nine velocities")
    max_steps: int = Field(200, ge=1, description="steps of an episode")


class FoodCollector(World[FoodCollectorConfig]):
    """B copies of Food Collector.

    State: ``place`` and ``velocity`` [B, N, 2] float32 of the agents; ``food`` [B, N, 2]; ``poison`` [B, P, 2];
    ``eaten`` [B, N] bool.
    """

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """A small team, and accelerations."""
        return {"": {"members": 3, "poisons": 20}, "continuous": {"members": 2, "continuous": True}}

    def __init__(self, config: FoodCollectorConfig, num_worlds: int = 1, device: str | torch.device = "cpu") -> None:
        super().__init__(config, num_worlds, device)
        if config.observation != "dense":
            raise ConfigError("food_collector observes distances: use observation=dense")
        n = config.members
        self.agents = tuple(f"collector_{number}" for number in range(n))
        slanted = ("right_up", "right_down", "left_up", "left_down")
        self.action_names = ("rest", "right", "left", "up", "down", *slanted)
        self.layout = Observation("dense", n + 5 + RAYS * (n + 5), low=-1.0, high=1.0)
        self._rays = rays(self.device)
        self._steps = torch.tensor(STEPS, device=self.device)
        zero = torch.zeros(num_worlds, n, 2, device=self.device)
        self.state = {
            "place": zero.clone(),
            "velocity": zero.clone(),
            "food": zero.clone(),
            "poison": torch.zeros(num_worlds, config.poisons, 2, device=self.device),
            "eaten": torch.zeros(num_worlds, n, dtype=torch.bool, device=self.device),
        }

    @property
    def actions(self) -> ActionSpace:
        """Nine velocities, or accelerations."""
        return Continuous((-1.0, -1.0), (1.0, 1.0)) if self.config.continuous else super().actions

    def begin(self, worlds: Tensor, generator: torch.Generator, scene: Mapping[str, Any] | None = None) -> None:
        """Draw all places, or use those of the scene.

        Args:
            worlds: [W] int64 indices.
            generator: Source of all randomness.
            scene: ``{"agents": [[x, y], ...], "food": [[x, y], ...], "poison": [[x, y], ...]}``, in the unit square.

        Raises:
            ValueError: If a key is missing or unknown, or there is not one place for each.
        """
        n = self.num_agents
        count = 2 * n + self.config.poisons
        luck = torch.rand(len(worlds), count, TRIES, 2, generator=generator, device=self.device)
        places = outside(luck, FOOD) if scene is None else self._read(scene)
        place, food = places[..., :n, :], places[..., n : 2 * n, :]
        if self.config.near is not None and scene is None:
            food = pushed_out(place + self.config.near * (2 * luck[:, n : 2 * n, 0] - 1), FOOD)
        self.state["place"][worlds] = place
        self.state["food"][worlds] = food
        self.state["poison"][worlds] = places[..., 2 * n :, :]
        self.state["velocity"][worlds] = 0.0
        self.state["eaten"][worlds] = False

    def _read(self, scene: Mapping[str, Any]) -> Tensor:
        check_keys(scene, ("agents", "food", "poison"))
        found = []
        for key, count in (("agents", self.num_agents), ("food", self.num_agents), ("poison", self.config.poisons)):
            try:
                places = torch.tensor(scene[key], dtype=torch.float32).reshape(-1, 2)
            except (TypeError, ValueError, RuntimeError):
                places = torch.empty(0, 2) if count else torch.empty(1, 2)
            if len(places) != count or not bool(((places >= 0) & (places <= 1)).all()):
                raise ValueError(f"scene: {key!r} must be {count} places [x, y] in 0 .. 1, not {scene[key]!r}")
            found.append(places)
        return torch.cat(found).to(self.device)

    def advance(self, actions: Tensor, generator: torch.Generator) -> Transition:
        """Agents move and eat what they touch."""
        before = self.state
        if self.config.continuous:
            effort = THRUST * actions
            velocity = (before["velocity"] + effort).clamp(-FAST, FAST)
        else:
            velocity = effort = self._steps[actions]
        place = pushed_out(before["place"] + velocity, BODY)
        if self.config.continuous:  # what walls and obstacle took of the step is lost
            velocity = place - before["place"]
        hungry = ~before["eaten"]
        fed = hungry & (length(place - before["food"]) <= BODY + FOOD)
        touched = length(place.unsqueeze(2) - before["poison"].unsqueeze(1)) <= BODY + POISON
        luck = torch.rand((*before["poison"].shape[:2], TRIES, 2), generator=generator, device=self.device)
        poison = torch.where(touched.any(1).unsqueeze(2), outside(luck, FOOD), before["poison"])
        eaten = before["eaten"] | fed
        self.state |= {"place": place, "velocity": velocity, "poison": poison, "eaten": eaten}
        reward = EATEN * fed + POISONED * touched.sum(2) + EFFORT * length(effort) + HUNGER * ~eaten
        return Transition(reward=reward, terminated=eaten.all(1), active=torch.ones_like(eaten))

    def sensed(self, worlds: Tensor) -> Tensor:
        """[W, N, R, 5 + N], how close obstacle, wall, poison, other agents, own food and each food are to sensors."""
        place, n = self.state["place"][worlds], self.num_agents
        food = to_discs(self.state["food"][worlds].unsqueeze(1) - place.unsqueeze(2), FOOD, self._rays)
        food = food * ~self.state["eaten"][worlds][:, None, :, None]
        own = food.diagonal(dim1=1, dim2=2).transpose(1, 2)
        obstacle = to_discs(CENTER - place, OBSTACLE, self._rays)
        poison = to_discs(self.state["poison"][worlds].unsqueeze(1) - place.unsqueeze(2), POISON, self._rays)
        others = to_discs(place.unsqueeze(1) - place.unsqueeze(2), BODY, self._rays)
        others = others * ~torch.eye(n, dtype=torch.bool, device=self.device)[..., None]
        nothing = torch.zeros_like(obstacle).unsqueeze(2)
        nearest = [torch.cat([met, nothing], 2).amax(2) for met in (poison, others)]
        return torch.cat(
            [torch.stack([obstacle, to_walls(place, self._rays), *nearest, own], 3), food.transpose(2, 3)], 3
        )

    def observe(self, worlds: Tensor | None = None) -> Tensor:
        """[B, N, N + 5 + 6 (N + 5)] float32: number, place, velocity (1 for the largest), fed, and sensors."""
        chosen = self._all if worlds is None else worlds
        place, velocity = self.state["place"][chosen], self.state["velocity"][chosen] / FAST
        number = torch.eye(self.num_agents, device=self.device).expand(len(chosen), -1, -1)
        eaten = self.state["eaten"][chosen].float().unsqueeze(2)
        return torch.cat([number, place, velocity.clamp(-1, 1), eaten, self.sensed(chosen).flatten(2)], 2)

    def success(self) -> Tensor:
        """[B] bool, all food is eaten."""
        return self.state["eaten"].all(1)

    def facts(self) -> dict[str, Tensor]:
        """Roles, and in which of nine fields of the square an agent is."""
        column, row = (3 * self.state["place"]).long().clamp(0, 2).unbind(2)
        return super().facts() | {"field": 3 * row + column}

    def scene(self, world: int) -> dict[str, Any]:
        """All places, and which food is eaten."""
        found: dict[str, Any] = {"eaten": self.state["eaten"][world].tolist()}
        for name in ("place", "food", "poison"):
            found[name] = rounded(self.state[name][world])
        return found

    def render(self, world: int, mode: Literal["ansi", "rgb_array"], links: list[DrawnMessage] | None = None) -> Any:
        """Draw one world as text, or as an [H, W, 3] image: agents are blue discs, food diamonds, poison red.

        Raises:
            ValueError: If the mode is unknown.
        """
        check_mode(mode)
        scene = self.scene(world)
        if mode == "ansi":
            lines = []
            for agent, (x, y), (u, v), eaten in zip(
                self.agents, scene["place"], scene["food"], scene["eaten"], strict=True
            ):
                lines.append(f"{agent} at {x:.2f}, {y:.2f}, " + ("fed" if eaten else f"food at {u:.2f}, {v:.2f}"))
            lines += [f"poison at {x:.2f}, {y:.2f}" for x, y in scene["poison"]]
            return draw_text(lines, self.agents, links)

        def at(place: list[float]) -> Any:
            return np.array([(1 - place[1]) * (SIDE - 1), place[0] * (SIDE - 1)])

        spots = [at(place) for place in scene["place"]]
        marks = [Mark(at([CENTER, CENTER]), OBSTACLE * SIDE, QUIET)]
        foods = zip(scene["food"], scene["eaten"], strict=True)
        marks += [Mark(at(place), FOOD * SIDE, GOAL, "diamond") for place, eaten in foods if not eaten]
        marks += [Mark(at(place), POISON * SIDE, HARMED) for place in scene["poison"]]
        marks += [Mark(spot, BODY * SIDE, AGENT) for spot in spots]
        return draw(SIDE, SIDE, marks, spots, links, frame(SIDE, SIDE))


def parallel_env(**arguments: Any) -> ParallelView:
    """One Food Collector world for PettingZoo; arguments: those of its config, and ``render_mode``."""
    return view("food_collector", **arguments)
