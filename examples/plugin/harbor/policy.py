"""lookout: agents attend to the messages that look important, whoever sends them."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from agentcomm.contracts.actions import ActionSpace
from agentcomm.contracts.inbox import Inbox
from agentcomm.contracts.policy import PolicyConfig
from agentcomm.contracts.topology import TopologyChoice
from agentcomm.contracts.world import Observation
from policies.graphs.topology import FULL, NO_LINKS
from policies.parts.mixing import softmax_mix
from policies.parts.token_policy import TokenPolicy, TokenPolicyConfig


class LookoutConfig(TokenPolicyConfig):
    """Arguments of ``lookout``."""

    rounds: int = Field(1, ge=1, le=4, description="rounds of messages per step")
    topology: TopologyChoice = Field(FULL, description="who may listen to whom")


class Lookout(TokenPolicy[LookoutConfig]):
    """Encoder, action head and critic are those of all token policies; this class says how agents hear."""

    def __init__(self, config: LookoutConfig, layout: Observation, num_agents: int, actions: ActionSpace) -> None:
        super().__init__(config, layout, num_agents, actions, config.topology)
        self.rounds = config.rounds
        self.importance = nn.Linear(self.width, 1)
        self.content = nn.Linear(self.width, self.width, bias=False)

    @classmethod
    def without_messages(cls, config: PolicyConfig) -> PolicyConfig:
        """The same policy on a graph without links, as a control."""
        return config.model_copy(update={"topology": NO_LINKS})

    def hear(self, hidden: Tensor, inbox: Inbox, round_: int) -> Tensor:
        """Attend to oneself and to what arrived, [B, N, D]: importance depends on the message alone."""
        slots = torch.cat([hidden.unsqueeze(2), inbox.payload()], 2)  # [B, N, 1 + M, D]
        mixed = softmax_mix(self.importance(slots), self.content(slots).unsqueeze(3), inbox)
        return nn.functional.layer_norm(hidden + mixed.flatten(2), (self.width,))
