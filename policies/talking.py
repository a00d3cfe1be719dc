"""Agents of different hidden sizes that share one message space (after Talking Models, arXiv 2310.03188).

Each kind of agent has its own encoder from observations to hidden vectors of its own size, an encoder from there into
the message space, and a decoder back: ``m_i = LN(enc_i(h_i))``. A receiver attends to messages in the message space and
decodes the result into its own hidden space. Two losses align the kinds (the idea is the paper's; its losses are not
known to us, these are ours):

- cycle: ``|dec_i(enc_i(h_i)) - h_i|^2``, so that a message preserves its sender's hidden vector;
- cross: ``|dec_j(enc_i(h_i)) - h_j|^2``, where h_j is agent j's hidden vector of the same observation, so that another
  kind decodes the message to its own hidden vector.

Hidden vectors are padded with zeros to the largest size, and weights are gathered per agent, so that a step takes a few
batched products whatever the sizes are. The policy has no memory.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from agentcomm.contracts.actions import ActionSpace
from agentcomm.contracts.inbox import Inbox
from agentcomm.contracts.policy import CommPolicy, PolicyConfig, Steps
from agentcomm.contracts.topology import TopologyChoice
from agentcomm.contracts.world import Observation, World
from policies.graphs.topology import LEARNED, NO_LINKS
from policies.parts.mixing import softmax_mix


class TalkingConfig(PolicyConfig):
    """Arguments of Talking."""

    width: int = Field(32, ge=4, le=1024, description="width D of the message space")
    sizes: tuple[int, ...] = Field(
        (64, 32), min_length=1, description="hidden sizes of the kinds, to which agents belong in turn"
    )
    rounds: int = Field(2, ge=1, le=8, description="rounds of messages per step")
    cycle: float = Field(0.1, ge=0, description="weight of the cycle loss")
    cross: float = Field(0.1, ge=0, description="weight of the cross-decoding loss")
    topology: TopologyChoice = Field(LEARNED, description="the communication graph")

    @model_validator(mode="after")
    def _sizes(self) -> TalkingConfig:
        if min(self.sizes) < 4:
            raise ValueError(f"sizes={list(self.sizes)}: a hidden size must be at least 4")
        return self


class PerKind(nn.Module):
    """One linear map per kind of agent, between padded vectors."""

    def __init__(self, inputs: list[int], outputs: list[int]) -> None:
        super().__init__()
        kinds = len(inputs)
        self.weight = nn.Parameter(torch.zeros(kinds, max(inputs), max(outputs)))
        self.bias = nn.Parameter(torch.zeros(kinds, max(outputs)))
        mask = torch.zeros_like(self.weight)
        for kind, (a, b) in enumerate(zip(inputs, outputs, strict=True)):
            mask[kind, :a, :b] = 1
            nn.init.orthogonal_(self.weight.data[kind, :a, :b])
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor, kind: Tensor) -> Tensor:
        """Vectors [B, N, in] of agents of the given kinds [N] -> [B, N, out]; padding stays zero."""
        mask: Tensor = self.mask  # type: ignore[assignment]
        weight = self.weight * mask
        return torch.einsum("bni,nio->bno", x, weight[kind]) + (self.bias * mask.amax(1))[kind]


class Talking(CommPolicy[TalkingConfig]):
    """A policy with encoders and decoders per kind of agent around one message space."""

    kind: Tensor
    present: Tensor

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """The default sizes, and smaller ones."""
        return {"": {}, "narrow": {"width": 16, "sizes": [16, 8]}}

    def __init__(self, config: TalkingConfig, layout: Observation, num_agents: int, actions: ActionSpace) -> None:
        super().__init__(config)
        self.layout, self.gate = layout, None
        self.width, self.rounds = config.width, config.rounds
        self.num_agents, self.actions = num_agents, actions
        self.topology = config.topology.build(num_agents, max(config.sizes))
        sizes, kinds = list(config.sizes), len(config.sizes)
        self.register_buffer("kind", torch.arange(num_agents) % kinds, persistent=False)
        entries = torch.arange(max(sizes)) < torch.tensor(sizes).unsqueeze(1)
        self.register_buffer("present", entries.float(), persistent=False)
        inputs = [layout.vocabulary or layout.width] * kinds
        self.observe = PerKind(inputs, sizes)
        self.agent = nn.Parameter(0.5 * torch.randn(num_agents, max(sizes)))
        self.encoder, self.decoder = PerKind(sizes, [self.width] * kinds), PerKind([self.width] * kinds, sizes)
        self.query = PerKind(sizes, [self.width] * kinds)
        self.digest = PerKind(sizes, sizes)
        self.critic_own, self.critic_team = PerKind(sizes, [self.width] * kinds), nn.Linear(self.width, self.width)
        self.critic = nn.Sequential(nn.GELU(), nn.Linear(self.width, 1))
        self.actor = PerKind(sizes, [actions.parameters] * kinds)
        with torch.no_grad():
            self.actor.weight.mul_(0.01)

    @classmethod
    def for_world(cls, config: PolicyConfig, world: World) -> Talking:
        """The policy for a world's sizes."""
        assert isinstance(config, TalkingConfig)
        return cls(config, world.layout, world.num_agents, cls.actions_in(config, world))

    @classmethod
    def without_messages(cls, config: PolicyConfig) -> PolicyConfig:
        """No links."""
        return config.model_copy(update={"topology": NO_LINKS})

    def _norm(self, x: Tensor, kind: Tensor) -> Tensor:
        """Layer normalization over each agent's own entries; padding stays zero."""
        own = self.present[kind]
        count = own.sum(-1, keepdim=True)
        centered = (x - (x * own).sum(-1, keepdim=True) / count) * own
        return centered * ((centered.square().sum(-1, keepdim=True) / count) + 1e-5).rsqrt()

    def _encode(self, observation: Tensor, kind: Tensor, agent: Tensor) -> Tensor:
        if self.layout.kind == "indices":
            codes = self.agent.new_zeros(*observation.shape[:-1], self.layout.vocabulary)
            observation = codes.scatter_add_(-1, observation.clamp_min(0), (observation >= 0).to(codes.dtype))
        return self._norm(nn.functional.gelu(self.observe(observation, kind) + agent), kind)

    def encode(self, observation: Tensor) -> Tensor:
        """Observations [B, N, O] -> hidden vectors [B, N, H], padded to the largest size."""
        return self._encode(observation, self.kind, self.agent)

    def speak(self, hidden: Tensor, round_: int) -> Tensor:
        """Hidden vectors -> payloads [B, N, D] in the message space, of length sqrt(D)."""
        return nn.functional.layer_norm(self.encoder(hidden, self.kind), (self.width,))

    def hear(self, hidden: Tensor, inbox: Inbox, round_: int) -> Tensor:
        """Attend in the message space to the agent itself and to accepted messages, and decode the result."""
        messages = torch.cat([self.speak(hidden, round_).unsqueeze(2), inbox.payload()], 2)
        scores = (self.query(hidden, self.kind).unsqueeze(2) * messages).sum(-1) * self.width**-0.5
        mixed = softmax_mix(scores.unsqueeze(-1), messages.unsqueeze(-2), inbox).squeeze(-2)
        heard = self.decoder(mixed, self.kind)
        state = self._norm(hidden + heard, self.kind)
        return self._norm(state + self.digest(nn.functional.gelu(state), self.kind), self.kind)

    def act(self, hidden: Tensor) -> Tensor:
        """Action head of each kind."""
        logits: Tensor = self.actor(hidden, self.kind)
        return logits

    def value(self, hidden: Tensor) -> Tensor:
        """Critic of an agent's own and the team's mean projection into a common space."""
        own = self.critic_own(hidden, self.kind)
        out: Tensor = self.critic(own + self.critic_team(own.mean(1, keepdim=True)))
        return out.squeeze(-1)

    def auxiliary(self, steps: Steps) -> Tensor:
        """Cycle and cross-decoding losses, per entry; the cross loss pairs every agent with the next kind."""
        observation, hidden = steps.observation, steps.hidden
        message = self.speak(hidden, 0)
        cycle = self._error(self.decoder(message, self.kind), hidden, self.kind)
        other = (self.kind + 1) % len(self.config.sizes)
        if len(self.config.sizes) == 1:
            return self.config.cycle * cycle
        agent = self.agent * self.present[other]
        aligned = self._encode(observation, other, agent)
        cross = self._error(self.decoder(message, other), aligned, other)
        return self.config.cycle * cycle + self.config.cross * cross

    def _error(self, decoded: Tensor, hidden: Tensor, kind: Tensor) -> Tensor:
        """Mean squared error over entries that are not padding."""
        own = self.present[kind]
        error: Tensor = ((decoded - hidden.detach()).square() * own).sum() / (own.sum() * len(hidden))
        return error
