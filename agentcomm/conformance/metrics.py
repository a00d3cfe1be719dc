"""Conformance check of metrics."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from agentcomm.base.plugin import foreign
from agentcomm.conformance.common import checked_config, require
from agentcomm.contracts.link_counts import LinkCounts
from agentcomm.contracts.metric import GROUPS, DetectorMetric, Metric, MetricConfig, PairedMetric, SuiteMetric
from agentcomm.contracts.outcome import DIRECTORY_COUNTS, Contact, Episodes, Facts, Guesses
from agentcomm.contracts.scored import LEVELS, ScoredMessages, levels
from agentcomm.contracts.suite import Suite
from agentcomm.network.ledger import COUNTS


def check_metric(plugin: type[Metric], arguments: dict[str, Any] | None = None, num_episodes: int = 7) -> None:
    """Check the contract of a metric of any kind (:mod:`agentcomm.contracts.metric`) on synthetic results.

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
    for name in ("unit", "source"):
        require(isinstance(getattr(plugin, name), str), f"{name} is {getattr(plugin, name)!r}, not a string")
    require(plugin.group in GROUPS, f"group is {plugin.group!r}, not one of {', '.join(GROUPS)}")
    require(foreign(plugin) or bool(plugin.source), "it names no source: say where it is defined")
    metric = plugin(config)
    applied = False
    for directory in (True, False):
        for late in (True, False):
            episodes = some_episodes(num_episodes, directory, late)
            other = some_episodes(num_episodes, directory, late, seed=1)
            applied |= _check_value(metric, episodes, other)
    if isinstance(metric, SuiteMetric):
        applied |= _check_suite(metric)
    require(applied, "it applies to none of the synthetic episodes and suites")


def some_episodes(count: int, directory: bool = True, late: bool = True, seed: int = 0) -> Episodes:
    """Synthetic episodes under an attack, as an evaluation might return them.

    Args:
        count: B.
        directory: Whether there is a directory.
        late: Whether messages are delayed.
        seed: Seed of the numbers.
    """
    g = torch.Generator().manual_seed(seed)
    agents, steps = 4, 50

    def counts(*shape: int) -> Tensor:
        return torch.randint(0, steps, (count, *shape), generator=g)

    length = counts() + 1
    seconds = torch.rand(count, generator=g) * late
    touched = length // 2
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
        action_by_step=torch.randint(0, 5, (steps, count, agents), generator=g).short(),
        links=LinkCounts.of(counts(agents, agents) * _path(agents)),
        contact=Contact(touched, torch.arange(agents).expand(count, -1) == 0),
        scored={"clip": some_scored(touched, seed)},
        isolations={"quarantine": counts()},
        false_isolations={"quarantine": counts()},
        guesses=Guesses(60, 50, 100, 8.0),
        numbers=16,
    )


def some_scored(touched: Tensor, seed: int = 0) -> ScoredMessages:
    """Synthetic counts of the messages that a defense scored, the first of which an attack touched in steps [B]."""
    g = torch.Generator().manual_seed(seed)
    scores = torch.rand(2, 50, generator=g) + torch.tensor([[0.0], [0.5]])
    counts = torch.stack([torch.bincount(levels(score), minlength=LEVELS) for score in scores])
    return ScoredMessages(counts, torch.tensor([2, 30]), touched, touched + 1)


def some_suite(seed: int = 0) -> Suite:
    """A synthetic suite with two attacks, one of which knows the defense."""

    def row(attack: str | None, score: float, knowledge: str = "protocol") -> dict[str, Any]:
        about = None if attack is None else {"label": attack, "threat": {"knowledge": knowledge}}
        return {"attack": about, "metrics": {"mean_return": score}, "effect": {"success": 0.25}}

    attacked = {"noise": row("noise", 6.0), "gradient": row("gradient", 4.0, "defense")}
    plain = row(None, 10.0) | {"references": {"silent": {"mean_return": 1.0}}}
    clean, floor = row(None, 9.0), row(None, 2.0)
    return Suite(seed, "clip", "", "mean_return", "higher", clean, plain, floor, attacked)


def _path(agents: int) -> Tensor:
    """[N, N] int64, edges of a path in both directions."""
    at = torch.arange(agents)
    return ((at.unsqueeze(0) - at.unsqueeze(1)).abs() == 1).long()


