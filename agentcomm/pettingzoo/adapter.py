"""Third-party environments as worlds, at the speed of their Python code: PettingZoo's, and Gymnasium's with tuples.

| environment | what names it |
|---|---|
| ``pettingzoo`` | a function or class that creates an environment, ``package.module:function`` |
| ``gymnasium`` | an id of Gymnasium, ``package:id`` |

Both accept parallel and turn-based (AEC) environments of PettingZoo and Gymnasium environments with tuple spaces.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import TypeVar

from agentcomm.base.errors import ConfigError
from agentcomm.contracts.actions import ActionSpace
from agentcomm.contracts.continuous import Continuous
from agentcomm.contracts.discrete import Discrete, MultiDiscrete
from agentcomm.contracts.world import DrawnMessage, Observation, Transition, World, WorldConfig
from agentcomm.pettingzoo.kinds import Recipe
from agentcomm.pettingzoo.processes import Processes
from agentcomm.pettingzoo.shard import Arrays, Shard, bounds
from agentcomm.pettingzoo.team import Team


class ParallelWorldConfig(WorldConfig):
    """Arguments of a world made of third-party environments."""

    make: str = Field("", description="function that creates an environment: package.module:function")
    arguments: dict[str, Any] = Field(default_factory=dict, description="keyword arguments of that function")
    max_steps: int = Field(1000, ge=1, description="steps after which an episode is truncated")
    success: Literal["terminated"] | None = Field(
        None,
        description="terminated: an episode that terminates is a success; unknown when not given, unless the"
        " environment says so in infos",
    )
    processes: int = Field(
        1, ge=1, description="processes that step the environments; results are the same, 1 for no other process"
    )

    @property
    def recipe(self) -> Recipe:
        """What creates an environment."""
        return Recipe("function", self.make, self.arguments)

    def code(self) -> list[str]:
        """The module of the environment."""
        module = self.make.rpartition(":")[0]
        return [module] if module else []


def action_space(team: Team) -> ActionSpace:
    """The action space of a team."""
    if team.kind == "discrete":
        sizes = tuple(spaces.sizes[0] for spaces in team.spaces)
        return Discrete(tuple(map(str, range(team.options))), None if len(set(sizes)) == 1 else sizes)
    if team.kind == "multi_discrete":
        each = tuple((*spaces.sizes, *(1,) * (team.dimensions - len(spaces.sizes))) for spaces in team.spaces)
        return MultiDiscrete(tuple(map(max, zip(*each, strict=True))), None if len(set(each)) == 1 else each)
    dimensions = tuple(len(spaces.action_low) for spaces in team.spaces)
    low, high = (tuple(bound.tolist()) for bound in team.action_bounds)
    return Continuous(low, high, None if len(set(dimensions)) == 1 else dimensions)


P_co = TypeVar("P_co", bound=ParallelWorldConfig, default=ParallelWorldConfig, covariant=True)


class ParallelWorld(World[P_co]):
    """Environments of other packages, from a function that creates one: B of them, stepped one after the other.

    Observations are flattened, and padded with zeros to the widest agent's.

    Agents are present (``alive``) while they are listed in ``env.agents`` and have not been flagged as terminated or
    truncated; they may join later, and come back after they were not listed. An episode ends when no agent is present:
    terminated, unless one of the last agents was truncated. ``infos`` may contain ``active`` and ``success`` like
    those of :class:`agentcomm.pettingzoo.view.ParallelView`, and masks as ``action_mask``. Without them, agents are
    active while they are present, and success is unknown: many environments also terminate at a time limit of their
    own. Where termination is success, say ``success=terminated``. Everything else in ``infos`` is ignored.

    Such environments cannot save their state: :meth:`restore` starts new episodes from the saved generator.
    """

    name = "pettingzoo"

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """An environment to try the adapter with, except for subclasses that create their own."""
        own = cls.__init__ is not ParallelWorld.__init__
        return {"": {} if own else {"make": "envs.gridworld.predator_prey:parallel_env"}}

    def __init__(
        self,
        config: P_co,
        num_worlds: int = 1,
        device: str | torch.device = "cpu",
        factory: Callable[[], Any] | None = None,
    ) -> None:
        """Create the environments.

        Args:
            config: Arguments.
            num_worlds: B.
            device: Device of the tensors.
            factory: Creates one environment, in this process; used instead of ``config.make``.

        Raises:
            ConfigError: If no function to create environments is given, they are of a kind that is not supported, or
                their spaces are not.
            HookError: If their code raises an error.
        """
        super().__init__(config, num_worlds, device)
        if config.observation != "dense":
            raise ConfigError("third-party environments support observation='dense' only")
        what = f"environment {config.make or self.name!r}"
        self._shard: Shard | Processes
        if factory is None and min(config.processes, num_worlds) > 1:
            self._shard = Processes(config.recipe, num_worlds, config.processes, what)
            self._arrays = self._shard.arrays
        else:
            self._shard = Shard(factory or config.recipe.maker(), num_worlds, what)
            self._arrays = Arrays(self._shard.team, num_worlds)
            self._shard.attach(self._arrays)
        team = self._shard.team
        self.agents = tuple(str(name) for name in team.names)
        low, high = bounds(team)
        self.layout = Observation("dense", team.width, low=min(0.0, float(low.min())), high=max(0.0, float(high.max())))
        self.masks_actions = team.masked
        if team.kind == "discrete":
            self.action_names = tuple(map(str, range(team.options)))
        self._actions = action_space(team)
        self._share_alive()

    @property
    def actions(self) -> ActionSpace:
        """Discrete, multi-discrete or continuous actions; where agents differ, with what each of them has."""
        return self._actions

    def allowed(self) -> Tensor:
        """[B, N, A] bool, from the environment's masks; all of an agent's actions if it has none, or has left."""
        return self._copied(self._arrays.mask)

    @property
    def loses_members(self) -> bool:
        """Agents come and go as their environment says."""
        return True

    def begin(self, worlds: Tensor, generator: torch.Generator, scene: Mapping[str, Any] | None = None) -> None:
        """Reset the environments, each with a seed from the generator and the scene as its options."""
        seeds = torch.randint(2**31, (len(worlds),), generator=generator, device=self.device)
        self._shard.reset(dict(zip(worlds.tolist(), seeds.tolist(), strict=True)), scene)
        self._share_alive()

    def advance(self, actions: Tensor, generator: torch.Generator) -> Transition:
        """Step every environment whose episode is running."""
        arrays = self._arrays
        arrays.actions[...] = actions.cpu().numpy()
        self._shard.step(self.length.tolist())
        self._share_alive()
        flags = self._copied(arrays.flags)
        return Transition(self._copied(arrays.reward), flags[:, 0], self._copied(arrays.active), flags[:, 1])

    def _share_alive(self) -> None:
        self.state["alive"] = self._copied(self._arrays.alive)

    def _copied(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array.copy()).to(self.device)

    def observe(self, worlds: Tensor | None = None) -> Tensor:
        """[B, N, O] float32, zero where an agent has left."""
        seen = self._arrays.seen
        return self._copied(seen if worlds is None else seen[worlds.cpu().numpy()])

    def success(self) -> Tensor:
        """[B] bool, from ``infos`` or, without it, whether the episode terminated."""
        return self._copied(self._arrays.flags[:, 2])

    def success_known(self) -> Tensor:
        """[B] bool, whether ``infos`` said so, or termination is said to be success."""
        if self.config.success == "terminated":
            return super().success_known()
        return self._copied(self._arrays.flags[:, 3])

    def render(self, world: int, mode: Literal["ansi", "rgb_array"], links: list[DrawnMessage] | None = None) -> Any:
        """The environment's rendering in its own render mode; links are drawn if it has a ``show`` method."""
        return self._shard.render(world, links)

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Start new episodes, drawn from the saved generator."""
        super().restore(saved)
        self.reset()

    def close(self) -> None:
        """Close all environments, also if closing one fails."""
        self._shard.close()


class GymnasiumWorldConfig(ParallelWorldConfig):
    """Arguments of a world made of Gymnasium environments of several agents."""

    make: str = Field("", description="id of an environment, after the package that registers it: package:id")
    arguments: dict[str, Any] = Field(default_factory=dict, description="keyword arguments of gymnasium.make")

    @property
    def recipe(self) -> Recipe:
        """What creates an environment."""
        return Recipe("gymnasium", self.make, self.arguments)

    def code(self) -> list[str]:
        """The package that registers the environment."""
        return super().code()


class GymnasiumWorld(ParallelWorld[GymnasiumWorldConfig]):
    """Gymnasium environments with tuple spaces, an entry per agent; agents are named ``agent_0`` and so on."""

    name = "gymnasium"

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """An environment to try the adapter with."""
        return {"": {"make": "rware:rware-tiny-2ag-v2", "max_steps": 500}}
