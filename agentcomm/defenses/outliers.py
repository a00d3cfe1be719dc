"""outliers: refuse messages that lie where clean messages do not, by an isolation forest or by local density.

``forest`` is the isolation forest of Liu et al. (ICDM 2008): the fewer random cuts separate a message from clean
ones, the more suspicious it is. ``density`` is the local outlier factor of Breunig et al. (SIGMOD 2000), as TIF uses
it on multi-agent traffic (WMNC 2025): how much sparser clean messages are around it than around its neighbors. Both
are evaluated as tensors: no message is copied to the host, as scikit-learn's would be, with whose scores a test
compares them. Features of a message are its entries, its length, and its
difference from the mean of the other messages in the inbox, in units of the spread of clean messages. The threshold
comes from held-out clean episodes (:mod:`agentcomm.defenses.parts.detector`).

What they cannot stop: content that honest senders use at other times (``substitute``, ``replay``), small changes, and
lies of many senders at once where these are each of an honest form. They know neither sender nor time. Both cost more
than a step of a small team: each message is compared with a forest, or with hundreds of others.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.examples import Examples
from agentcomm.defenses.parts.detector import Detector, DetectorConfig, Messages
from agentcomm.defenses.parts.features import squash

SAMPLES = 256  # per tree, as recommended by Liu et al.
DEPTH = 8  # log2(SAMPLES)
REFERENCES = 256  # clean messages whose density is known
NEAREST = 20  # neighbors, as in TIF
CLOSEST = 0.02  # smallest distance: agents often say the very same


class OutliersConfig(DetectorConfig):
    """Arguments of ``outliers``."""

    by: Literal["forest", "density"] = Field("forest", description="isolation forest, or local outlier factor")
    trees: int = Field(32, ge=1, description="trees of the forest")


class Outliers(Detector[OutliersConfig]):
    """Scores messages by an outlier model of clean ones."""

    answers = ("aa.l3.cross_agent_input_detection",)
    adaptive = ("substitute", "slow_drift")

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Both models."""
        return {"": {"trees": 20}, "density": {"by": "density"}}

    def fit(self, messages: Messages, examples: Examples) -> None:
        """Grow the forest, or measure the density around clean messages."""
        known = messages.payload[messages.present]
        self.mean, self.spread = known.mean(0), known.std(0).clamp_min(1e-3 + 0.05 * float(known.std()))
        features = self._features(messages)[messages.present]
        if self.config.by == "forest":
            self.forest = Forest.grow(features, self.config.trees, examples.generator)
        else:
            order = torch.randperm(len(features), generator=examples.generator, device=features.device)
            self.density = Density.of(features[order[:REFERENCES]])

    def score(self, messages: Messages, memory: dict[str, Tensor]) -> Tensor:
        """The anomaly score of the forest, in (0, 1), or the local outlier factor, about 1 for clean messages."""
        features = self._features(messages)
        flat = features.flatten(0, -2)
        score = self.forest.score(flat) if self.config.by == "forest" else self.density.factor(flat)
        return score.view(features.shape[:-1])

    def _features(self, m: Messages) -> Tensor:
        """[B, N, M, 2D + 1]."""
        present = m.present.unsqueeze(-1).float()
        unit = ((m.payload - self.mean) / self.spread) * present
        others = (unit.sum(-2, keepdim=True) - unit) / (present.sum(-2, keepdim=True) - present).clamp_min(1)
        length = unit.square().mean(-1, keepdim=True).sqrt()
        return torch.cat([squash(unit), squash(unit - others), squash(length)], -1)


