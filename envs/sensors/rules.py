"""Rules by which agents answer in Sensor consensus, and what they earn in closed form.

The scripted rules read the world's state for speed, but decide only by the readings an agent would know. They return
numbers; ``world.action`` makes actions of them.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from envs.sensors.sensor_consensus import SensorConsensus, SensorConsensusConfig

Rule = Literal["own", "posterior", "mean", "median", "trimmed_mean", "healthy"]


def own(world: SensorConsensus) -> Tensor:
    """[B, N], each agent's own reading: no messages."""
    return world.state["readings"].clone()


def posterior(world: SensorConsensus) -> Tensor:
    """[B, N], mean of the quantity given the own reading, the best without messages if faulty sensors get stuck.

    A reading r of a sensor that is not faulty leaves a quantity uniform between r - noise and r + noise, within
    ``noise`` .. 1 - ``noise``; one at an end of 0 .. 1 is of a faulty sensor and says nothing.
    """
    noise, seen = world.config.noise, world.state["readings"]
    low, high = (seen - noise).clamp_min(noise), (seen + noise).clamp_max(1 - noise)
    return torch.where((seen <= 0) | (seen >= 1), 0.5, (low + high) / 2)


def mean(world: SensorConsensus) -> Tensor:
    """[B, N], the mean of all readings."""
    return _same(world, world.state["readings"].mean(1))


def median(world: SensorConsensus) -> Tensor:
    """[B, N], the median of all readings; of an even number, the mean of the middle two."""
    ordered = world.state["readings"].sort(1).values
    n = world.num_agents
    return _same(world, (ordered[:, (n - 1) // 2] + ordered[:, n // 2]) / 2)


def trimmed_mean(world: SensorConsensus) -> Tensor:
    """[B, N], the mean of all readings but the ``faulty`` largest and smallest."""
    f, n = world.config.faulty, world.num_agents
    return _same(world, world.state["readings"].sort(1).values[:, f : n - f].mean(1))


def healthy(world: SensorConsensus) -> Tensor:
    """[B, N], the mean of the readings of sensors that are not faulty, for agents that are told which these are."""
    good = (~world.state["faulty"]).float()
    return _same(world, (world.state["readings"] * good).sum(1) / good.sum(1))


def _same(world: SensorConsensus, value: Tensor) -> Tensor:
    return value.unsqueeze(1).expand(-1, world.num_agents).clone()


def w_msr(values: Tensor, adjacency: Tensor, trim: int, stubborn: Tensor | None = None) -> Tensor:
    """[B, N], one step of W-MSR: each agent averages its value with those of neighbors, without extreme ones.

    An agent drops the ``trim`` largest of the neighbors' values that are larger than its own, or all of these if there
    are fewer; and likewise the smallest (LeBlanc et al., JSAC 2013, section III.A). Weights are equal.

    Args:
        values: [B, N].
        adjacency: [N, N] bool, whether agent i hears agent j; the diagonal does not count.
        trim: F.
        stubborn: [B, N] bool, agents that keep their value.
    """
    n = values.shape[1]
    heard = adjacency & ~torch.eye(n, dtype=torch.bool, device=values.device)
    others, mine = values.unsqueeze(1).expand(-1, n, -1), values.unsqueeze(2)
    kept = heard.expand(len(values), -1, -1)
    for sign in (1, -1):
        beyond = heard & (sign * (others - mine) > 0)
        rank = (sign * others).masked_fill(~beyond, -torch.inf).argsort(2, descending=True).argsort(2)
        kept = kept & ~(beyond & (rank < trim))
    averaged = (mine.squeeze(2) + (others * kept).sum(2)) / (1 + kept.sum(2))
    return averaged if stubborn is None else torch.where(stubborn, values, averaged)


def w_msr_complete(values: Tensor, trim: int) -> Tensor:
    """[B, N], one step of W-MSR on the complete graph in closed form.

    With b values below an agent's own and a above it, min(F, b) smallest and min(F, a) largest of all values drop out,
    so that agents in the middle get the trimmed mean. Values must be distinct.
    """
    ordered, order = values.sort(1)
    n = values.shape[1]
    total = torch.cat([torch.zeros_like(ordered[:, :1]), ordered.cumsum(1)], 1)
    place = torch.arange(n, device=values.device)
    first, last = place.clamp_max(trim), n - (n - 1 - place).clamp_max(trim)
    averaged = (total[:, last] - total[:, first]) / (last - first)
    return torch.empty_like(values).scatter(1, order, averaged)


def expected(config: SensorConsensusConfig, rule: Rule) -> float:
    """Mean reward of an agent per step in closed form, for sensors that get stuck and answers that are not rounded."""
    n, f, noise = config.members, config.faulty, config.noise
    good, spread = n - f, (1 - 2 * noise) ** 2 / 12  # the variance of the quantity
    stuck = 1 / 4 + spread  # mean squared distance of the quantity from an end of 0 .. 1
    if rule == "own":
        return -(good * noise**2 / 3 + f * stuck) / n / noise**2
    if rule == "posterior":  # the mean of (length of the posterior)^2 / 12 over readings, whose density is a trapezoid
        short, long = sorted((2 * noise, 1 - 2 * noise))
        return -(good * short**2 * (2 * long - short) / (24 * long) + f * spread) / n / noise**2
    if rule == "mean":
        return -(good / n**2 / 3 + (f / n) ** 2 * stuck / noise**2)
    if rule == "healthy":
        return -1 / (3 * good)
    # Sensors stuck at the upper end are the f largest of all: what remains are order statistics of the good ones.
    weights = torch.zeros(n, dtype=torch.float64)
    chosen = torch.tensor([(n - 1) // 2, n // 2]) if rule == "median" else torch.arange(f, n - f)
    weights.index_add_(0, chosen, torch.full((len(chosen),), 1 / len(chosen), dtype=torch.float64))
    return -ordered_error(weights[:good])


def ordered_error(weights: Tensor) -> float:
    """Mean squared error of a weighted sum of the ordered errors of m sensors, in units of the squared noise.

    Args:
        weights: [m] float64 of the smallest to the largest, which sum to 1.
    """
    m = len(weights)
    k = torch.arange(1, m + 1, dtype=torch.float64)
    cov = torch.minimum(k.unsqueeze(1), k) * (m + 1 - torch.maximum(k.unsqueeze(1), k)) / ((m + 1) ** 2 * (m + 2))
    bias = float((weights * k).sum()) / (m + 1) - 0.5
    return 4 * (float(weights @ cov @ weights) + bias**2)
