"""CommFormer (arXiv 2405.08550, 2411.00382) with a parallel decoder.

Encoder and decoder are one round of messages each. Tokens that are spoken leave a layer normalization
without gain, so an honest payload always has length sqrt(D). Relation-enhanced attention reads the
graph through an edge embedding E: s_ij = (x_i + E[A_ij]) W_q^T W_k (x_j + E[A_ji]).
"""

from __future__ import annotations

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from agentcomm.messages.traffic import Inbox, gather_agents
from agentcomm.policy import CommPolicy, PolicyConfig
from agentcomm.world import Observation, World
from policies.gate import Gate, GateConfig
from policies.topology import LearnedConfig, LearnedTopology, NoLinksConfig, TopologyConfig, build_topology


class CommFormerConfig(PolicyConfig):
    """Arguments of CommFormer."""

    width: int = Field(64, ge=4, le=1024, description="embedding and payload width D")
    heads: int = Field(1, ge=1, description="attention heads; must divide the width")
    topology: TopologyConfig = Field(LearnedConfig(), description="the graph: none, full, random or learned")
    gate: GateConfig | None = Field(None, description="temporal gate; none listens always")

    @model_validator(mode="after")
    def _heads_divide(self) -> CommFormerConfig:
        if self.width % self.heads:
            raise ValueError(f"heads={self.heads} does not divide width={self.width}")
        return self


class TokenEncoder(nn.Module):
    """Observation to token: x = LN(GELU(W o + agent embedding)).

    Index observations stand for the sum of their one-hot codes. That sum is built here, right before the
    product: on a CPU this is faster than an embedding bag, whose backward pass sorts.
    """

    def __init__(self, layout: Observation, num_agents: int, width: int) -> None:
        super().__init__()
        self.layout = layout
        self.width = width
        self.linear = nn.Linear(layout.vocabulary or layout.width, width, bias=False)
        if layout.kind == "indices":
            nn.init.normal_(self.linear.weight, std=layout.width**-0.5)
        else:
            nn.init.orthogonal_(self.linear.weight)
        self.agent = nn.Parameter(0.5 * torch.randn(num_agents, width))

    def forward(self, observation: Tensor) -> Tensor:
        """[B, N, O] -> [B, N, D]."""
        if self.layout.kind == "indices":
            codes = self.agent.new_zeros(*observation.shape[:-1], self.layout.vocabulary)
            # Unused entries (-1) add nothing to the first code.
            observation = codes.scatter_add_(-1, observation.clamp_min(0), (observation >= 0).to(codes.dtype))
        hidden = nn.functional.gelu(self.linear(observation) + self.agent)
        return nn.functional.layer_norm(hidden, (self.width,))


