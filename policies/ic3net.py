"""IC3Net (Singh, Jain and Sukhbaatar, ICLR 2019, arXiv 1812.09755): CommNet whose agents decide when to speak.

The gate is at the sender and is an action, sampled and trained together with the others (section 3.1). Credit is
individual: every agent has its own reward, as the environments here provide it, and its own critic. The critic sees the
agent's observation, but not the gate: a critic that knew it would leave no advantage to the gate.

Deviations: feed-forward unless there is a ``memory``, and then with GRU cells, where the paper has an LSTM: a round is
CommNet's (:mod:`policies.commnet`), and the gate depends on this step's observation, too. The mean is over accepted
messages, where the paper divides by N - 1 even if agents are silent. Payloads are CommNet's, of length sqrt(D).
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from agentcomm.contracts.actions import ActionSpace
from agentcomm.contracts.policy import PolicyConfig
from agentcomm.contracts.world import Observation
from policies.commnet import CommNet, CommNetConfig
from policies.graphs.topology import NO_LINKS
from policies.parts.gate import GateConfig


class SenderGateConfig(GateConfig):
    """Arguments of a gate at the sender."""

    side: Literal["sender"] = Field("sender", description="the sender decides")


class IC3NetConfig(CommNetConfig):
    """Arguments of IC3Net."""

    rounds: int = Field(1, ge=1, le=8, description="rounds of messages per step")
    gate: SenderGateConfig | None = Field(SenderGateConfig(), description="sender's gate; always open when not given")


class IC3Net(CommNet[IC3NetConfig]):
    """CommNet with a sender's gate and a decentralized critic per agent."""

    central_critic = False

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Each kind of gate, and none."""
        return {
            "": {},
            "priced gate": {"width": 8, "gate": {"initial_logit": 0.5, "cost": 0.1}},
            "straight-through gate": {
                "width": 8,
                "gate": {"kind": "straight_through", "initial_logit": 0.5},
                "rounds": 2,
            },
            "no gate": {"width": 8, "gate": None},
            "memory": {"width": 8, "memory": {"heard": False}},
        }

    def __init__(self, config: IC3NetConfig, layout: Observation, num_agents: int, actions: ActionSpace) -> None:
        super().__init__(config, layout, num_agents, actions, config.gate)

    @classmethod
    def without_messages(cls, config: PolicyConfig) -> PolicyConfig:
        """No links and no gate."""
        return config.model_copy(update={"topology": NO_LINKS, "gate": None})
