"""loudest: each agent takes the largest of its own and all received values, entry by entry."""

import torch
from pydantic import Field

from agentcomm.base.registry import register
from agentcomm.contracts.topology import TopologyChoice
from policies.graphs.topology import FULL, NO_LINKS
from policies.parts.token_policy import TokenPolicy, TokenPolicyConfig


class LoudestConfig(TokenPolicyConfig):
    topology: TopologyChoice = Field(FULL, description="the graph")


@register("policy", "loudest")
class Loudest(TokenPolicy[LoudestConfig]):
    rounds = 1

    def __init__(self, config, layout, num_agents, actions):
        super().__init__(config, layout, num_agents, actions, config.topology)

    @classmethod
    def without_messages(cls, config):
        return config.model_copy(update={"topology": NO_LINKS})

    def hear(self, hidden, inbox, round_):
        said = inbox.payload().masked_fill(~inbox.mask.unsqueeze(-1), -10.0)
        loudest = torch.cat([hidden.unsqueeze(2), said], 2).amax(2)
        return torch.nn.functional.layer_norm(hidden + loudest, (self.width,))