class ListeningBlock(nn.Module):
    """One post-norm transformer layer in which agent i attends to itself and to its accepted messages.

    The edge embedding enters through its images, which are free vectors just as it is: ``relation`` is E W_k,
    and E[1] W_q, the same for every receiver, is part of the query's bias. Key and value need no bias: the
    softmax cancels the first, the output layer's bias absorbs the second.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.project = nn.Linear(width, 3 * width, bias=False)  # query, key, value
        self.query_bias = nn.Parameter(torch.zeros(width))
        self.out = nn.Linear(width, width)
        self.relation = nn.Parameter(0.1 * torch.randn(2, width))
        self.norm = nn.LayerNorm(width)
        self.feed = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, token: Tensor, inbox: Inbox, mutual: Tensor) -> Tensor:
        """Tokens [B, N, D] and inboxes -> tokens [B, N, D].

        Args:
            token: What each agent knows itself; its own entry never passes the network.
            inbox: What it heard. Tokens are what is spoken, so keys and values are projected once per agent.
            mutual: [B, N, M] int64, 1 where the sender listens to the receiver, too (A_ji).
        """
        width = token.shape[-1]
        heads = (self.heads, width // self.heads)
        query, own = torch.split(self.project(token), [width, 2 * width], -1)
        own_key, own_value = (part.unflatten(-1, heads) for part in own.chunk(2, -1))
        if inbox.mask.shape[-1] == 0:
            mixed = own_value.flatten(-2)
        else:
            query = query + self.query_bias
            # Every head's product with both relations in one matrix: rows (relation, head).
            relation = self.relation.unflatten(-1, heads).unsqueeze(1)
            per_head = torch.eye(self.heads, device=token.device).unsqueeze(-1) * relation
            toward = nn.functional.linear(query, per_head.reshape(-1, width)).unflatten(-1, (2, self.heads))
            query = query.unflatten(-1, heads)
            heard = inbox.project(self.project.weight[width:], own)
            heard_key, heard_value = (part.unflatten(-1, heads) for part in heard.chunk(2, -1))
            own_score = (query * own_key).sum(-1) + toward[:, :, 1]
            related = toward.gather(2, mutual.unsqueeze(-1).expand(-1, -1, -1, self.heads))
            scores = torch.cat([own_score.unsqueeze(2), (query.unsqueeze(2) * heard_key).sum(-1) + related], 2)
            mask = nn.functional.pad(inbox.mask, (1, 0), value=True).unsqueeze(-1)
            attention = (scores * heads[1] ** -0.5).masked_fill(~mask, float("-inf")).softmax(2)
            to_others = attention[:, :, 1:]
            if inbox.weight is not None:
                to_others = to_others * inbox.weight.unsqueeze(-1)
            mixed = (to_others.unsqueeze(-1) * heard_value).sum(2) + attention[:, :, 0].unsqueeze(-1) * own_value
            mixed = mixed.flatten(-2)
        token = self.norm(token + self.out(mixed))
        return nn.functional.layer_norm(token + self.feed(token), (width,))


class CommFormer(CommPolicy):
    """CommFormer on a graph that is a part: none, full, random or learned."""

    Config = CommFormerConfig
    config: CommFormerConfig
    gate: Gate | None
    name = "commformer"
    rounds = 2

    def __init__(self, config: CommFormerConfig, layout: Observation, num_agents: int, num_actions: int) -> None:
        super().__init__(config)
        width = config.width
        self.width = width
        self.num_agents = num_agents
        self.topology = build_topology(config.topology, num_agents)
        self.encoder = TokenEncoder(layout, num_agents, width)
        self.gate = None if config.gate is None else Gate(config.gate, width)
        self.blocks = nn.ModuleList(ListeningBlock(width, config.heads) for _ in range(self.rounds))
        self.critic_own, self.critic_team = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        self.critic = nn.Sequential(nn.GELU(), nn.Linear(width, 1))
        last = nn.Linear(width, num_actions)
        self.actor = nn.Sequential(nn.Linear(width, width), nn.GELU(), last)
        nn.init.orthogonal_(last.weight, 0.01)
        nn.init.zeros_(last.bias)

    @classmethod
    def for_world(cls, config: PolicyConfig, world: World) -> CommFormer:
        """CommFormer for a world's sizes."""
        assert isinstance(config, CommFormerConfig)
        return cls(config, world.layout, world.num_agents, world.num_actions)

    @classmethod
    def without_messages(cls, config: PolicyConfig) -> CommFormerConfig:
        """No links and no gate."""
        assert isinstance(config, CommFormerConfig)
        return config.model_copy(update={"topology": NoLinksConfig(), "gate": None})

    def anneal(self, progress: float) -> None:
        """The graph's temperature and phase."""
        if isinstance(self.topology, LearnedTopology):
            self.topology.anneal(progress)

    def listening_cost(self) -> float:
        """Cost * degree / N."""
        if self.gate is None:
            return 0.0
        return float(self.gate.cost * self.topology.degree / self.num_agents)

    def encode(self, observation: Tensor) -> Tensor:
        """Tokens before anything is heard."""
        token: Tensor = self.encoder(observation)
        return token

    def speak(self, hidden: Tensor, round_: int) -> Tensor:
        """The token itself: first the observation's, then the encoder's representation."""
        return hidden

    def hear(self, hidden: Tensor, inbox: Inbox, round_: int) -> Tensor:
        """One layer of attention over what was accepted."""
        receiver = torch.arange(hidden.shape[1], device=hidden.device).view(1, -1, 1, 1)
        # Whether the slot's sender lists the receiver among those it listens to.
        mutual = (gather_agents(inbox.links, inbox.source) == receiver).any(-1).long()
        token: Tensor = self.blocks[round_](hidden, inbox, mutual)
        return token

    def act(self, hidden: Tensor) -> Tensor:
        """Shared head over the decoder's output."""
        logits: Tensor = self.actor(hidden)
        return logits

    def value(self, hidden: Tensor) -> Tensor:
        """Critic over an agent's own token and the mean token of the team."""
        team = self.critic_team(hidden.mean(1, keepdim=True))
        out: Tensor = self.critic(self.critic_own(hidden) + team)
        return out.squeeze(-1)