def _check_value(metric: Metric, episodes: Episodes, other: Episodes) -> bool:
    """Check that the value is finite, deterministic and independent of the order; whether the metric applies.

    Args:
        metric: The metric.
        episodes: Episodes.
        other: Those of a counterpart.
    """
    before = _tensors(episodes) | {f"other.{name}": value for name, value in _tensors(other).items()}
    kept = {name: value.clone() for name, value in before.items()}
    ambient = torch.get_rng_state()
    value, single = _value(metric, episodes, other), metric.by_episode(episodes)
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
    require(_value(metric, episodes, other) == value, "the same episodes give different values")
    turned = _value(metric, _reversed(episodes), _reversed(other))
    same = turned is None if value is None else turned is not None and math.isclose(turned, value, rel_tol=1e-5)
    require(same, "the value depends on the order of the episodes")
    return value is not None


def _value(metric: Metric, episodes: Episodes, other: Episodes) -> float | None:
    """The value of a metric of a cell, or of a defense in it."""
    if isinstance(metric, PairedMetric):
        return metric.compare(episodes, other)
    if isinstance(metric, DetectorMetric):
        return metric.of(episodes.scored["clip"], other.scored["clip"])
    return metric.value(episodes)


def _check_suite(metric: SuiteMetric) -> bool:
    """Check that the values over a suite are finite and its attacks those of the suite; whether the metric applies."""
    suite = some_suite()
    value, single = metric.over(suite), metric.by_attack(suite)
    require(value is None or math.isfinite(value), f"over returns {value}; a metric that does not apply returns None")
    require(all(map(math.isfinite, single.values())), "by_attack returns numbers that are not finite")
    require(single.keys() <= suite.attacked.keys(), f"by_attack names attacks that are not in the suite: {[*single]}")
    require(metric.over(suite) == value, "the same suite gives different values")
    nothing = replace(suite, clean=None, undefended=None, floor=None, attacked={})
    require(metric.over(nothing) is None, "over returns a number for a suite without cells; it must return None")
    return value is not None or bool(single)


def _tensors(episodes: Episodes) -> dict[str, Tensor]:
    """Everything [B, ...] in them, by name; actions per step as [B, T, N]."""
    found = {name: value for name, value in vars(episodes).items() if isinstance(value, Tensor)}
    if episodes.action_by_step is not None:
        found["action_by_step"] = episodes.action_by_step.transpose(0, 1)
    found |= {"late_by.0": episodes.late_by[0], "late_by.1": episodes.late_by[1]}
    found |= {f"messages.{name}": value for name, value in episodes.messages.items()}
    found |= {f"refused_by.{name}": value for name, value in episodes.refused_by.items()}
    found |= {f"isolations.{name}": value for name, value in episodes.isolations.items()}
    found |= {f"false_isolations.{name}": value for name, value in episodes.false_isolations.items()}
    if episodes.links is not None:
        found |= {"links.dense": episodes.links.dense()}
    if episodes.contact is not None:
        found |= {"contact.0": episodes.contact.step, "contact.1": episodes.contact.receivers}
    return found | ({} if episodes.facts is None else {f"facts.{n}": v for n, v in vars(episodes.facts).items()})


def _reversed(episodes: Episodes) -> Episodes:
    """The same episodes in reverse order."""
    found = {name: value.flip(0) for name, value in _tensors(episodes).items()}

    def part(name: str) -> dict[str, Tensor]:
        return {key.removeprefix(f"{name}."): value for key, value in found.items() if key.startswith(f"{name}.")}

    plain: dict[str, Any] = {name: value for name, value in found.items() if "." not in name}
    if episodes.action_by_step is not None:
        plain["action_by_step"] = plain["action_by_step"].transpose(0, 1)
    turned = {
        by: replace(scored, first_attacked=scored.first_attacked.flip(0), first_flagged=scored.first_flagged.flip(0))
        for by, scored in episodes.scored.items()
    }
    return replace(
        episodes,
        **plain,
        links=None if episodes.links is None else LinkCounts.of(found["links.dense"]),
        late_by=(found["late_by.0"], found["late_by.1"]),
        messages=part("messages"),
        refused_by=part("refused_by"),
        isolations=part("isolations"),
        false_isolations=part("false_isolations"),
        contact=None if episodes.contact is None else Contact(found["contact.0"], found["contact.1"]),
        scored=turned,
        facts=None if episodes.facts is None else Facts(**part("facts")),
    )
