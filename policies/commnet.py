"""CommNet (Sukhbaatar, Szlam and Fergus, NeurIPS 2016, arXiv 1605.07736): agents receive the mean of others' messages.

A round is ``h_i' = LN(h_i + tanh(H h_i + C c_i))``, where ``c_i`` is the mean of the messages that i accepted, or zero
without any (section 3.1: ``h_i' = tanh(H h_i + C c_i)``); each round has matrices H and C of its own. An agent sends
h_i, the output of a layer normalization without gain: honest payloads have length sqrt(D).

Deviations: the paper's skip connection leads from the encoding h_i^0 into every round; here it leads from round to
round, because a step's state is one vector. Feed-forward, as the paper's first model, unless there is a ``memory``.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import TypeVar

from agentcomm.contracts.actions import ActionSpace
from agentcomm.contracts.inbox import Inbox
from agentcomm.contracts.policy import PolicyConfig
from agentcomm.contracts.topology import TopologyChoice
from agentcomm.contracts.world import Observation
from policies.graphs.topology import FULL, NO_LINKS
from policies.parts.gate import GateConfig
from policies.parts.mixing import mean_mix
from policies.parts.token_policy import TokenPolicy, TokenPolicyConfig


class CommNetConfig(TokenPolicyConfig):
    """Arguments of CommNet."""

    rounds: int = Field(2, ge=1, le=8, description="rounds of messages per step")
    topology: TopologyChoice = Field(FULL, description="the communication graph")


N_co = TypeVar("N_co", bound=CommNetConfig, default=CommNetConfig, covariant=True)


class CommNet(TokenPolicy[N_co]):
    """CommNet on any topology."""

    def __init__(
        self,
        config: N_co,
        layout: Observation,
        num_agents: int,
        actions: ActionSpace,
        gate: GateConfig | None = None,
    ) -> None:
        super().__init__(config, layout, num_agents, actions, config.topology, gate)
        self.rounds = config.rounds
        width = config.width
        self.own = nn.ModuleList(nn.Linear(width, width) for _ in range(self.rounds))
        self.heard = nn.ParameterList(nn.init.orthogonal_(torch.empty(width, width)) for _ in range(self.rounds))

    @classmethod
    def without_messages(cls, config: PolicyConfig) -> PolicyConfig:
        """No links."""
        return config.model_copy(update={"topology": NO_LINKS})

    def hear(self, hidden: Tensor, inbox: Inbox, round_: int) -> Tensor:
        """LN(h + tanh(H h + C c))."""
        mean = mean_mix(inbox.project(self.heard[round_]), inbox)
        change = (self.own[round_](hidden) + mean).tanh()
        return nn.functional.layer_norm(hidden + change, (self.width,))
