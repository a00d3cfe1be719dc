"""SLIM (Canesse et al., arXiv 2605.21085): a narrow path for messages beside the policy's wide hidden vector.

A message encoder maps an agent's hidden vector to a payload of few numbers, so that the size of messages does not limit
what the policy can represent. Every receiver keeps a cache with the last message of each sender. A small transformer
layer attends to the cache and to the messages of this round, and gives the policy a context vector:

    z_i = LN(E h_i)    c_i = O Attention(h_i; own z_i, cached z_j, heard z_j)
    h_i' = LN(h_i + c_i)    h_i'' = LN(h_i' + F(h_i'))

Cached messages compete with those heard now in one softmax; a bias per head, learned, weighs how old they are. The
metric ``bandwidth_budget`` is the paper's beta: message width x rounds x share of links in use.

Deviations, since no code has been found and only the abstract and summaries could be read: attention works on payloads
themselves, so its cost per pair of agents grows with the narrow width only; own and cached messages are combined before
the messages of this round are added to the softmax, which gives the same result; messages have length sqrt(D), as those
of all policies here; and memory of observations (``memory``) is optional.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from agentcomm.base.errors import ConfigError
from agentcomm.contracts.actions import ActionSpace
from agentcomm.contracts.inbox import Inbox
from agentcomm.contracts.policy import PolicyConfig
from agentcomm.contracts.topology import TopologyChoice
from agentcomm.contracts.world import Observation
from policies.graphs.topology import FULL, NO_LINKS
from policies.parts.gate import GateConfig
from policies.parts.mixing import softmax_mix
from policies.parts.token_policy import TokenPolicy, TokenPolicyConfig


class SLIMConfig(TokenPolicyConfig):
    """Arguments of SLIM."""

    message: int = Field(8, ge=4, le=64, description="width of messages; the paper's point is 4 to 16")
    rounds: int = Field(1, ge=1, le=8, description="rounds of messages per step")
    heads: int = Field(4, ge=1, le=16, description="attention heads, each over whole messages")
    topology: TopologyChoice = Field(FULL, description="the communication graph")
    gate: GateConfig | None = Field(None, description="temporal gate; always open when not given")


class _Block(nn.Module):
    """One round: the encoder of messages, and attention to messages and cache."""

    def __init__(self, width: int, message: int, heads: int) -> None:
        super().__init__()
        self.encoder = nn.Linear(width, message)
        self.query = nn.Linear(width, heads * message)
        self.age = nn.Parameter(torch.zeros(heads))
        self.out = nn.Linear(heads * message, width)
        self.feed = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))


class SLIM(TokenPolicy[SLIMConfig]):
    """SLIM on any topology. Hidden vectors are an agent's token and, behind it, its cache [N, D + 1], flattened.

    The last entry of a cached message is its freshness, 1 / age in steps, and 0 in an empty place.
    """

    keeps_heard = True

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """The default, and two rounds of the narrowest messages."""
        return {
            "": {"width": 16},
            "narrow": {"width": 16, "message": 4, "rounds": 2, "heads": 1, "gate": {"initial_logit": 0.5}},
        }

    def __init__(self, config: SLIMConfig, layout: Observation, num_agents: int, actions: ActionSpace) -> None:
        super().__init__(config, layout, num_agents, actions, config.topology, config.gate)
        if self.topology.dynamic:
            raise ConfigError(
                f"topology {config.topology.name!r} is computed from hidden vectors, which in 'slim' hold caches;"
                " choose a topology that is given or learned"
            )
        self.rounds, self.width = config.rounds, config.message
        self.blocks = nn.ModuleList(_Block(config.width, config.message, config.heads) for _ in range(config.rounds))
        self.keeps_heard = True
        self._size_cache()

    def _block(self, round_: int) -> _Block:
        block = self.blocks[round_]
        assert isinstance(block, _Block)
        return block

    def _size_cache(self) -> None:
        self.cache_width = self.num_agents * (self.width + 1)
        self.memory_width = self.cache_width + (0 if self.memory is None else self.memory.width)

    @classmethod
    def without_messages(cls, config: PolicyConfig) -> PolicyConfig:
        """No links and no gate."""
        return config.model_copy(update={"topology": NO_LINKS, "gate": None})

    def resize_team(self, identity: Sequence[int]) -> None:
        """Also resize the cache."""
        super().resize_team(identity)
        self._size_cache()

    def encode(self, observation: Tensor) -> Tensor:
        """Tokens and empty caches."""
        return nn.functional.pad(super().encode(observation), (0, self.cache_width))

    def recall(self, encoded: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens with memory and the cache, in which all messages have become a step older."""
        cache = memory[..., : self.cache_width].unflatten(-1, (-1, self.width + 1))
        fresh = cache[..., -1:]
        cache = torch.cat([cache[..., :-1], fresh / (1 + fresh)], -1).flatten(-2)
        token, kept = super().recall(encoded[..., : -self.cache_width], memory[..., self.cache_width :])
        return torch.cat([token, cache], -1), torch.cat([cache, kept], -1)

    def retain(self, state: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Keep the cache with this step's messages."""
        token, cache = state[..., : -self.cache_width], state[..., -self.cache_width :]
        token, kept = super().retain(token, memory[..., self.cache_width :])
        return torch.cat([token, cache], -1), torch.cat([cache, kept], -1)

    def listen(self, hidden: Tensor) -> Tensor:
        """Gate logits from tokens."""
        return super().listen(hidden[..., : self.config.width])

    def act(self, hidden: Tensor) -> Tensor:
        """Action head on tokens."""
        return super().act(hidden[..., : self.config.width])

    def value(self, hidden: Tensor) -> Tensor:
        """Critic of tokens."""
        return super().value(hidden[..., : self.config.width])

    def speak(self, hidden: Tensor, round_: int) -> Tensor:
        """Narrow messages of length sqrt(D)."""
        said = self._block(round_).encoder(hidden[..., : self.config.width])
        return nn.functional.layer_norm(said, (self.width,))

    def hear(self, hidden: Tensor, inbox: Inbox, round_: int) -> Tensor:
        """Attend to cached and received messages, and put the latter into the cache."""
        block = self._block(round_)
        token = hidden[..., : self.config.width]
        cache = hidden[..., self.config.width :].unflatten(-1, (-1, self.width + 1))
        payload = inbox.payload()
        query = block.query(token).unflatten(-1, (self.config.heads, self.width)) * self.width**-0.5
        known, value = self._known(query, self.speak(hidden, round_), cache, block.age)
        scores = torch.cat([known.unsqueeze(2), torch.einsum("bnhd,bnmd->bnmh", query, payload)], 2)
        values = payload.unsqueeze(3).expand(-1, -1, -1, self.config.heads, -1)
        mixed = softmax_mix(scores, torch.cat([value.unsqueeze(2), values], 2), inbox)
        token = nn.functional.layer_norm(token + block.out(mixed.flatten(-2)), token.shape[-1:])
        token = nn.functional.layer_norm(token + block.feed(token), token.shape[-1:])
        return torch.cat([token, self._store(cache, payload, inbox).flatten(-2)], -1)

    def _known(self, query: Tensor, own: Tensor, cache: Tensor, age: Tensor) -> tuple[Tensor, Tensor]:
        """Own and cached messages as one slot of a softmax: its score [B, N, heads] and value [B, N, heads, D]."""
        said, fresh = cache[..., :-1], cache[..., -1]
        scores = torch.einsum("bnhd,bnjd->bnjh", query, said) + age * (1 - fresh.unsqueeze(-1))
        scores = scores.masked_fill((fresh == 0).unsqueeze(-1), float("-inf"))
        scores = torch.cat([(query * own.unsqueeze(2)).sum(-1).unsqueeze(2), scores], 2)
        said = torch.cat([own.unsqueeze(2), said], 2)
        return scores.logsumexp(2), torch.einsum("bnjh,bnjd->bnhd", scores.softmax(2), said)

    def _store(self, cache: Tensor, payload: Tensor, inbox: Inbox) -> Tensor:
        """The cache [B, N, N, D + 1] with the messages of this round; of several by one sender, their mean."""
        heard = inbox.mask.to(payload.dtype).unsqueeze(-1)
        message = torch.cat([payload, torch.ones_like(heard)], -1).masked_fill(heard == 0, 0.0)
        place = inbox.source.unsqueeze(-1).expand_as(message)
        total = torch.zeros_like(cache).scatter_add(2, place, message)
        count = total[..., -1:]
        return torch.where(count > 0, total / count.clamp_min(1), cache)
