"""A scripted team for ``studies/null.py``: it votes by chance and ignores all messages.

In Agreement with reliable signals, each member votes for its signal with a probability that its training seed sets, so
the chance of every outcome is known. Its decision noise is its own: it goes on from cell to cell and is shared by
none, so that cells of the same team differ by chance alone even if nothing that matters to it has changed.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from agentcomm.base.registry import register
from agentcomm.base.seeds import derive
from agentcomm.contracts.inbox import Inbox
from agentcomm.contracts.policy import CommPolicy, PolicyConfig
from agentcomm.contracts.topology import TopologyChoice
from agentcomm.contracts.world import World
from policies.graphs.topology import FULL, NO_LINKS

# Members of a team vote for their signal with a probability drawn evenly from this range.
LEAST, MOST = 0.6, 0.9
_calls = itertools.count()


class DeafVoterConfig(PolicyConfig):
    """Arguments of the team."""

    noise: int = Field(0, ge=0, description="seed of its decision noise")
    topology: TopologyChoice = Field(FULL, description="the communication graph")


@register("policy", "deaf_voter")
class DeafVoter(CommPolicy[DeafVoterConfig]):
    """Votes for the member's signal with a fixed probability, in every step anew."""

    def __init__(self, config: DeafVoterConfig, world: World) -> None:
        super().__init__(config)
        self.num_agents, self.actions = world.num_agents, world.actions
        self.rounds, self.width, self.gate = 1, world.num_actions, None
        self.topology = config.topology.build(world.num_agents, self.width)
        chance = LEAST + (MOST - LEAST) * torch.rand(())
        self.skill = nn.Parameter(torch.logit(chance))

    @classmethod
    def for_world(cls, config: PolicyConfig, world: World) -> DeafVoter:
        """The team of a world."""
        assert isinstance(config, DeafVoterConfig)
        return cls(config, world)

    @classmethod
    def without_messages(cls, config: PolicyConfig) -> PolicyConfig:
        """No links."""
        return config.model_copy(update={"topology": NO_LINKS})

    def encode(self, observation: Tensor) -> Tensor:
        """Observations [B, N, 2] of indices -> the signals, one-hot, [B, N, A]."""
        signal = observation[..., 0].clamp_min(0)
        return nn.functional.one_hot(signal, self.actions.parameters).float()

    def speak(self, hidden: Tensor, round_: int) -> Tensor:
        """Payloads [B, N, D]: the signals."""
        return hidden + 0 * self.skill

    def hear(self, hidden: Tensor, inbox: Inbox, round_: int) -> Tensor:
        """Ignore all messages."""
        return hidden

    def act(self, hidden: Tensor) -> Tensor:
        """Logits [B, N, A]; outside of updates with Gumbel noise, so that the largest one is a draw."""
        logits = hidden * (self.skill + torch.log(torch.tensor(self.actions.parameters - 1.0)))
        if self.training:
            return logits
        generator = torch.Generator().manual_seed(derive(self.config.noise, "deaf voter", next(_calls)))
        uniform = torch.rand(logits.shape, generator=generator, dtype=torch.float64)
        return logits - torch.log(-torch.log(uniform)).float()

    def value(self, hidden: Tensor) -> Tensor:
        """Zero."""
        return 0 * hidden[..., 0]

    def resize_team(self, identity: Sequence[int]) -> None:
        """Members are alike."""
        self.num_agents = len(identity)
        self.topology.resize(torch.tensor(identity))


def chance_of(policy: Any) -> float:
    """The probability with which the members of a team vote for their signal."""
    return float(torch.sigmoid(policy.skill))
