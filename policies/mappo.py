"""MAPPO (Yu et al., NeurIPS 2022, arXiv 2103.01955): no messages, and a centralized critic.

Deviations: feed-forward unless there is a ``memory``, where the paper's main results use a GRU; actor and critic share
the encoder; the critic's global state is the agent's own token and the mean token of the team.
"""

from __future__ import annotations

from agentcomm.contracts.actions import ActionSpace
from agentcomm.contracts.policy import PolicyConfig
from agentcomm.contracts.world import Observation
from policies.graphs.topology import NO_LINKS
from policies.parts.token_policy import TokenPolicy, TokenPolicyConfig


class MAPPO(TokenPolicy[TokenPolicyConfig]):
    """Agents that act on their own observations, with a centralized critic."""

    rounds = 0

    def __init__(self, config: TokenPolicyConfig, layout: Observation, num_agents: int, actions: ActionSpace) -> None:
        super().__init__(config, layout, num_agents, actions, NO_LINKS)

    @classmethod
    def without_messages(cls, config: PolicyConfig) -> PolicyConfig:
        """The same config: there are no messages."""
        return config
