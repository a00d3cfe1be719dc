"""Hallway-C: agents on private lines must all arrive at a time that only one of them knows, so it has to be told.

Hallway (:mod:`envs.hallway`) is solved without any message by agents that count steps. Here a common *go-time* is drawn
in each episode, uniformly from max(``lengths``) .. max(``lengths``) + ``times`` - 1, and shown to one random agent
only. All agents must reach 0 in exactly that step. An episode ends when any agent reaches 0, or at the go-time.

| | |
|---|---|
| agents | one per line: ``agent_0`` .. |
| actions | 0 stay, 1 left (towards 0), 2 right (at the last place: stay) |
| observation | own place; with ``clock`` the step; and for the informed agent the steps left until the go-time |
| reward | 1 for every agent if all reach 0 at the go-time, else 0 |
| success | all reached 0 at the go-time |

| argument | default | |
|---|---|---|
| ``lengths`` | (2, 6, 10) | as in Hallway |
| ``start`` | none | as in Hallway; go-times then begin with it |
| ``times`` | 5 | number of possible go-times |
| ``clock`` | true | whether agents observe the step |
| ``max_steps`` | max(lengths) + 10 | later go-times cannot be reached |

Known answers (:func:`expected`), as share of successes: 1 for agents that hear the informed one. Without messages 1 /
``times`` at most, reached by agents that agree on one of the times beforehand: when an agent that is not informed
arrives does not depend on the go-time. The informed agent is the one to impersonate, and the only one whose silence
costs anything.

Versions: 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.pettingzoo.view import ParallelView, view
from envs.hallway import LEFT, STAY, Hallway, HallwayConfig, arrivals
from envs.symbols import check_keys


class HallwayCConfig(HallwayConfig):
    """Arguments of Hallway-C."""

    clock: bool = Field(True, description="whether agents observe how many steps the episode has taken")
    times: int = Field(5, ge=1, le=64, description="number of possible go-times")


class HallwayC(Hallway):
    """B copies of Hallway-C.

    State: ``places`` [B, N] int64, 0 at the end of the line; ``go`` [B] int64, the step in which all are to arrive,
    counted from 1; ``informed`` [B] int64, the agent that knows it.
    """

    Config = HallwayCConfig
    name = "hallway_c"
    config: HallwayCConfig

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Short lines, with and without a clock."""
        return {"": {"lengths": (2, 3), "times": 2}, "no clock": {"lengths": (1, 2, 3), "times": 3, "clock": False}}

    def __init__(self, config: HallwayCConfig, num_worlds: int = 1, device: str | torch.device = "cpu") -> None:
        super().__init__(config, num_worlds, device)
        whole = torch.zeros(num_worlds, dtype=torch.int64, device=self.device)
        self.state |= {"go": whole + max(config.starts), "informed": whole.clone()}

    def _codes(self) -> list[range]:
        """Those of Hallway, and then of the steps left until the go-time."""
        codes = super()._codes()
        left = self.config.longest + self.config.times
        return [*codes, range(codes[-1].stop, codes[-1].stop + left)]

    @property
    def knowing(self) -> Tensor:
        """[B, N] bool, the informed agent."""
        return torch.arange(self.num_agents, device=self.device) == self.state["informed"].unsqueeze(1)

    def begin(self, worlds: Tensor, generator: torch.Generator, scene: Mapping[str, Any] | None = None) -> None:
        """Draw where agents start, the go-time and who knows it; or use those of the scene.

        Args:
            worlds: [W] int64 indices.
            generator: Source of all randomness.
            scene: ``{"places": [place, ...], "go": step, "informed": agent}``.

        Raises:
            ValueError: If a key is missing or unknown, or a value is out of range.
        """
        if scene is None:
            super().begin(worlds, generator)
            later = torch.randint(self.config.times, worlds.shape, generator=generator, device=self.device)
            go = max(self.config.starts) + later
            informed = torch.randint(self.num_agents, worlds.shape, generator=generator, device=self.device)
        else:
            check_keys(scene, ("places", "go", "informed"))
            go, informed = self._numbers(scene)
            super().begin(worlds, generator, {"places": scene["places"]})
        self.state["go"][worlds] = go
        self.state["informed"][worlds] = informed

    def _numbers(self, scene: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """Go-time and informed agent of a scene."""
        first, found = max(self.config.starts), []
        for key, valid in (("go", range(first, first + self.config.times)), ("informed", range(self.num_agents))):
            given = scene[key]
            if type(given) is not int or given not in valid:
                raise ValueError(f"scene: {key!r} must be one of {valid.start} .. {valid.stop - 1}, not {given!r}")
            found.append(torch.tensor(given, device=self.device))
        return found[0], found[1]

    def _ends(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """[B] bool each: it ends at the go-time, too, and is won only then."""
        any_there, all_there = super()._ends(places)
        now = self.length + 1
        return any_there | (now >= self.state["go"]), all_there & (now == self.state["go"])

    def _seen(self, worlds: Tensor) -> list[Tensor]:
        """Codes [W, N] of each entry."""
        left = (self.state["go"] - self.length)[worlds].clamp_min(0).unsqueeze(1)
        return [*super()._seen(worlds), torch.where(self.knowing[worlds], self._entries[-1].start + left, -1)]

    def readings(self) -> Tensor | None:
        """As in Hallway; any agent may be the informed one, or not."""
        shown = super().readings()
        if shown is not None:
            shown[:, -1, 0] = True
        return shown

    def facts(self) -> dict[str, Tensor]:
        """Roles, places, who is informed, and for that agent which of the go-times it is."""
        which = (self.state["go"] - max(self.config.starts)).unsqueeze(1)
        return super().facts() | {"informed": self.knowing.long(), "go": torch.where(self.knowing, which, -1)}

    def scene(self, world: int) -> dict[str, Any]:
        """As in Hallway, with go-time and informed agent."""
        return super().scene(world) | {name: int(self.state[name][world]) for name in ("go", "informed")}

    def _notes(self, world: int) -> list[str]:
        go, informed = (int(self.state[name][world]) for name in ("go", "informed"))
        return [f"{self.agents[informed]} knows the go-time {go}; {int(self.length[world])} steps are over"]


def told(world: HallwayC) -> Tensor:
    """[B, N] int64, actions of agents that hear the informed one: each leaves when its way is as long as the time left.

    Without messages, :func:`envs.hallway.by_clock` with one of the go-times is the best there is.
    """
    left = (world.state["go"] - world.length).unsqueeze(1)
    return torch.where(world.state["places"] >= left, LEFT, STAY)


def expected(config: HallwayCConfig, team: Literal["random", "silent", "told"]) -> float:
    """Share of successes in closed form: of agents that move at random, without messages, and with them."""
    times = [max(config.starts) + extra for extra in range(config.times)]
    possible = [time for time in times if time <= config.max_steps]
    if team == "random":
        lines = zip(config.lengths, config.starts, strict=True)
        chance = torch.stack([arrivals(*line, times[-1]) for line in lines]).prod(0)
        return float(sum(chance[time - 1] for time in possible)) / config.times
    return (len(possible) if team == "told" else min(len(possible), 1)) / config.times


def parallel_env(**arguments: Any) -> ParallelView:
    """One Hallway-C world for PettingZoo; arguments: those of its config, and ``render_mode``."""
    return view("hallway_c", **arguments)
