"""A new graph in every step, computed from agents' observations (MAGIC: Niu, Paleja and Gombolay, AAMAS 2021).

As in MAGIC the scheduler is centralized: it uses the hidden vectors of all agents. One graph attention layer mixes
them, and an MLP over each pair decides whether the receiver listens to the sender, sampled by a Gumbel softmax over two
classes, which amounts to a threshold with logistic noise. Like MAGIC it can compute a graph for every round, all of
them from the hidden vectors before the first round.

With ``degree`` each receiver keeps the senders with the largest logits, sampled by Gumbel top-k: its threshold lies
between the last sender kept and the first one left out. The executed graph has the noise of one fixed draw: without it
all receivers would choose the same of several good senders.

With ``estimator: action`` the choice of these senders is an action of the receiver instead: its log-probability joins
the PPO ratio, and what it earns decides. A straight-through gradient asks what a message would have changed, as if it
always came; only what was tried shows that a sender is no use while others listen to it, too
(:mod:`agentcomm.channels.airtime`). A choice is credited with the advantages of all agents, since who needs no message
still takes it from others.

Unlike in the released code an agent's own vector is added to the mixture, which in large teams would hardly contain it.

Edges start open and stay so for the first part of training: agents that cannot use messages yet hear noise, which would
teach the scheduler to close all edges before anybody has learned to talk.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from typing_extensions import TypeVar

from agentcomm.contracts.topology import Graph, Topology, TopologyConfig
from policies.graphs.fixed import NoLinks
from policies.graphs.noise import gumbel, logistic, new_draws
from policies.graphs.part import others


class DynamicConfig(TopologyConfig):
    """Arguments of DynamicGraph."""

    rounds: int = Field(1, ge=1, le=8, description="graphs per step, one per round; further rounds use the last one")
    degree: int | None = Field(None, ge=1, description="senders kept per receiver; any number when not given")
    estimator: Literal["straight_through", "action"] = Field(
        "straight_through", description="how the scheduler is trained; 'action' needs a degree"
    )
    warmup: float = Field(
        0.25, ge=0, lt=1, description="share of training in which edges are open by chance, before the scheduler learns"
    )
    hidden: int = Field(32, ge=1, description="width of the scheduler")
    temperature: float = Field(1.0, gt=0, description="temperature of the Gumbel softmax")
    initial_logit: float = Field(
        3.0, description="initial logit of edges, which are kept with probability sigmoid(this)"
    )

    @model_validator(mode="after")
    def _one_choice(self) -> Self:
        if self.estimator == "action" and (self.degree is None or self.rounds > 1):
            raise ValueError("estimator='action' needs a degree, the number of senders to choose, and rounds=1")
        return self


C_co = TypeVar("C_co", bound=DynamicConfig, default=DynamicConfig, covariant=True)


class DynamicGraph(Topology[C_co]):
    """MAGIC's scheduler, trained with the model by a straight-through estimator or as an action of the receivers.

    Attributes:
        noisy: Whether the executed graph of given degree has the noise of one fixed draw.
    """

    dynamic = True
    noisy: ClassVar[bool] = True
    learns: Tensor
    _tie_break: Tensor
    _others: Tensor

    def __init__(self, config: C_co, num_agents: int, width: int) -> None:
        super().__init__(config)
        self.acts = config.estimator == "action"
        self._set_degree(num_agents)
        self._make_scheduler(num_agents, width)
        self.register_buffer("learns", torch.tensor(float(config.warmup == 0)))
        self.register_buffer("_tie_break", torch.zeros(1, dtype=torch.int64), persistent=False)
        self.register_buffer("_others", others(num_agents), persistent=False)

    @classmethod
    def for_team(cls, config: TopologyConfig, num_agents: int, width: int) -> Topology:
        """The scheduler of a team of N agents, or no links for a single agent."""
        if num_agents == 1:
            return NoLinks(TopologyConfig(), num_agents)
        return cls(config, num_agents, width)  # type: ignore[arg-type]

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Any number of senders, and a given one with a graph per round."""
        return {
            "": {},
            "degree": {"degree": 2, "rounds": 2, "warmup": 0.0},
            "action": {"degree": 2, "estimator": "action", "warmup": 0.0},
        }

    def _make_scheduler(self, num_agents: int, width: int) -> None:
        """Make what :meth:`logits` needs."""
        size = self.config.hidden
        self.notice = nn.Linear(width, size)
        self.attend_from, self.attend_to = nn.Linear(size, 1, bias=False), nn.Linear(size, 1, bias=False)
        # The first layer of the MLP over the pair [h_i, h_j], split into its two halves.
        self.receiver, self.sender = nn.Linear(size, size), nn.Linear(size, size, bias=False)
        self.keep = nn.Linear(size, self.config.rounds)
        nn.init.orthogonal_(self.keep.weight, 0.01)
        nn.init.constant_(self.keep.bias, self.config.initial_logit)

    def _set_degree(self, num_agents: int) -> None:
        most = num_agents - 1
        self.degree = min(self.config.degree or most, most) if self.acts else most

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden vectors [B, N, H] -> logits [B, G, N, N] of the edges of each graph (row: receiver)."""
        seen = self.notice(hidden)
        scores = nn.functional.leaky_relu(self.attend_from(seen) + self.attend_to(seen).transpose(1, 2), 0.2)
        noticed = nn.functional.elu(seen + scores.softmax(-1) @ seen)
        pair = self.receiver(noticed).unsqueeze(2) + self.sender(noticed).unsqueeze(1)
        out: Tensor = self.keep(nn.functional.relu(pair)).movedim(-1, 1)
        return out

    def anneal(self, progress: float) -> None:
        """Let the scheduler learn after its warm-up."""
        self.learns.fill_(float(progress >= self.config.warmup))

    def draw(self, num_worlds: int, generator: torch.Generator) -> Tensor:
        """One draw per world."""
        return new_draws(num_worlds, generator)

    def graph(self, draw: Tensor | None, num_worlds: int, hidden: Tensor | None = None) -> Graph:
        """All other agents as senders, and which of these edges are kept [B, G, N, N - 1]."""
        source = self._others.expand(num_worlds, -1, -1)
        scores, keeps = self._scores(source, draw, hidden), self.config.degree
        if self.acts:  # in the order of sampling
            return Graph(source.gather(2, scores[:, 0].topk(self.degree, -1).indices))
        if keeps is None:
            return Graph(source, scores > 0)
        best = scores.topk(min(keeps, self.degree), -1).indices
        return Graph(source, torch.zeros_like(scores, dtype=torch.bool).scatter_(-1, best, True))

    def weight(self, source: Tensor, draw: Tensor, hidden: Tensor | None = None) -> Tensor | None:
        """sigmoid((logit + noise - threshold) / tau) [B, G, N, N - 1], without gradient during the warm-up.

        The threshold is 0, or with a given degree halfway between the last sender kept and the first one left out.
        """
        if self.acts:
            return None
        scores, keeps = self._scores(source, draw, hidden), self.config.degree
        if keeps is not None and keeps < self.degree:
            scores = scores - scores.detach().topk(keeps + 1, -1).values[..., -2:].mean(-1, keepdim=True)
        elif keeps is not None:
            scores = scores - scores.detach().amin(-1, keepdim=True) + 1
        soft = (scores / self.config.temperature).sigmoid()
        return soft.detach() + self.learns * (soft - soft.detach())

    def choice(self, source: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probability of sampling these senders in this order (Plackett-Luce), and entropy of the first choice."""
        if not self.acts:
            return super().choice(source, hidden)
        logits = self.logits(hidden)[:, 0]
        own = torch.eye(logits.shape[-1], dtype=torch.bool, device=logits.device)
        logits = (logits.detach() + self.learns * (logits - logits.detach())).masked_fill(own, float("-inf"))
        first = logits.log_softmax(-1)
        entropy = -(first.exp() * first.masked_fill(own, 0.0)).sum(-1)
        chosen, log_probability = first, torch.zeros_like(entropy)
        for place in source.unbind(-1):
            log_probability = log_probability + chosen.gather(-1, place.unsqueeze(-1)).squeeze(-1)
            chosen = chosen.scatter(-1, place.unsqueeze(-1), float("-inf")).log_softmax(-1)
        return log_probability, entropy

    def _scores(self, source: Tensor, draw: Tensor | None, hidden: Tensor | None) -> Tensor:
        """Logits [B, G, N, N - 1] of the senders [B, N, N - 1], with the noise of the draws [B]."""
        if hidden is None:
            raise ValueError("a dynamic graph needs hidden vectors")
        logits = self.logits(hidden)
        if self.config.degree is not None and (self.noisy or draw is not None):
            logits = logits + gumbel(self._tie_break if draw is None else draw, *logits.shape[1:])
        elif draw is not None:
            logits = logits + logistic(draw, *logits.shape[1:])
        return logits.gather(3, source.unsqueeze(1).expand(-1, logits.shape[1], -1, -1))

    def resize(self, identity: Tensor) -> None:
        """Adapt to any number of agents."""
        self._others = others(len(identity)).to(self._others.device)
        self._set_degree(len(identity))
