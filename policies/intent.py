"""CoDe (Song et al., AAAI 2025, arXiv 2501.05207): intents as messages, which stay useful when channels delay them.

An agent's message is its intent z, from its observations so far. Three auxiliary losses shape intents:

- future: a head on z predicts the agent's next ``horizon`` actions (cross entropy);
- stability: the intents of successive steps are close, ``|z_t - z_{t+1}|^2 / D``;
- diversity: the intents of different agents at the same time differ; their squared cosine similarity is charged.

A receiver aligns what it hears by intent and by age: its attention score is ``q_i . k_j / sqrt(D) + age log(gamma)``,
so a message's weight decays by ``discount`` per step since it was sent, as its envelope says. Attacks can forge that
field where nothing authenticates it.

Deviations, since no code has been found and only the abstract and summaries of the losses (L_inf, L_c, L_k) could be
read: their formulas are ours; the reinforcement learning is PPO; agents attend to their own intent, too; and in rows
where the next step is not known, at the end of a chunk or an episode, nothing is predicted beyond it.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from agentcomm.contracts.actions import ActionSpace
from agentcomm.contracts.inbox import Inbox
from agentcomm.contracts.policy import PolicyConfig, Steps
from agentcomm.contracts.topology import TopologyChoice
from agentcomm.contracts.world import Observation
from policies.graphs.topology import FULL, NO_LINKS
from policies.parts.gate import GateConfig
from policies.parts.memory import MemoryConfig
from policies.parts.mixing import softmax_mix
from policies.parts.token_policy import TokenPolicy, TokenPolicyConfig


class CoDeConfig(TokenPolicyConfig):
    """Arguments of CoDe."""

    memory: MemoryConfig | None = Field(MemoryConfig(heard=False), description="memory of earlier steps")
    rounds: int = Field(1, ge=1, le=8, description="rounds of messages per step")
    horizon: int = Field(3, ge=1, le=16, description="H, own next actions that a message predicts")
    discount: float = Field(0.9, gt=0, le=1, description="gamma, factor of a message's weight per step of its age")
    future: float = Field(0.1, ge=0, description="weight of the loss on predicted actions")
    stability: float = Field(0.01, ge=0, description="weight of the loss on changes of intents")
    diversity: float = Field(0.01, ge=0, description="weight of the loss on the similarity of agents' intents")
    topology: TopologyChoice = Field(FULL, description="the communication graph")
    gate: GateConfig | None = Field(None, description="temporal gate; always open when not given")


class CoDe(TokenPolicy[CoDeConfig]):
    """CoDe on any topology; rounds share their weights."""

    reads_age = True

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """The default, and a form without memory, with a gate and several rounds."""
        return {
            "": {"width": 16},
            "gated": {"width": 16, "rounds": 2, "memory": None, "gate": {"initial_logit": 0.5}},
        }

    def __init__(self, config: CoDeConfig, layout: Observation, num_agents: int, actions: ActionSpace) -> None:
        super().__init__(config, layout, num_agents, actions, config.topology, config.gate)
        width = config.width
        self.rounds = config.rounds
        self.intent = nn.Linear(width, width)
        self.query = nn.Linear(width, width)
        self.key, self.content = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width)
        self.feed = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
        self.predict = nn.Sequential(
            nn.Linear(width, width), nn.GELU(), nn.Linear(width, config.horizon * actions.parameters)
        )

    @classmethod
    def without_messages(cls, config: PolicyConfig) -> PolicyConfig:
        """No links and no gate."""
        return config.model_copy(update={"topology": NO_LINKS, "gate": None})

    def speak(self, hidden: Tensor, round_: int) -> Tensor:
        """The intent, of length sqrt(D)."""
        return nn.functional.layer_norm(self.intent(hidden), (self.width,))

    def hear(self, hidden: Tensor, inbox: Inbox, round_: int) -> Tensor:
        """Attention to the own intent and to what was heard, by intent and age."""
        own = self.speak(hidden, round_)
        keys = torch.cat([self.key(own).unsqueeze(2), inbox.project(self.key.weight)], 2)
        scores = (self.query(own).unsqueeze(2) * keys).sum(-1) * self.width**-0.5
        if inbox.age is not None:
            scores = scores + nn.functional.pad(inbox.age, (1, 0)) * math.log(self.config.discount)
        values = torch.cat([self.content(own).unsqueeze(2), inbox.project(self.content.weight)], 2)
        mixed = softmax_mix(scores.unsqueeze(-1), values.unsqueeze(3), inbox).squeeze(2)
        state = nn.functional.layer_norm(hidden + self.out(mixed), (self.width,))
        return nn.functional.layer_norm(state + self.feed(state), (self.width,))

    def auxiliary(self, steps: Steps) -> Tensor:
        """The losses on the future, stability and diversity of intents, weighted."""
        intent, config = self.speak(steps.hidden, 0), self.config
        loss = config.diversity * likeness(intent)
        known, later = steps.following >= 0, steps.following.clamp_min(0)
        agent = torch.arange(known.shape[1], device=known.device)
        change = (intent - intent[later, agent]).square().mean(-1)
        loss = loss + config.stability * _mean(change, known)
        parameters = self.predict(intent).unflatten(-1, (config.horizon, self.actions.parameters))
        row, real = torch.arange(len(known), device=known.device).unsqueeze(1), torch.ones_like(known)
        for ahead in range(config.horizon):
            surprise = -self.actions.log_probability(parameters[:, :, ahead], steps.action[row, agent])
            loss = loss + config.future / config.horizon * _mean(surprise, real)
            real, row = real & known[row, agent], later[row, agent]
        return loss


def _mean(values: Tensor, where: Tensor) -> Tensor:
    """The mean of values [R, N] where a mask [R, N] is True; 0 if it is nowhere."""
    return (values * where).sum() / where.sum().clamp_min(1)


def likeness(intent: Tensor) -> Tensor:
    """Mean squared cosine similarity of the intents [R, N, D] of different agents of a row, a scalar."""
    unit, agents = nn.functional.normalize(intent, dim=-1), intent.shape[1]
    # The squares of all pairs sum to the squared norm of U'U, which is D x D however many agents there are.
    total = (unit.transpose(1, 2) @ unit).square().sum((1, 2))
    return ((total - agents) / max(agents * (agents - 1), 1)).mean()
