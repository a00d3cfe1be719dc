"""my_policy: agents send what they know, and add the mean of what they hear."""

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
from policies.parts.mixing import mean_mix
from policies.parts.token_policy import TokenPolicy, TokenPolicyConfig


class MyPolicyConfig(TokenPolicyConfig):
    """Arguments of ``my_policy``."""

    topology: TopologyChoice = Field(FULL, description="who may listen to whom")


class MyPolicy(TokenPolicy[MyPolicyConfig]):
    """One round of messages; encoder, action head and critic are those of all token policies."""

    rounds = 1

    def __init__(self, config: MyPolicyConfig, layout: Observation, num_agents: int, actions: ActionSpace) -> None:
        super().__init__(config, layout, num_agents, actions, config.topology)
        self.heard = nn.Parameter(nn.init.orthogonal_(torch.empty(self.width, self.width)))

    @classmethod
    def without_messages(cls, config: PolicyConfig) -> PolicyConfig:
        """The same policy on a graph without links, as a control."""
        return config.model_copy(update={"topology": NO_LINKS})

    def hear(self, hidden: Tensor, inbox: Inbox, round_: int) -> Tensor:
        """Add the mean of the messages that arrived to the agent's own vector, [B, N, D]."""
        mean = mean_mix(inbox.project(self.heard), inbox)
        return nn.functional.layer_norm(hidden + mean, (self.width,))
