"""Traffic Junction: cars on fixed routes must not meet in a cell, and see little more than their own.

Rules are those of IC3Net (Singh et al., ICLR 2019, arXiv 1812.09755, section 4.2) and its released environment. In each
step every car goes to the next cell of its route (``gas``) or stays (``brake``); a car that goes on from the last cell
leaves. Then at each arrival, in order, if a slot is free, a car arrives with the chance ``arrival``: in a random free
slot, on a random route from there. Cars in the same cell collide, which neither removes them nor ends the episode; a
step in which they stay together counts as another collision. The reward of a car is -0.01 times the steps since it
arrived, and -10 if it collides. Success is an episode without a collision.

| difficulty | grid | roads | N | arrivals x routes | steps | arrival |
|---|---|---|---|---|---|---|
| easy | 7x7 | one down, one to the right | 5 | 2 x 1 | 20 | 0.3 |
| medium | 14x14 | one of two lanes each way | 10 | 4 x 3 | 40 | 0.2 |
| hard | 18x18 | two of two lanes each way | 20 | 8 x 7 | 80 | 0.05 |

Agents are the N slots: a member is present while there is a car in its slot, and the car that takes a slot is another
member than the one that left it, possibly in the same step. So there may be nobody in a world, as at the start.

Deviations: a car takes part from the step after its arrival, so that one that arrives in a cell in which another stays
makes both collide, but is charged itself only if they are still together one step later. A car that has just arrived
observes ``gas`` as its last action; in the released code that of the slot's previous car. ``envs/traffic/scripted.py``
has the floors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from agentcomm.contracts.world import DrawnMessage, Transition, World, WorldConfig
from agentcomm.pettingzoo.view import ParallelView, view
from envs.traffic.drawing import draw_picture, draw_text
from envs.traffic.observation import CarSight
from envs.traffic.roads import MAPS, Difficulty, Roads

GAS, BRAKE = range(2)
DELAY_COST, COLLISION_COST = -0.01, -10.0


class TrafficJunctionConfig(WorldConfig):
    """Arguments of Traffic Junction."""

    difficulty: Difficulty = Field("easy", description="the map, with its number of cars")
    vision: int = Field(1, ge=0, le=4, description="cells that a car sees in each direction; 0 for its own only")
    arrival: float | None = Field(
        None, ge=0, le=1, description="chance per step and arrival that a car arrives; by difficulty when not given"
    )
    max_steps: int = Field(20, ge=1, description="steps of an episode; by difficulty when not given: 20, 40 or 80")

    @model_validator(mode="before")
    @classmethod
    def _steps(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and "max_steps" not in data and str(data.get("difficulty")) in MAPS:
            return {**data, "max_steps": MAPS[data["difficulty"]].max_steps}
        return data


class TrafficJunction(World[TrafficJunctionConfig]):
    """B copies of Traffic Junction.

    State: ``alive`` [B, N] bool, slots with a car; of these cars ``route`` (-1 in free slots), ``place`` on it and
    ``waited`` steps since the arrival, all [B, N] int64, and ``braked`` [B, N] bool, the last action; ``collisions``
    [B] int64, cars in collisions so far, counted in every step.

    Attributes:
        roads: The map.
        rate: Chance per step and arrival that a car arrives.
    """

    score = "success"
    action_names = ("gas", "brake")
    members_return: ClassVar[bool] = True

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """A busy junction in short episodes; two lanes each way without sight."""
        return {
            "": {"max_steps": 12},
            "medium": {"difficulty": "medium", "vision": 0, "arrival": 0.5, "max_steps": 18},
        }

    def __init__(self, config: TrafficJunctionConfig, num_worlds: int = 1, device: str | torch.device = "cpu") -> None:
        super().__init__(config, num_worlds, device)
        self.roads = Roads(config.difficulty, config.vision, self.device)
        cars = self.roads.plan.cars
        self.rate = self.roads.plan.rate if config.arrival is None else config.arrival
        self.agents = tuple(f"car_{number}" for number in range(cars))
        self._sight = CarSight(self.roads, cars, config.observation)
        self.layout = self._sight.layout
        whole = torch.zeros(num_worlds, cars, dtype=torch.int64, device=self.device)
        self.state = {
            "alive": whole.bool(),
            "route": whole - 1,
            "place": whole.clone(),
            "waited": whole.clone(),
            "braked": whole.bool(),
            "collisions": whole[:, 0].clone(),
        }

    @property
    def loses_members(self) -> bool:
        """Cars come and go."""
        return True

    @property
    def cells(self) -> Tensor:
        """[B, N] int64, road cells of the cars; ``roads.num_cells`` in free slots."""
        return self.roads.where(self.state["route"], self.state["place"])

    def begin(self, worlds: Tensor, generator: torch.Generator, scene: Mapping[str, Any] | None = None) -> None:
        """Clear the roads, or put the cars of the scene on them.

        Args:
            worlds: [W] int64 indices.
            generator: Source of all randomness.
            scene: ``{"cars": [[route, place], ...]}``, in the first slots.

        Raises:
            ValueError: If there is another key, there are too many cars, or one is not on a route.
        """
        cars = [] if scene is None else self._read(scene)
        empty = {"alive": False, "route": -1, "place": 0, "waited": 0, "braked": False, "collisions": 0}
        for name, value in empty.items():
            self.state[name][worlds] = value
        for slot, (route, place) in enumerate(cars):
            for name, value in (("alive", True), ("route", route), ("place", place)):
                self.state[name][worlds, slot] = value

    def _read(self, scene: Mapping[str, Any]) -> list[tuple[int, int]]:
        if set(scene) != {"cars"}:
            raise ValueError(f"scene: it must have the one key 'cars', not {list(scene)}")
        given, length = scene["cars"], self.roads.length.tolist()
        if not isinstance(given, list) or len(given) > self.num_agents:
            raise ValueError(f"scene: 'cars' must be a list of at most {self.num_agents} cars, not {given!r}")
        for car in given:
            whole = isinstance(car, list | tuple) and len(car) == 2 and all(type(number) is int for number in car)
            if not whole or not 0 <= car[0] < len(length) or not 0 <= car[1] < length[car[0]]:
                raise ValueError(f"scene: a car is [route below {len(length)}, place on it], not {car!r}")
        return [(route, place) for route, place in given]

    def advance(self, actions: Tensor, generator: torch.Generator) -> Transition:
        """Cars go on or stay, new ones arrive, and those that share a cell collide."""
        s, acting = self.state, self.state["alive"]
        goes = acting & (actions == GAS)
        place = s["place"] + goes
        left = goes & (place >= self.roads.length[s["route"].clamp_min(0)])
        stays = acting & ~left
        kept = {
            "alive": stays,
            "route": s["route"].masked_fill(~stays, -1),
            "place": place * stays,
            "waited": (s["waited"] + 1) * stays,
            "braked": stays & ~goes,
        }
        arrived, route = self._arrivals(stays, generator)
        self.state |= kept | {"alive": stays | arrived, "route": torch.where(arrived, route, kept["route"])}
        cell = self.cells
        together = (self._sight.counts(cell).gather(1, cell) > 1) & self.state["alive"]
        self.state["collisions"] = s["collisions"] + together.sum(1)
        reward = (DELAY_COST * kept["waited"] + COLLISION_COST * together) * stays
        never = torch.zeros(self.num_worlds, dtype=torch.bool, device=self.device)
        return Transition(reward=reward, terminated=never, active=acting, left=left)

    def _arrivals(self, taken: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Slots [B, N] in which cars arrive (bool), and their routes (int64), given those that are taken.

        Arrivals are tried in their order, so with few free slots the later ones get none; the n-th car that arrives
        takes the free slot with the n-th largest random number.
        """
        (worlds, cars), count = taken.shape, len(self.roads.plan.arrivals)
        luck = torch.rand(worlds, 2 * count + cars, generator=generator, device=self.device)
        wants, choice, key = luck[:, :count] < self.rate, luck[:, count : 2 * count], luck[:, 2 * count :]
        option = (choice * self.roads.options).long().clamp_max(self.roads.options - 1)
        route = option + torch.arange(count, device=self.device) * self.roads.options
        # Arrivals that come, in order, and then the others: the n-th place belongs to the n-th car that arrives.
        order = torch.argsort(~wants, dim=1, stable=True)
        arriving = min(count, cars)
        slot = key.masked_fill(taken, -1.0).argsort(1, descending=True)[:, :arriving]
        room = (~taken).sum(1, keepdim=True)
        rank = torch.arange(arriving, device=self.device)
        enters = (rank < wants.sum(1, keepdim=True)) & (rank < room)
        arrived = torch.zeros_like(taken).scatter(1, slot, enters)
        chosen = torch.full_like(taken, -1, dtype=torch.int64)
        return arrived, chosen.scatter(1, slot, route.gather(1, order)[:, :arriving])

    def observe(self, worlds: Tensor | None = None) -> Tensor:
        """[B, N, O] float32, or [B, N, K] int64 with ``observation="indices"``: see :class:`CarSight`."""
        cell, route, braked = self.cells, self.state["route"], self.state["braked"]
        if worlds is not None:
            cell, route, braked = cell[worlds], route[worlds], braked[worlds]
        return self._sight.look(cell, route, braked)

    def readings(self) -> Tensor | None:
        """Road cells, routes, actions, and numbers of cars in each window cell."""
        return self._sight.readings()

    def success(self) -> Tensor:
        """[B] bool, no collision so far."""
        return self.state["collisions"] == 0

    def scene(self, world: int) -> dict[str, Any]:
        """Cells as [row, column] (free slots in the corner, where there is no road), for the report's player."""
        cells = [*self.roads.cells, (0, 0)]
        return {
            "size": self.roads.plan.size,
            "agents": [list(cells[cell]) for cell in self.cells[world].tolist()],
            "alive": self.state["alive"][world].tolist(),
            "routes": self.state["route"][world].tolist(),
            "kinds": ["car"] * self.num_agents,
            "vision": [self.config.vision] * self.num_agents,
        }

    def facts(self) -> dict[str, Tensor]:
        """Role, route, and how far along it a car is."""
        place = self.state["place"].masked_fill(~self.alive, -1)
        role = super().facts()["role"].masked_fill(~self.alive, -1)
        return {"role": role, "route": self.state["route"].clone(), "place": place}

    def render(self, world: int, mode: Literal["ansi", "rgb_array"], links: list[DrawnMessage] | None = None) -> Any:
        """Draw one world as text with links listed below the roads, or as an [H, W, 3] uint8 image with arrows.

        Raises:
            ValueError: If the mode is unknown.
        """
        if mode == "ansi":
            return draw_text(self.scene(world), self.roads.cells, self.agents, links or [])
        if mode == "rgb_array":
            return draw_picture(self.scene(world), self.roads.cells, links or [])
        raise ValueError(f"render mode must be 'ansi' or 'rgb_array', not {mode!r}")


def parallel_env(**arguments: Any) -> ParallelView:
    """One Traffic Junction world for PettingZoo; arguments: those of its config, and ``render_mode``."""
    return view("traffic_junction", **arguments)
