"""TarMAC (Das et al., ICML 2019, arXiv 1810.11187): targeted messages by attention over signatures.

A payload is the concatenation of a signature k_j and a value v_j. Receiver i attends with its query q_i to itself and
to the accepted messages, ``a_ij = softmax_j(q_i . k_j / sqrt(d_k))``, aggregates ``c_i = sum_j a_ij v_j``, and updates
its state to ``h_i' = tanh(W [c_i, h_i])``; rounds share their weights (section 4).

Deviations: feed-forward unless there is a ``memory``, and then messages change it once, after the last round, where
the paper feeds those of the step before to its GRU; messages are received in the step in which they are sent; and
payloads are outputs of a layer normalization without gain, so that honest ones have length sqrt(D).
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from agentcomm.contracts.actions import ActionSpace
from agentcomm.contracts.inbox import Inbox
from agentcomm.contracts.policy import PolicyConfig
from agentcomm.contracts.topology import TopologyChoice
from agentcomm.contracts.world import Observation
from policies.graphs.topology import FULL, NO_LINKS
from policies.parts.mixing import softmax_mix
from policies.parts.token_policy import TokenPolicy, TokenPolicyConfig


class TarMACConfig(TokenPolicyConfig):
    """Arguments of TarMAC."""

    rounds: int = Field(2, ge=1, le=8, description="rounds of messages per step")
    signature: int = Field(16, ge=1, description="width of the signature; the value takes the rest of the payload")
    topology: TopologyChoice = Field(FULL, description="the communication graph")

    @model_validator(mode="after")
    def _room_for_a_value(self) -> TarMACConfig:
        if self.signature >= self.width:
            raise ValueError(f"signature={self.signature} leaves nothing of width={self.width} for the value")
        return self


class TarMAC(TokenPolicy[TarMACConfig]):
    """TarMAC on any topology."""

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """The default width, a narrow payload, and a memory of what is heard."""
        small = {"width": 8, "signature": 3}
        return {"": {}, "narrow": small, "memory": small | {"memory": {"seen": False}}}

    def __init__(self, config: TarMACConfig, layout: Observation, num_agents: int, actions: ActionSpace) -> None:
        super().__init__(config, layout, num_agents, actions, config.topology)
        self.rounds = config.rounds
        width = config.width
        self.split = [config.signature, width - config.signature]
        self.message = nn.Linear(width, width)
        self.query = nn.Linear(width, config.signature)
        self.combine = nn.Linear(self.split[1] + width, width)

    @classmethod
    def without_messages(cls, config: PolicyConfig) -> PolicyConfig:
        """No links."""
        return config.model_copy(update={"topology": NO_LINKS})

    def speak(self, hidden: Tensor, round_: int) -> Tensor:
        """Signature and value."""
        return nn.functional.layer_norm(self.message(hidden), (self.width,))

    def hear(self, hidden: Tensor, inbox: Inbox, round_: int) -> Tensor:
        """Attend to signatures and aggregate values."""
        messages = torch.cat([self.speak(hidden, round_).unsqueeze(2), inbox.payload()], 2)
        signature, value = messages.split(self.split, -1)
        scores = (self.query(hidden).unsqueeze(2) * signature).sum(-1) * self.split[0] ** -0.5
        heard = softmax_mix(scores.unsqueeze(-1), value.unsqueeze(-2), inbox).squeeze(-2)
        state: Tensor = self.combine(torch.cat([heard, hidden], -1))
        return state.tanh()
