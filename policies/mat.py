"""MAT, the Multi-Agent Transformer (Wen et al., NeurIPS 2022, arXiv 2205.14953), on the complete graph.

It equals :mod:`policies.commformer` on the complete graph, with the same blocks: encoder blocks in which all agents
attend to all others, and a decoder in which agents act one after the other, each after receiving the actions of earlier
ones (section 4). Payloads are outputs of a layer normalization without gain: honest payloads have length sqrt(D).

Deviations are CommFormer's: all information between agents is in messages, the decoder's token is the sum of
representation and action, and the critic sees tokens from before the first round. On the complete graph all pairs of
agents have the same relation, whose embedding is only a bias. Feed-forward, as in the paper.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field
from torch import Tensor, nn

from agentcomm.contracts.actions import ActionSpace
from agentcomm.contracts.inbox import Inbox
from agentcomm.contracts.policy import PolicyConfig
from agentcomm.contracts.world import Observation
from policies.graphs.topology import FULL, NO_LINKS
from policies.parts.actions import action_embedding
from policies.parts.attention import ListeningBlock
from policies.parts.token_policy import HeadsConfig, TokenPolicy


class MATConfig(HeadsConfig):
    """Arguments of MAT."""

    blocks: int = Field(1, ge=1, le=8, description="encoder blocks, each a round of messages")
    messages: bool = Field(True, description="whether agents exchange messages")


class MAT(TokenPolicy[MATConfig]):
    """MAT: the complete graph and the autoregressive decoder."""

    autoregressive = True

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """The defaults, several blocks, and no messages."""
        return {"": {}, "deep": {"width": 16, "heads": 2, "blocks": 2}, "no links": {"width": 8, "messages": False}}

    def __init__(self, config: MATConfig, layout: Observation, num_agents: int, actions: ActionSpace) -> None:
        topology = FULL if config.messages else NO_LINKS
        super().__init__(config, layout, num_agents, actions, topology)
        self.rounds = config.blocks + 1
        self.blocks = nn.ModuleList(ListeningBlock(config.width, config.heads) for _ in range(self.rounds))
        self.action = action_embedding(actions, config.width)

    @classmethod
    def without_messages(cls, config: PolicyConfig) -> PolicyConfig:
        """No links."""
        return config.model_copy(update={"messages": False})

    def hear(self, hidden: Tensor, inbox: Inbox, round_: int) -> Tensor:
        """One layer of attention over accepted messages."""
        token: Tensor = self.blocks[round_](hidden, inbox)
        return token

    def tell(self, hidden: Tensor, action: Tensor) -> Tensor:
        """LN(representation + action embedding)."""
        return nn.functional.layer_norm(hidden + self.action(action), (self.width,))
