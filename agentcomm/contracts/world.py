"""World: B copies of one environment, stepped together as tensors.

Shapes used throughout: B worlds, N agents, O observation width, K observation indices.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import TypeVar

from agentcomm.base.errors import ConfigError
from agentcomm.base.plugin import Plugin, PluginConfig
from agentcomm.base.state import State


@dataclass(frozen=True)
class Observation:
    """How one agent's observation is laid out.

    Attributes:
        kind: ``dense`` for float vectors [.., width]; ``indices`` for int64 [.., width] whose entries
            point into ``vocabulary`` rows, -1 where an entry is unused. An index vector stands for the
            sum of its rows' one-hot codes.
        width: O for dense, K for indices.
        vocabulary: Number of distinct indices (``indices`` only, else 0).
        low: Smallest value an entry can take (``dense`` only).
        high: Largest value an entry can take (``dense`` only).
    """

    kind: Literal["dense", "indices"]
    width: int
    vocabulary: int = 0
    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True)
class Transition:
    """What the environment's rules say about one step, before any auto-reset.

    Attributes:
        reward: [B, N] float32.
        terminated: [B] bool, the episode ended by the rules.
        active: [B, N] bool, agents that still took part in this step.
        truncated: [B] bool, cut off by the environment itself; None where only ``max_steps`` cuts off.
    """

    reward: Tensor
    terminated: Tensor
    active: Tensor
    truncated: Tensor | None = None


@dataclass(frozen=True)
class Step:
    """One step of all worlds.

    Worlds whose episode ended are already reset: ``observation`` shows the new episode, and the last
    observation of the old one is kept in ``final_observation``.

    Attributes:
        observation: [B, N, O] to act on next.
        reward: [B, N] float32.
        terminated: [B] bool, ended by the rules.
        truncated: [B] bool, cut off at ``max_steps`` (never together with terminated).
        active: [B, N] bool, agents whose action counted in this step.
        length: [B] int64, steps of the running episode, this one included.
        success: [B] bool, the task's goal is reached (meaningful where done).
        finished: [F] int64, indices of the worlds that ended.
        final_observation: [F, N, O] of those worlds.
        final_alive: [F, N] bool, their members that were still there.
    """

    observation: Tensor
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    active: Tensor
    length: Tensor
    success: Tensor
    finished: Tensor
    final_observation: Tensor
    final_alive: Tensor

    @property
    def done(self) -> Tensor:
        """[B] bool, terminated or truncated."""
        return self.terminated | self.truncated


class WorldConfig(PluginConfig):
    """Arguments every environment has."""

    max_steps: int = Field(20, ge=1, description="steps after which an episode is truncated")
    observation: Literal["dense", "indices"] = Field(
        "dense", description="one-hot vectors, or the indices of their ones where the environment offers them"
    )
    failure: float = Field(0.0, ge=0, lt=1, description="chance per step that a member fails and is gone")
    fewest: int | None = Field(
        None, ge=1, description="members an episode begins with at least: their number is drawn; none: all"
    )

    @property
    def loses_members(self) -> bool:
        """Whether members may be missing."""
        return self.failure > 0 or self.fewest is not None


W_co = TypeVar("W_co", bound=WorldConfig, default=WorldConfig, covariant=True)


class World(Plugin[W_co], State):
    """B copies of an environment.

    An environment implements :meth:`begin`, :meth:`advance`, :meth:`observe` and :meth:`success`, and
    keeps everything that changes in ``self.state``, a dict of tensors with leading dimension B. All
    randomness comes from the generator it is handed.

    One that ``can_lose_members`` keeps ``state["alive"]`` [B, N] bool where its config ``loses_members``, and
    heeds it: who is gone is not seen, does nothing, earns nothing and is not waited for. Others refuse the
    arguments that make members fail.

    Attributes:
        agents: Names of the N agents.
        num_actions: Actions of each agent are 0 .. num_actions - 1.
        action_names: What they are called.
        layout: The observation's layout.
        state: Named tensors [B, ...].
        alive: [B, N] bool, members that are there; all of them unless the config says otherwise.
        roles: Sort of each agent; one can stand in for another of the same role.
    """

    agents: tuple[str, ...]
    action_names: tuple[str, ...]
    layout: Observation
    can_lose_members: ClassVar[bool] = False
    keeps: ClassVar[tuple[str, ...]] = ("state", "length", "generator")

    def __init__(self, config: W_co, num_worlds: int = 1, device: str | torch.device = "cpu") -> None:
        if num_worlds < 1:
            raise ValueError(f"num_worlds must be at least 1, not {num_worlds}")
        self.config = config
        self.num_worlds = num_worlds
        self.device = torch.device(device)
        self.max_steps = config.max_steps
        self.generator = torch.Generator(self.device)
        self.length = torch.zeros(num_worlds, dtype=torch.int64, device=self.device)
        self.state: dict[str, Tensor] = {}
        if config.loses_members and not self.can_lose_members:
            raise ConfigError(f"members cannot fail in {type(self).__name__}: leave failure and fewest out")
        self._all = torch.arange(num_worlds, device=self.device)

    @property
    def num_agents(self) -> int:
        """N."""
        return len(self.agents)

    @property
    def roles(self) -> tuple[int, ...]:
        """All agents are of one sort, unless an environment says otherwise."""
        return (0,) * self.num_agents

    @property
    def alive(self) -> Tensor:
        """[B, N] bool; [1, N] ones expanded while nobody can fail."""
        if self.config.loses_members:
            return self.state["alive"]
        return torch.ones(1, 1, dtype=torch.bool, device=self.device).expand(self.num_worlds, self.num_agents)

    @property
    def num_actions(self) -> int:
        """Size of each agent's discrete action space."""
        return len(self.action_names)

    # ---- what an environment implements

    @abstractmethod
    def begin(self, worlds: Tensor, generator: torch.Generator, scene: Mapping[str, Any] | None = None) -> None:
        """Start a new episode in the given worlds ([W] int64 indices).

        Args:
            worlds: Worlds to start.
            generator: Source of all randomness.
            scene: A fixed start, in the environment's own words.

        Raises:
            ValueError: If the scene has an unknown key or an impossible value.
        """

    @abstractmethod
    def advance(self, actions: Tensor, generator: torch.Generator) -> Transition:
        """Apply the rules once to all worlds. Actions are [B, N] int64, already checked."""

    @abstractmethod
    def observe(self, worlds: Tensor | None = None) -> Tensor:
        """Observations of the given worlds ([W, N, O] for [W] int64 indices), or of all of them."""

    @abstractmethod
    def success(self) -> Tensor:
        """[B] bool, whether the goal is reached."""

    @property
    def harm(self) -> Tensor:
        """[B] int64, harm done in the episode so far: a safety cost that is no part of the reward, and never falls."""
        return torch.zeros_like(self.length)

    def render(self, world: int, mode: Literal["ansi", "rgb_array"], links: list[DrawnMessage] | None = None) -> Any:
        """Draw one world as text ("ansi") or as an [H, W, 3] uint8 picture, with the links on it."""
        raise NotImplementedError(f"{type(self).__name__} cannot be drawn")

    def scene(self, world: int) -> dict[str, Any]:
        """One world in plain numbers, for the report's player. Environments describe themselves here."""
        return {}

    def readings(self) -> Tensor | None:
        """[N, K, vocabulary + 1] bool, what each entry of each agent's index observation can show; None if dense.

        The first place stands for -1. An entry that no sensor feeds can show one thing at most. Anything by default.
        """
        if self.layout.kind == "dense":
            return None
        shape = (self.num_agents, self.layout.width, self.layout.vocabulary + 1)
        return torch.ones(shape, dtype=torch.bool, device=self.device)

    def facts(self) -> dict[str, Tensor]:
        """What somebody who listens might want to know of each agent: by name, classes [B, N] int64 from 0.

        -1 where the question does not arise. Environments add what their agents know.
        """
        return {"role": torch.tensor(self.roles, device=self.device).expand(self.num_worlds, -1)}

    # ---- what it gets for that

    def reset(self, seed: int | None = None, scene: Mapping[str, Any] | None = None) -> Tensor:
        """Start all worlds anew.

        Args:
            seed: Seeds the world's generator; None goes on with its present state.
            scene: A fixed start used in every world.

        Returns:
            Observations [B, N, O].
        """
        if seed is not None:
            self.generator.manual_seed(seed)
        self._begin(self._all, scene)
        self.length.zero_()
        return self.observe()

    def step(self, actions: Tensor, auto_reset: bool = True) -> Step:
        """Advance every world by one step and restart those whose episode ended.

        Args:
            actions: [B, N] integers in 0 .. num_actions - 1.
            auto_reset: False leaves ended worlds as they are.

        Raises:
            ValueError: If the actions' shape, type or range is wrong.
        """
        self._check(actions)
        transition = self.advance(actions, self.generator)
        self.length += 1
        length = self.length.clone()
        truncated = self.length >= self.max_steps
        if transition.truncated is not None:
            truncated |= transition.truncated
        truncated &= ~transition.terminated
        success = self.success()
        if self.config.failure:
            self._fail()
        finished = (transition.terminated | truncated).nonzero().squeeze(-1)
        final = self.observe(finished) if len(finished) else None
        final_alive = self.alive[finished]
        if auto_reset and len(finished):
            self._begin(finished)
            self.length[finished] = 0
        observation = self.observe()
        return Step(
            observation=observation,
            reward=transition.reward,
            terminated=transition.terminated,
            truncated=truncated,
            active=transition.active,
            length=length,
            success=success,
            finished=finished,
            final_observation=observation[:0] if final is None else final,
            final_alive=final_alive,
        )

    def _begin(self, worlds: Tensor, scene: Mapping[str, Any] | None = None) -> None:
        """Begin episodes, and say who takes part; with a scene, everybody does."""
        self.begin(worlds, self.generator, scene)  # first, for a scene that is refused changes nothing
        if self.config.loses_members:
            fewest = self.num_agents if self.config.fewest is None or scene is not None else self.config.fewest
            order = torch.rand(len(worlds), self.num_agents, generator=self.generator, device=self.device).argsort(1)
            span = self.num_agents - fewest + 1
            missing = torch.randint(span, (len(worlds), 1), generator=self.generator, device=self.device)
            self.state["alive"][worlds] = order >= missing

    def _fail(self) -> None:
        """Let members fail by chance, but never the last one: where all would, one of them at random is left."""
        alive = self.state["alive"]
        luck = torch.rand(alive.shape, generator=self.generator, device=self.device).masked_fill(~alive, -1.0)
        self.state["alive"] = alive & ((luck >= self.config.failure) | (luck == luck.amax(1, keepdim=True)))

    def _check(self, actions: Tensor) -> None:
        if actions.shape != (self.num_worlds, self.num_agents):
            raise ValueError(
                f"actions must have shape {(self.num_worlds, self.num_agents)} (worlds, agents),"
                f" not {tuple(actions.shape)}"
            )
        if actions.dtype.is_floating_point or actions.dtype == torch.bool:
            raise ValueError(f"actions must be integers, not {actions.dtype}")
        low, high = torch.aminmax(actions)
        if low < 0 or high >= self.num_actions:
            raise ValueError(f"actions must lie in 0 .. {self.num_actions - 1}, but go from {int(low)} to {int(high)}")


@dataclass(frozen=True)
class DrawnMessage:
    """One message to draw: who is said to have sent it to whom, and what became of it."""

    sender: int
    receiver: int
    fate: Literal["delivered", "dropped", "forged", "tampered", "refused"] = "delivered"
