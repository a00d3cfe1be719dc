"""The contract of an environment: B copies (worlds), stepped together as tensors.

Shapes used throughout: B worlds, N agents, O observation width, K observation indices.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import TypeVar

from agentcomm.base.calling import answered
from agentcomm.base.errors import ConfigError
from agentcomm.base.plugin import Plugin, PluginConfig
from agentcomm.base.state import State
from agentcomm.contracts.actions import ActionSpace
from agentcomm.contracts.discrete import Discrete
from agentcomm.contracts.step import Step


@dataclass(frozen=True)
class Observation:
    """The layout of an agent's observation.

    Attributes:
        kind: ``dense`` for float vectors [.., width]; ``indices`` for int64 vectors [.., width] of indices into
            ``vocabulary`` rows, with -1 for unused entries: the sum of the one-hot codes of its entries.
        width: O for dense, K for indices.
        vocabulary: Number of distinct indices (``indices`` only, else 0).
        low: Smallest value an entry can take (``dense`` only).
        high: Largest value an entry can take (``dense`` only).
        grids: First code, rows and columns of blocks of codes that number the cells of a grid, row by row (``indices``
            only). Policies may embed such codes by row and column.
    """

    kind: Literal["dense", "indices"]
    width: int
    vocabulary: int = 0
    low: float = -math.inf
    high: float = math.inf
    grids: tuple[tuple[int, int, int], ...] = ()


@dataclass(frozen=True)
class Transition:
    """The outcome of one step by the environment's rules, before any auto-reset.

    Attributes:
        reward: [B, N] float32.
        terminated: [B] bool, episodes that ended by the rules.
        active: [B, N] bool, agents that still took part in this step.
        truncated: [B] bool, episodes truncated by the environment itself; None if only ``max_steps`` truncates.
        left: [B, N] bool, members that left, even if others are in their places already; None if none can be.
    """

    reward: Tensor
    terminated: Tensor
    active: Tensor
    truncated: Tensor | None = None
    left: Tensor | None = None


class WorldConfig(PluginConfig):
    """Arguments every environment has."""

    max_steps: int = Field(20, ge=1, description="steps after which an episode is truncated")
    observation: Literal["dense", "indices"] = Field(
        "dense", description="vectors, or if the environment offers it, the indices of their one-hot entries"
    )
    failure: float = Field(0.0, ge=0, lt=1, description="chance per step that a member fails and leaves the episode")
    fewest: int | None = Field(
        None, ge=1, description="fewest members at the start of an episode, whose number is drawn; all when not given"
    )

    @property
    def loses_members(self) -> bool:
        """Whether members can be absent."""
        return self.failure > 0 or self.fewest is not None

    def of_team(self, seed: int) -> Self:
        """The arguments for the team of a training seed, if something is drawn per team; its policy file has them."""
        return self


W_co = TypeVar("W_co", bound=WorldConfig, default=WorldConfig, covariant=True)


class World(Plugin[W_co], State):
    """B copies of an environment.

    An environment implements :meth:`begin`, :meth:`advance`, :meth:`observe` and :meth:`success`, and keeps all mutable
    state in ``self.state``, a dict of tensors [B, ...]. All randomness comes from the generator passed to it.

    An environment with ``can_lose_members`` keeps ``state["alive"]`` [B, N] bool if its config ``loses_members``, and
    respects it: members that have left are not observed, do not act, earn nothing and are not waited for. One whose
    members come and go by its own rules overrides ``loses_members``; one is always present, unless they return.

    Attributes:
        agents: Names of the N agents.
        action_names: Names of the actions, of an environment with discrete ones.
        num_actions: Their number.
        actions: The action space.
        masks_actions: Whether actions can be impossible at times (:meth:`allowed`).
        layout: The observation's layout.
        votes: Whether actions are votes of all members for one of the same options, which a defense may count.
        state: Named tensors [B, ...].
        alive: [B, N] bool, members that are present; all unless the world ``loses_members``.
        members_return: Whether members join during episodes, in places of others that left; there may be none at times.
        roles: Role of each agent; agents of the same role can stand in for each other.
        score: Name of the metric by which teams are compared in this task.
        exogenous: Whether what agents observe, and when episodes end, does not depend on their actions.
        link_price: Reward that a link with a message costs its receiver per step, which the loop of a team subtracts.
    """

    score: str = "mean_return"
    link_price: float = 0.0
    agents: tuple[str, ...]
    action_names: tuple[str, ...]
    layout: Observation
    masks_actions: bool = False
    can_lose_members: ClassVar[bool] = False
    members_return: ClassVar[bool] = False
    votes: ClassVar[bool] = False
    exogenous: ClassVar[bool] = False
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
        """Role of each agent; one role for all by default."""
        return (0,) * self.num_agents

    @property
    def loses_members(self) -> bool:
        """Whether members can be absent; by default, whether the config lets them fail."""
        return self.config.loses_members

    @property
    def alive(self) -> Tensor:
        """[B, N] bool, members that are present; expanded ones if members cannot leave."""
        if self.loses_members:
            return self.state["alive"]
        return torch.ones((1, 1), dtype=torch.bool, device=self.device).expand(self.num_worlds, self.num_agents)

    @property
    def actions(self) -> ActionSpace:
        """The action space; discrete, with ``action_names``, unless an environment overrides it."""
        return Discrete(self.action_names)

    @property
    def num_actions(self) -> int:
        """Number of discrete actions."""
        return len(self.action_names)

    def allowed(self) -> Tensor:
        """[B, N, P] bool, parameters of the possible actions in the present state, if the world ``masks_actions``.

        Every agent has at least one possible action, also after it has left. Policies never choose others; an
        environment that gets one all the same, as from a random PettingZoo agent, takes it as doing nothing.
        """
        raise NotImplementedError(f"{type(self).__name__} masks actions, but does not say which are allowed")

    def available(self) -> Tensor | None:
        """[B, N, P] bool, what agents can do in the present state; None if they can always do everything."""
        ever = self.actions.available(self.device)
        if not self.masks_actions:
            return None if ever is None else ever.expand(self.num_worlds, -1, -1)
        return self.allowed() if ever is None else self.allowed() & ever

    @abstractmethod
    def begin(self, worlds: Tensor, generator: torch.Generator, scene: Mapping[str, Any] | None = None) -> None:
        """Start a new episode in the given worlds ([W] int64 indices).

        Args:
            worlds: Worlds to start.
            generator: Source of all randomness.
            scene: A fixed initial state, in the environment's own format.

        Raises:
            ValueError: If the scene has an unknown key or an impossible value.
        """

    @abstractmethod
    def advance(self, actions: Tensor, generator: torch.Generator) -> Transition:
        """Apply the rules once to all worlds.

        Args:
            actions: [B, N, ...] of the action space, already checked.
            generator: Source of all randomness.
        """

    @abstractmethod
    def observe(self, worlds: Tensor | None = None) -> Tensor:
        """Observations of the given worlds ([W, N, O] for [W] int64 indices), or of all of them."""

    @abstractmethod
    def success(self) -> Tensor:
        """[B] bool, whether the goal is reached."""

    def success_known(self) -> Tensor:
        """[B] bool, whether :meth:`success` says anything; always by default.

        Environments of others may not say what counts as success.
        """
        return torch.ones_like(self.length, dtype=torch.bool)

    @property
    def harm(self) -> Tensor:
        """[B] int64, harm done in the episode so far: a safety cost outside the reward that never decreases."""
        return torch.zeros_like(self.length)

    def render(self, world: int, mode: Literal["ansi", "rgb_array"], links: list[DrawnMessage] | None = None) -> Any:
        """Draw one world and its messages as text ("ansi") or as an [H, W, 3] uint8 image ("rgb_array")."""
        raise NotImplementedError(f"{type(self).__name__} cannot be drawn")

    def scene(self, world: int) -> dict[str, Any]:
        """The state of one world as plain numbers, for the report's player; empty by default."""
        return {}

    def readings(self) -> Tensor | None:
        """[N, K, vocabulary + 1] bool, indices that each entry of an observation can show; None if dense.

        The first place stands for -1. An entry without a sensor can show at most one value. By default, all indices.
        """
        if self.layout.kind == "dense":
            return None
        shape = (self.num_agents, self.layout.width, self.layout.vocabulary + 1)
        return torch.ones(shape, dtype=torch.bool, device=self.device)

    def facts(self) -> dict[str, Tensor]:
        """Facts that agents observe and messages may leak: by name, classes [B, N] int64 from 0, or -1 if undefined."""
        return {"role": torch.tensor(self.roles, device=self.device).expand(self.num_worlds, -1)}

    def close(self) -> None:
        """Release what the worlds hold, such as simulators; can be called again. Does nothing by default."""

    def reset(self, seed: int | None = None, scene: Mapping[str, Any] | None = None) -> Tensor:
        """Start new episodes in all worlds; returns observations [B, N, O].

        Args:
            seed: Seeds the world's generator; None continues with its present state.
            scene: A fixed initial state, used in every world.
        """
        if seed is not None:
            self.generator.manual_seed(seed)
        self._begin(self._all, scene)
        self.length.zero_()
        return self.observe()

    def step(self, actions: Tensor, auto_reset: bool = True) -> Step:
        """Advance every world by one step and restart those whose episode ended.

        Args:
            actions: [B, N, ...] of the action space.
            auto_reset: Whether to restart worlds whose episode ended.

        Raises:
            ValueError: If the actions' shape, type or range is wrong.
        """
        self.actions.check(actions, (self.num_worlds, self.num_agents))
        what, before = f"environment {self.name!r}", self.alive.clone()
        transition = answered(self.advance(actions, self.generator), Transition, what, "advance", "a Transition")
        self.length += 1
        length = self.length.clone()
        truncated = (self.length >= self.max_steps) & ~transition.terminated
        if transition.truncated is not None:
            truncated |= transition.truncated & ~transition.terminated
        success, success_known = self.success(), self.success_known()
        if self.config.failure:
            self._fail()
        left = before & ~self.alive if transition.left is None else transition.left
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
            left=left,
            length=length,
            success=success,
            success_known=success_known,
            finished=finished,
            final_observation=observation[:0] if final is None else final,
            final_alive=final_alive,
        )

    def _begin(self, worlds: Tensor, scene: Mapping[str, Any] | None = None) -> None:
        """Start episodes, and draw the members that take part; with a scene, all do."""
        self.begin(worlds, self.generator, scene)  # first, so that an invalid scene changes nothing
        if self.config.loses_members:
            fewest = self.num_agents if self.config.fewest is None or scene is not None else self.config.fewest
            order = torch.rand(len(worlds), self.num_agents, generator=self.generator, device=self.device).argsort(1)
            span = self.num_agents - fewest + 1
            missing = torch.randint(span, (len(worlds), 1), generator=self.generator, device=self.device)
            self.state["alive"][worlds] = order >= missing

    def _fail(self) -> None:
        """Let members fail at random, but never all of them: where all would, a random one stays."""
        alive = self.state["alive"]
        luck = torch.rand(alive.shape, generator=self.generator, device=self.device).masked_fill(~alive, -1.0)
        self.state["alive"] = alive & ((luck >= self.config.failure) | (luck == luck.amax(1, keepdim=True)))


@dataclass(frozen=True)
class DrawnMessage:
    """A message to draw, with its claimed sender, its receiver and its fate."""

    sender: int
    receiver: int
    fate: Literal["delivered", "dropped", "forged", "tampered", "refused"] = "delivered"
