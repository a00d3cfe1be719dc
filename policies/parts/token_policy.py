"""A base for policies with token encoder, action head and critic; subclasses define how agents speak and hear."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from typing_extensions import TypeVar

from agentcomm.contracts.actions import ActionSpace
from agentcomm.contracts.inbox import Inbox
from agentcomm.contracts.policy import CommPolicy, PolicyConfig
from agentcomm.contracts.topology import TopologyChoice
from agentcomm.contracts.world import Observation, World
from policies.parts.bottleneck import Bottleneck, BottleneckConfig
from policies.parts.gate import Gate, GateConfig
from policies.parts.memory import GRUMemory, MemoryConfig
from policies.parts.token_encoder import TokenEncoder


class TokenPolicyConfig(PolicyConfig):
    """Arguments of all token policies."""

    width: int = Field(64, ge=4, le=1024, description="width D of tokens and payloads")
    grid_embedding: bool = Field(
        False, description="embed cells of a grid by their row and column, not one by one; for index observations"
    )
    memory: MemoryConfig | None = Field(None, description="memory of earlier steps; none when not given")


class HeadsConfig(TokenPolicyConfig):
    """Arguments of policies with attention heads."""

    heads: int = Field(1, ge=1, description="attention heads; must divide the width")

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"heads={self.heads} does not divide width={self.width}")
        return self


T_co = TypeVar("T_co", bound=TokenPolicyConfig, default=TokenPolicyConfig, covariant=True)


class TokenPolicy(CommPolicy[T_co]):
    """Encodes observations as tokens, updates them in R rounds of messages, and acts on the result.

    The critic sees each agent's own token and, if it is centralized, the mean token of the team. Tokens depend on
    earlier steps if the config has a ``memory``.
    """

    gate: Gate | None
    central_critic = True

    def __init__(
        self,
        config: T_co,
        layout: Observation,
        num_agents: int,
        actions: ActionSpace,
        topology: TopologyChoice,
        gate: GateConfig | None = None,
        message_noise: BottleneckConfig | None = None,
    ) -> None:
        super().__init__(config)
        width = config.width
        self.width, self.num_agents, self.actions = width, num_agents, actions
        self.topology = topology.build(num_agents, width)
        self.encoder = TokenEncoder(layout, num_agents, width, config.grid_embedding)
        self.gate = None if gate is None else Gate(gate, width)
        self.message_noise = None if message_noise is None else Bottleneck(message_noise, width)
        self.critic_own = nn.Linear(width, width)
        self.critic_team = nn.Linear(width, width, bias=False) if self.central_critic else None
        self.critic = nn.Sequential(nn.GELU(), nn.Linear(width, 1))
        last = nn.Linear(width, actions.parameters)
        self.actor = nn.Sequential(nn.Linear(width, width), nn.GELU(), last)
        nn.init.orthogonal_(last.weight, 0.01)
        nn.init.zeros_(last.bias)
        self.memory = None if config.memory is None else GRUMemory(config.memory, width)
        if self.memory is not None:
            self.memory_width, self.keeps_heard = self.memory.width, self.memory.heard is not None

    @classmethod
    def for_world(cls, config: PolicyConfig, world: World) -> Self:
        """The policy for a world's sizes."""
        return cls(config, world.layout, world.num_agents, cls.actions_in(config, world))  # type: ignore[arg-type, call-arg]

    def listening_cost(self) -> Tensor | float:
        """The gate's present price times degree / N."""
        return 0.0 if self.gate is None else self.gate.price * self.topology.degree / self.num_agents

    def resize_team(self, identity: Sequence[int]) -> None:
        """Give agents the embeddings of the agents that they stand in for."""
        stands_for = torch.as_tensor(identity, device=self.encoder.identity.device)
        self.topology.resize(stands_for)
        self.encoder.identity = stands_for
        self.num_agents = len(identity)

    def encode(self, observation: Tensor) -> Tensor:
        """Tokens before the first round."""
        token: Tensor = self.encoder(observation)
        return token

    def recall(self, encoded: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens with what the agent remembers."""
        return (encoded, memory) if self.memory is None else self.memory.recall(encoded, memory)

    def retain(self, state: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens with what the agent has heard, now and before."""
        return (state, memory) if self.memory is None else self.memory.retain(state, memory)

    def speak(self, hidden: Tensor, round_: int) -> Tensor:
        """The token itself, unless a subclass overrides it."""
        return hidden

    def hear(self, hidden: Tensor, inbox: Inbox, round_: int) -> Tensor:
        """Ignore messages, unless a subclass overrides it."""
        return hidden

    def act(self, hidden: Tensor) -> Tensor:
        """Action head shared by all agents."""
        logits: Tensor = self.actor(hidden)
        return logits

    def value(self, hidden: Tensor) -> Tensor:
        """Critic of an agent's own token and, if centralized, the team's mean token."""
        seen = self.critic_own(hidden)
        if self.critic_team is not None:
            seen = seen + self.critic_team(hidden.mean(1, keepdim=True))
        out: Tensor = self.critic(seen)
        return out.squeeze(-1)