class Forest(NamedTuple):
    """An isolation forest of T complete trees of depth ``DEPTH``: below a leaf, everything goes left.

    Attributes:
        levels: Per level [T, V] int64, the feature that each of V nodes compares, and [T, V] with what: larger values
            go right.
        path: [T, 2 ** DEPTH] expected number of cuts that isolate a message that ends there.
        usual: Expected number of cuts among all samples of a tree.
    """

    levels: list[tuple[Tensor, Tensor]]
    path: Tensor
    usual: float

    @classmethod
    def grow(cls, features: Tensor, trees: int, generator: torch.Generator) -> Forest:
        """Grow a forest on clean messages [n, F], level by level and all trees at once."""
        count, device = min(SAMPLES, len(features)), features.device
        keys = torch.rand(trees, len(features), generator=generator, device=device)
        samples = features[keys.topk(count, 1).indices]  # [T, count, F]
        node = torch.zeros(trees, count, dtype=torch.int64, device=device)  # of this level, that a sample is in
        levels: list[tuple[Tensor, Tensor]] = []
        ended = torch.zeros(trees, 1, dtype=torch.bool, device=device)  # nodes that are leaves, or below one
        path = torch.zeros(trees, 1, device=device)
        for depth in range(DEPTH + 1):
            size = 2**depth
            inside = node.new_zeros(trees, size).scatter_add_(1, node, torch.ones_like(node))
            path = torch.where(ended, path, depth + _cuts(inside).float())
            if depth == DEPTH:
                break
            at = node.unsqueeze(-1).expand_as(samples)
            ends = samples.new_full((2, trees, size, samples.shape[-1]), math.inf)
            low, high = (
                ends[0].scatter_reduce(1, at, samples, "amin"),
                (-ends[1]).scatter_reduce(1, at, samples, "amax"),
            )
            chance = torch.rand(low.shape, generator=generator, device=device).masked_fill(high <= low, -1.0)
            feature = chance.argmax(-1)
            ended = ended | (chance.amax(-1) < 0)
            bottom, top = (end.gather(-1, feature.unsqueeze(-1)).squeeze(-1) for end in (low, high))
            cut = bottom + (top - bottom) * torch.rand(bottom.shape, generator=generator, device=device)
            cut = cut.masked_fill(ended, math.inf)
            levels.append((feature, cut))
            value = samples.gather(-1, feature.gather(1, node).unsqueeze(-1)).squeeze(-1)
            node = 2 * node + (value > cut.gather(1, node))
            ended, path = (part.repeat_interleave(2, 1) for part in (ended, path))
        return cls(levels, path, float(_cuts(torch.tensor(count))))

    def score(self, features: Tensor) -> Tensor:
        """[n] anomaly scores in (0, 1) of messages [n, F] (Liu et al., equation 2)."""
        trees = torch.arange(len(self.path), device=features.device)
        node = torch.zeros(len(features), len(trees), dtype=torch.int64, device=features.device)
        for feature, cut in self.levels:
            place = trees * feature.shape[1] + node
            node = 2 * node + (features.gather(1, feature.view(-1)[place]) > cut.view(-1)[place])
        path = self.path.view(-1)[trees * self.path.shape[1] + node]
        return torch.exp2(-path.mean(1) / max(self.usual, 1e-6))


def _cuts(samples: Tensor) -> Tensor:
    """Expected number of random cuts that isolate one of so many samples (Liu et al., equation 1)."""
    n = samples.double()
    many = 2 * ((n - 1).clamp_min(1).log() + 0.5772156649) - 2 * (n - 1) / n.clamp_min(1)
    return torch.where(n > 2, many, (n == 2).double())


class Density(NamedTuple):
    """The density around clean messages.

    Attributes:
        known: [n, F] clean messages.
        reach: [n] distance from each to its last neighbor.
        density: [n] local reachability density of each.
        nearest: Number of neighbors.
    """

    known: Tensor
    reach: Tensor
    density: Tensor
    nearest: int

    @classmethod
    def of(cls, known: Tensor) -> Density:
        """Measure the density around clean messages [n, F]."""
        nearest = min(NEAREST, len(known) - 1)
        between = _distance(known, known)
        between.fill_diagonal_(math.inf)
        distance, who = between.topk(nearest, largest=False)
        reach = distance[:, -1]
        return cls(known, reach, 1 / torch.maximum(distance, reach[who]).mean(1), nearest)

    def factor(self, features: Tensor) -> Tensor:
        """[n] local outlier factors of messages [n, F]."""
        distance, who = _distance(features, self.known).topk(self.nearest, largest=False)
        return self.density[who].mean(1) * torch.maximum(distance, self.reach[who]).mean(1)


def _distance(one: Tensor, other: Tensor) -> Tensor:
    return torch.cdist(one, other).clamp_min(CLOSEST)
