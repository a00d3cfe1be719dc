"""CommFormer (arXiv 2405.08550, 2411.00382): attention over a learned graph, in an encoder and a decoder.

Every encoder block is a round of messages; the decoder is the last round. Payloads are outputs of a layer
normalization without gain: honest payloads have length sqrt(D).

With the *parallel* decoder agents exchange their representations once more, and all act at once. With the
*autoregressive* one an agent sends its action together with its representation, LN(x_j + U[a_j]), to its listeners that
come later in the team's order; they act once they have received it. The released code shifts actions by one position
before its decoder attends to them, by which every agent learns its predecessor's action whether or not the graph has
that edge, and it lets action tokens attend to each other first. Here one message per edge carries both, and no
information travels outside the graph.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field
from torch import Tensor, nn

from agentcomm.contracts.actions import ActionSpace
from agentcomm.contracts.inbox import Inbox
from agentcomm.contracts.policy import PolicyConfig
from agentcomm.contracts.topology import TopologyChoice
from agentcomm.contracts.world import Observation
from policies.graphs.topology import LEARNED, NO_LINKS
from policies.parts.actions import action_embedding
from policies.parts.attention import ListeningBlock
from policies.parts.bottleneck import BottleneckConfig
from policies.parts.gate import GateConfig
from policies.parts.token_policy import HeadsConfig, TokenPolicy


class CommFormerConfig(HeadsConfig):
    """Arguments of CommFormer."""

    blocks: int = Field(
        1, ge=0, le=8, description="encoder blocks, each a round of messages; 0 for the decoder's round alone"
    )
    decoder: Literal["parallel", "autoregressive"] = Field(
        "parallel", description="agents act all at once, or in turns after receiving the actions of earlier agents"
    )
    topology: TopologyChoice = Field(LEARNED, description="the communication graph")
    gate: GateConfig | None = Field(None, description="temporal gate; always open when not given")
    message_noise: BottleneckConfig | None = Field(
        None, description="variational bottleneck that makes messages noisy; exact messages when not given"
    )


class CommFormer(TokenPolicy[CommFormerConfig]):
    """CommFormer on any topology."""

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Each optional part, and each way to train it."""
        return {
            "": {},
            "heads": {"width": 16, "heads": 2, "gate": {"initial_logit": 0.5}},
            "gate": {"gate": {"cost": 0.01, "initial_logit": 0.5}},
            "sender gate": {"gate": {"side": "sender", "initial_logit": 0.5}},
            "straight-through gate": {"gate": {"kind": "straight_through", "initial_logit": 0.5}},
            "straight-through graph": {"topology": {"name": "learned", "estimator": "straight_through"}},
            "no links": {"width": 8, "topology": {"name": "none"}},
            "in turns": {"decoder": "autoregressive"},
            "one round": {"width": 8, "blocks": 0},
            "message_noise": {"message_noise": {}},
            "memory": {"width": 8, "memory": {"width": 6}},
        }

    def __init__(self, config: CommFormerConfig, layout: Observation, num_agents: int, actions: ActionSpace) -> None:
        super().__init__(config, layout, num_agents, actions, config.topology, config.gate, config.message_noise)
        self.rounds = config.blocks + 1
        self.blocks = nn.ModuleList(ListeningBlock(config.width, config.heads) for _ in range(self.rounds))
        self.autoregressive = config.decoder == "autoregressive"
        if self.autoregressive:
            self.action = action_embedding(actions, config.width)

    @classmethod
    def without_messages(cls, config: PolicyConfig) -> CommFormerConfig:
        """No links and no gate."""
        assert isinstance(config, CommFormerConfig)
        return config.model_copy(update={"topology": NO_LINKS, "gate": None, "message_noise": None})

    def hear(self, hidden: Tensor, inbox: Inbox, round_: int) -> Tensor:
        """One layer of attention over accepted messages."""
        token: Tensor = self.blocks[round_](hidden, inbox)
        return token

    def tell(self, hidden: Tensor, action: Tensor) -> Tensor:
        """LN(representation + action embedding)."""
        return nn.functional.layer_norm(hidden + self.action(action), (self.width,))
