"""Conformance check of metrics."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from agentcomm.conformance.common import checked_config, require
from agentcomm.contracts.metric import Metric, MetricConfig
from agentcomm.contracts.outcome import DIRECTORY_COUNTS, Episodes, Facts
from agentcomm.network.ledger import COUNTS


def check_metric(plugin: type[Metric], arguments: dict[str, Any] | None = None, num_episodes: int = 7) -> None:
    """Check the contract of :class:`agentcomm.contracts.metric.Metric` on synthetic episodes of several kinds.

    Args:
        plugin: The metric.
        arguments: Its arguments.
        num_episodes: B, two or more.

    Raises:
        AssertionError: If the metric breaks the contract.
    """
    config: MetricConfig = checked_config("metric", plugin, Metric, arguments)
    for name, info in plugin.Config.model_fields.items():
        require(not info.is_required(), f"argument {name!r} has no default: cells are measured with defaults")
    require(plugin.better in ("higher", "lower", "neither"), f"better is {plugin.better!r}")
    require(isinstance(plugin.unit, str), f"unit is {plugin.unit!r}, not a string")
    applied = False
    for directory in (True, False):
        for late in (True, False):
            episodes = some_episodes(num_episodes, directory, late)
            applied |= _check_value(plugin(config), episodes)
    require(applied, "it applies to none of the synthetic episodes")


def some_episodes(count: int, directory: bool = True, late: bool = True, seed: int = 0) -> Episodes:
    """Synthetic episodes, as an evaluation might return them.

    Args:
        count: B.
        directory: Whether there is a directory.
        late: Whether messages are delayed.
        seed: Seed of the numbers.
    """
    g = torch.Generator().manual_seed(seed)

    def counts(*shape: int) -> Tensor:
        return torch.randint(0, 50, (count, *shape), generator=g)

    length = counts() + 1
    seconds = torch.rand(count, generator=g) * late
    return Episodes(
        length=length,
        success=counts() < 25,
        total_reward=torch.randn(count, generator=g),
        harm=counts(),
        actions=counts(5),
        messages={name: counts() for name in COUNTS},
        bytes=counts() * 64,
        late_by=(counts() * late, seconds),
        refused_by={"clip": counts()},
        gate_by_step=[0.5, 0.25, None],
        gate_open=0.4,
        facts=Facts.of(counts(len(DIRECTORY_COUNTS))) if directory else None,
    )


def _check_value(metric: Metric, episodes: Episodes) -> bool:
    """Check that the value is finite, deterministic and independent of the order; whether the metric applies."""
    before = _tensors(episodes)
    kept = {name: value.clone() for name, value in before.items()}
    ambient = torch.get_rng_state()
    value, single = metric.value(episodes), metric.by_episode(episodes)
    require(torch.equal(ambient, torch.get_rng_state()), "randomness is drawn from torch's global generator")
    require(all(torch.equal(kept[name], now) for name, now in before.items()), "measuring changes the episodes")
    require(value is None or isinstance(value, float | int), f"value returns a {type(value).__name__}, not a float")
    require(
        value is None or math.isfinite(value), f"value returns {value}; a metric that does not apply must return None"
    )
    if single is not None:
        shape = tuple(episodes.length.shape)
        require(tuple(single.shape) == shape, f"by_episode returns shape {tuple(single.shape)}, not {shape}")
        require(single.float().isfinite().all(), "by_episode returns numbers that are not finite")
        require(value is not None, "by_episode returns numbers, but value returns None")
    require(metric.value(episodes) == value, "the same episodes give different values")
    turned = metric.value(_reversed(episodes))
    same = turned is None if value is None else turned is not None and math.isclose(turned, value, rel_tol=1e-5)
    require(same, "the value depends on the order of the episodes")
    return value is not None


def _tensors(episodes: Episodes) -> dict[str, Tensor]:
    """Everything [B, ...] in them, by name."""
    found = {name: value for name, value in vars(episodes).items() if isinstance(value, Tensor)}
    found |= {"late_by.0": episodes.late_by[0], "late_by.1": episodes.late_by[1]}
    found |= {f"messages.{name}": value for name, value in episodes.messages.items()}
    found |= {f"refused_by.{name}": value for name, value in episodes.refused_by.items()}
    return found | ({} if episodes.facts is None else {f"facts.{n}": v for n, v in vars(episodes.facts).items()})


def _reversed(episodes: Episodes) -> Episodes:
    """The same episodes in reverse order."""
    found = {name: value.flip(0) for name, value in _tensors(episodes).items()}

    def part(name: str) -> dict[str, Tensor]:
        return {key.removeprefix(f"{name}."): value for key, value in found.items() if key.startswith(f"{name}.")}

    plain: dict[str, Any] = {name: value for name, value in found.items() if "." not in name}
    return replace(
        episodes,
        **plain,
        late_by=(found["late_by.0"], found["late_by.1"]),
        messages=part("messages"),
        refused_by=part("refused_by"),
        facts=None if episodes.facts is None else Facts(**part("facts")),
    )
