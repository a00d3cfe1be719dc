"""CommFormer's learned graph (arXiv 2405.08550): one logit per possible edge, and exactly k senders per receiver.

Training samples one graph per world by Gumbel top-k; execution uses the exact top-k. The graph's own optimizer takes
its steps on data that the model has not been trained on (the paper's bi-level scheme, first order), with one of two
gradient estimators:

*score*: REINFORCE on fresh rollouts, with the log-probabilities of sampled graphs (Plackett-Luce: Gumbel top-k draws
without replacement). It credits the senders of a receiver with what the receiver gained, and with what those gained
whom its messages reach in later rounds of the step: each row is judged by a few rewards instead of all N. The graph's
step comes before the model's, so all worlds are held out.

*straight_through*: CommFormer's. Weights with the gradient of a softmax propagate the loss of some held-out worlds to
the logits, and all edges outside the graph are offered as closed links. It measures the immediate effect of an
additional edge, but not what agents would learn from it. In large teams hardly any edge is of use, and few receivers
hear anything from which they could learn to listen; with ``dense_until`` all of them hear everybody at first, and the
graph is cut to its best k edges per receiver once they do.

In large teams with few links *score* draws one random number for each edge that is kept, and works through the logits a
few receivers at a time (:mod:`policies.graphs.sampling`), so that no tensor has N x N entries per world. The other
estimator needs them: it offers every edge of every held-out world. A graph with a logit per edge still has N x N
parameters, once; one from embeddings has none.

Unlike in the released code, the diagonal is excluded, logits start from small random numbers instead of ties, and
edges have a learning rate of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from typing_extensions import TypeVar

from agentcomm.base.errors import ConfigError
from agentcomm.contracts.topology import Graph, LearnedTopology, LearnedTopologyConfig, Topology, TopologyConfig
from policies.graphs.fixed import NoLinks
from policies.graphs.noise import gumbel, gumbel_at, new_draws
from policies.graphs.part import degree
from policies.graphs.sampling import cumulative, draw_senders

EXACT = -1  # the draw that stands for the executed graph
MOST_DENSE = 128  # agents up to which every edge has noise of its own, as in the recorded runs of teams of these sizes
FEW = 16  # possible edges per kept one from which on a number per kept edge is drawn
TOGETHER = 2**18  # logits that are looked at together


class LearnedConfig(LearnedTopologyConfig):
    """Arguments of LearnedGraph."""

    density: float = Field(0.4, gt=0, le=1, description="senders kept per receiver, as a share of N")
    degree: int | None = Field(None, ge=1, description="senders kept per receiver, whatever the density")
    estimator: Literal["score", "straight_through"] = Field("score", description="gradient estimator of the logits")
    temperature: float = Field(1.0, gt=0, description="initial temperature of the softmax (straight_through)")
    final_temperature: float = Field(0.5, gt=0, description="temperature of the softmax at the end of training")
    exact_after: float = Field(0.8, gt=0, le=1, description="share of training after which the exact graph is used")
    graphs: int = Field(256, ge=1, description="number of different graphs per rollout, which worlds share in turn")
    initial_logit: float | None = Field(None, description="initial logit of all edges; random when not given")
    dense_until: float = Field(
        0.0, ge=0, lt=1, description="share of training in which receivers keep all senders (straight_through)"
    )

    @model_validator(mode="after")
    def _dense_learns(self) -> Self:
        if self.dense_until and self.estimator != "straight_through":
            raise ValueError(
                f"dense_until={self.dense_until} needs estimator='straight_through': in a dense graph nothing is"
                f" sampled that 'score' could learn from"
            )
        return self


class EmbeddedConfig(LearnedConfig):
    """Arguments of EmbeddedGraph."""

    learning_rate: float = Field(0.05, gt=0, description="learning rate of the graph's own optimizer (Adam)")
    embedding: int = Field(64, ge=2, le=1024, description="width of the agent embeddings")
    sharpness: float = Field(4.0, gt=0, description="largest logit, of edges whose query and key are the same")


L_co = TypeVar("L_co", bound=LearnedConfig, default=LearnedConfig, covariant=True)


class LearnedGraph(LearnedTopology[L_co]):
    """One logit per possible edge, alpha [N, N] (row: receiver), sampled by Gumbel top-k.

    Attributes:
        dense: [], nonzero while receivers keep all senders; None if they never do.
    """

    dense: Tensor | None
    temperature: Tensor
    _identity: Tensor

    def __init__(self, config: L_co, num_agents: int) -> None:
        super().__init__(config)
        self._kept = degree(config.density, num_agents, config.degree)
        self.needs_held_out = config.estimator == "straight_through"
        self._make_logits(num_agents)
        self.register_buffer("dense", torch.tensor(1.0) if config.dense_until else None)
        self.register_buffer("temperature", torch.tensor(config.temperature))
        self.register_buffer("exact", torch.tensor(0.0))
        self.register_buffer("_identity", torch.arange(num_agents), persistent=False)

    @classmethod
    def for_team(cls, config: TopologyConfig, num_agents: int, width: int) -> Topology:
        """The graph of a team of N agents, or no links for a single agent."""
        return cls(config, num_agents) if num_agents > 1 else NoLinks(TopologyConfig(), num_agents)  # type: ignore[arg-type]

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Both gradient estimators."""
        return {"": {}, "straight through": {"estimator": "straight_through", "density": 0.6, "graphs": 4}}

    @property
    def degree(self) -> int:  # type: ignore[override]
        """k; while the graph is dense, all senders."""
        return self._most if self.dense is not None and bool(self.dense) else self._kept

    @property
    def _most(self) -> int:
        """How many senders each receiver could have."""
        return len(self._identity) - int(self._identity.bincount().max())

    @property
    def _sparse(self) -> bool:
        """Whether a sampled graph has a random number per kept edge, instead of one per possible edge."""
        agents = len(self._identity)
        return not self.needs_held_out and agents > MOST_DENSE and agents >= FEW * self.degree

    def _make_logits(self, num_agents: int) -> None:
        start = self.config.initial_logit
        first = 0.01 * torch.randn(num_agents, num_agents)
        self.edges = nn.Parameter(first if start is None else torch.full_like(first, start))

    def _rows(self) -> Tensor:
        """[N, ...], what the logits of each receiver are computed from."""
        return self.edges

    def _logits_of(self, rows: Tensor) -> Tensor:
        """Logits [R, N] of some of :meth:`_rows` [R, ...]."""
        return rows

    def logits(self) -> Tensor:
        """Logits alpha [N, N] of edges (row: receiver)."""
        return self._logits_of(self._rows())

    def _eligible(self, logits: Tensor, receiver: Tensor) -> Tensor:
        """Logits [..., R, N] of the receivers [R], minus infinity for excluded edges."""
        return logits.masked_fill(self._identity[receiver].unsqueeze(1) == self._identity, float("-inf"))

    def _parts(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Receivers [R] and their rows [R, ...], all of them in small teams, else some at a time."""
        # Split at once: the gradient of a slice is as large as the whole.
        agents = len(self._identity)
        size = max(TOGETHER // agents, 1)
        yield from zip(
            torch.arange(agents, device=self._identity.device).split(size), self._rows().split(size), strict=True
        )

    def ranking(self) -> Tensor:
        """The logits."""
        return self.logits().detach()

    def anneal(self, progress: float) -> None:
        """Set temperature and phase for the progress of training (0 .. 1)."""
        c = self.config
        self.temperature.fill_(c.temperature * (c.final_temperature / c.temperature) ** min(progress, 1.0))
        self.exact.fill_(float(progress >= c.exact_after))
        if self.dense is not None:
            self.dense.fill_(float(progress < c.dense_until))

    def draw(self, num_worlds: int, generator: torch.Generator) -> Tensor:
        """One draw per world, ``graphs`` different ones; all ``EXACT`` in the final phase."""
        draws = new_draws(min(self.config.graphs, num_worlds), generator)
        draws = draws[torch.arange(num_worlds, device=draws.device) % len(draws)]
        return torch.where(self.exact.bool(), EXACT, draws)

    def _scores(self, draw: Tensor) -> Tensor:
        """Logits [U, N, N] with the noise of draws; minus infinity for excluded edges."""
        scores = self.logits()
        noise = gumbel(draw, *scores.shape).masked_fill((draw == EXACT).view(-1, 1, 1), 0.0)
        return self._eligible(scores + noise, torch.arange(len(scores), device=scores.device))

    @torch.no_grad()
    def graph(self, draw: Tensor | None, num_worlds: int, hidden: Tensor | None = None) -> Graph:
        """Top-k senders per receiver, in ascending order."""
        if draw is None:
            return Graph(self._executed().expand(num_worlds, -1, -1))
        different, which = draw.unique(return_inverse=True)
        if self._sparse:
            return Graph(self._drawn(different)[which])
        chunk = max(2**22 // len(self._identity) ** 2, 1)  # so that memory does not grow with graphs * N^2
        tops = [self._top(self._scores(part)) for part in different.split(chunk)]
        return Graph(torch.cat(tops)[which])

    def _drawn(self, draw: Tensor) -> Tensor:
        """[U, N, k], the senders of the different draws [U], without noise for edges that are not kept."""
        sampled = []
        for receiver, rows in self._parts():
            logits = self._eligible(self._logits_of(rows), receiver)
            senders = draw_senders(cumulative(logits), draw, receiver, self.degree).sort(-1).values
            sampled.append(torch.where((draw == EXACT).view(-1, 1, 1), self._top(logits), senders))
        return torch.cat(sampled, 1)

    def _executed(self) -> Tensor:
        """[N, k], the senders with the largest logits."""
        tops = [self._top(self._eligible(self._logits_of(rows), receiver)) for receiver, rows in self._parts()]
        return torch.cat(tops)

    def _top(self, scores: Tensor) -> Tensor:
        top: Tensor = scores.topk(self.degree, dim=-1).indices.sort(-1).values
        return top

    def weight(self, source: Tensor, draw: Tensor, hidden: Tensor | None = None) -> Tensor | None:
        """softmax((alpha + g) / tau) over all senders, at those of ``source`` [B, N, K]."""
        different, which = draw.unique(return_inverse=True)
        soft = (self._scores(different) / self.temperature).softmax(-1)
        place = (which.view(-1, 1, 1), torch.arange(source.shape[1], device=source.device).view(1, -1, 1), source)
        chosen: Tensor = soft[place]
        return chosen

    def log_probability(self, source: Tensor, draw: Tensor) -> Tensor:
        """[U, N], log-probabilities of the rows that were sampled by draws [U], in the order of sampling.

        Args:
            source: [U, N, k], the graphs of these draws, with logits that have not changed since.
            draw: [U] int64.
        """
        parts, whole = [], len(self._identity) ** 2 <= TOGETHER
        for receiver, rows in self._parts():
            given = (rows, receiver, source[:, receiver], draw)
            # In large teams what was computed from the logits is computed again instead of kept for the gradient.
            parts.append(
                self._row_probability(*given)
                if whole
                else checkpoint(self._row_probability, *given, use_reentrant=False, preserve_rng_state=False)
            )
        return torch.cat(parts, 1)

    def _row_probability(self, rows: Tensor, receiver: Tensor, source: Tensor, draw: Tensor) -> Tensor:
        """[U, R], log-probabilities of the rows [U, R, k] of the receivers [R]."""
        agents, own = receiver.view(1, -1, 1), torch.arange(len(receiver), device=receiver.device).view(1, -1, 1)
        single = self._logits_of(rows)
        logits = self._eligible(single.double(), receiver)
        chosen = logits[own, source]
        if self._sparse:  # the place of each sender in the order in which they were drawn
            with torch.no_grad():
                drawn = draw_senders(cumulative(self._eligible(single, receiver)), draw, receiver, source.shape[-1])
            order = drawn.argsort(-1).argsort(-1)
        else:
            noise = gumbel_at(draw, agents * len(self._identity) + source)
            order = (chosen + noise).argsort(-1, descending=True)
        chosen = chosen.gather(-1, order)
        most = logits.amax(-1, keepdim=True).detach()
        weight = (chosen - most).exp()
        left = ((logits - most).exp().sum(-1, keepdim=True) - (weight.cumsum(-1) - weight)).clamp_min(1e-12)
        return (chosen - most - left.log()).sum(-1).float()

    def resize(self, identity: Tensor) -> None:
        """Accept only the size of the trained team."""
        if not torch.equal(identity, torch.arange(len(self.edges), device=identity.device)):
            raise ConfigError(
                f"a learned graph has one logit per edge and is tied to its {len(self.edges)} agents;"
                f" train with topology 'embedded' (or a fixed one) to serve another number"
            )

    @torch.no_grad()
    def row_entropy(self) -> Tensor:
        """[N], entropy in nats of each receiver's distribution over senders."""
        entropies = [
            torch.special.entr(self._eligible(self._logits_of(rows), receiver).softmax(-1)).sum(-1)
            for receiver, rows in self._parts()
        ]
        return torch.cat(entropies)

    @torch.no_grad()
    def agreement(self, source: Tensor) -> Tensor:
        """[], share of the sampled rows of [B, N, k] that equal the executed ones."""
        share: Tensor = (source == self._executed()).all(-1).float().mean()
        return share


class EmbeddedGraph(LearnedGraph[EmbeddedConfig]):
    """Logits from the angle between what receiver i looks for and what sender j is, c cos(q_i, k_j).

    Such a graph transfers to another number of agents. Every agent has a query and a key of its own, of which only the
    directions count: with products that are not normalized, or maps that all agents share, all receivers soon choose
    the same few senders, whose keys are long. Keys start as queries, so that those who gain from each other move
    towards each other.
    """

    def _make_logits(self, num_agents: int) -> None:
        self.query = nn.Parameter(torch.randn(num_agents, self.config.embedding))
        self.key = nn.Parameter(self.query.detach().clone())

    def _rows(self) -> Tensor:
        """Queries [N, E] of length ``sharpness``."""
        return self.config.sharpness * nn.functional.normalize(self.query[self._identity], dim=-1)

    def _logits_of(self, rows: Tensor) -> Tensor:
        """At most ``sharpness`` and at least minus that."""
        logits: Tensor = rows @ nn.functional.normalize(self.key[self._identity], dim=-1).T
        return logits

    def resize(self, identity: Tensor) -> None:
        """Adapt to N' agents; those that stand in for the same agent are not linked, as no such edge was trained."""
        count = len(identity)
        self._identity = identity.to(self._identity.device)
        self._kept = min(degree(self.config.density, count, self.config.degree), self._most)
