"""Evaluates all registered metrics: on the episodes of a cell, and on the suite of all cells of a team."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from agentcomm.base import registry
from agentcomm.base.calling import calling
from agentcomm.base.errors import ConfigError, HookError, NumberError
from agentcomm.contracts.metric import DetectorMetric, Metric, PairedMetric, SuiteMetric
from agentcomm.contracts.outcome import Episodes
from agentcomm.contracts.suite import Row, Suite
from agentcomm.contracts.world import World
from agentcomm.metrics.detection import curve

ALONE: Mapping[str, Episodes] = {}


def measure(episodes: Episodes, counterparts: Mapping[str, Episodes] = ALONE) -> dict[str, float]:
    """Values of all registered metrics of episodes that apply, by name.

    Args:
        episodes: The episodes of a cell.
        counterparts: Of an attacked cell, the same episodes without the attack (``clean``), under its matched control
            (``control``), or with the messages it touches dropped (``silence``), as far as they are known.

    Raises:
        NumberError: If a metric's value is not finite.
        HookError: If a metric raises an error, or its value is no number.
    """
    found: dict[str, float] = {}
    for name, metric in _metrics():
        if isinstance(metric, PairedMetric):
            with calling(f"metric {name!r}", "compare"):
                value = metric.against_any(episodes, counterparts)
        else:
            with calling(f"metric {name!r}", "value"):
                value = metric.value(episodes)
        if (checked := _number(name, value)) is not None:
            found[name] = checked
    return found


def detection(episodes: Episodes, counterparts: Mapping[str, Episodes] = ALONE) -> dict[str, dict[str, Any]]:
    """How well each defense detects attacked messages: its metrics, ``curve``, and how many messages it scored.

    Of defenses that close links, ``false_isolations`` are those that they close without the attack, per 1,000 episodes.

    Args:
        episodes: The episodes of a cell.
        counterparts: As for :func:`measure`, empty for a cell without attack; thresholds are chosen by ``clean``.

    Raises:
        NumberError: If a metric's value is not finite.
        HookError: If a metric raises an error, or its value is no number.
    """
    clean = counterparts.get("clean")
    found: dict[str, dict[str, Any]] = {}
    for defense, scored in episodes.scored.items():
        own = None if clean is None else clean.scored.get(defense)
        scored = scored if own is None else scored.beside(own)
        others, attacked = scored.counts.sum(1).tolist()
        about: dict[str, Any] = {"attacked": attacked, "others": others, "curve": curve(scored)}
        for name, metric in _metrics():
            if not isinstance(metric, DetectorMetric):
                continue
            with calling(f"metric {name!r}", "of"):
                value = metric.of(scored, own)
            about |= {} if _number(name, value) is None else {name: value}
        found[defense] = about
    peaceful = clean if counterparts else episodes
    for defense, closed in ({} if peaceful is None else peaceful.isolations).items():
        found.setdefault(defense, {})["false_isolations"] = 1000 * float(closed.double().mean())
    return found


class SuiteNumbers(NamedTuple):
    """The metrics of a suite: of the suite by name, and of single attacks by name and the attack's label."""

    suite: Suite
    over: dict[str, float]
    by_attack: dict[str, dict[str, float]]


def measure_suites(rows: Iterable[Row]) -> list[SuiteNumbers]:
    """Values of all registered metrics over suites, for each seed, defenses and conditions in some rows.

    Args:
        rows: Rows of ``cells.jsonl``; stale ones are ignored.

    Raises:
        NumberError: If a metric's value is not finite.
        HookError: If a metric raises an error, or its value is no number.
    """
    metrics = [(name, metric) for name, metric in _metrics() if isinstance(metric, SuiteMetric)]
    found = []
    for suite in suites(rows):
        over: dict[str, float] = {}
        by_attack: dict[str, dict[str, float]] = {}
        for name, metric in metrics:
            with calling(f"metric {name!r}", "over"):
                value, single = metric.over(suite), metric.by_attack(suite)
            if (checked := _number(name, value)) is not None:
                over[name] = checked
            for label, each in single.items():
                _number(name, each)
                by_attack.setdefault(name, {})[label] = each
        found.append(SuiteNumbers(suite, over, by_attack))
    return found


def suites(rows: Iterable[Row]) -> list[Suite]:
    """The suites in some rows: the teams' cells by seed, defenses, conditions and episodes, in order of appearance."""
    rows = [row for row in rows if not row.get("stale")]
    grouped: dict[tuple[tuple[int, str, str], Any, Any], list[Row]] = defaultdict(list)
    for row in rows:
        if row["variant"] == "team":
            key = row["seed"], row["defense_label"], row.get("conditions_label") or ""
            grouped[key, row.get("episodes"), row.get("episode_seed")].append(row)
    return [_suite(*key, group, rows) for (key, _, _), group in grouped.items()]


def _suite(seed: int, defenses: str, conditions: str, group: list[Row], rows: list[Row]) -> Suite:
    """One suite.

    Args:
        seed: Training seed.
        defenses: Label of its defenses.
        conditions: Label of its conditions.
        group: Its rows.
        rows: All rows, among which its references are.
    """
    valid = [row for row in group if row.get("status") == "ok"]
    score: Mapping[str, Any] = next(
        (row["score"] for row in group if row.get("score")), {"metric": "", "better": "higher"}
    )
    first = group[0]

    def reference(**fields: Any) -> Row | None:
        """The last clean cell of this seed with these fields, decoded in the same way, on the same episodes."""
        fields |= {"seed": seed, "attack": None, "status": "ok", "defense_label": "none"}
        fields |= {name: first.get(name) for name in ("decisions", "environment", "episodes", "episode_seed")}
        same = (row for row in reversed(rows) if all(row.get(name) == value for name, value in fields.items()))
        return next(same, None)

    return Suite(
        seed=seed,
        defenses=defenses,
        conditions=conditions,
        score=score["metric"],
        better=score["better"],
        clean=next((row for row in reversed(valid) if row["attack"] is None), None),
        undefended=reference(variant="team", conditions_label=first.get("conditions_label")),
        floor=reference(variant="control"),
        attacked={row["attack"]["label"]: row for row in valid if row["attack"] is not None},
        aimed=frozenset(row["attack"]["label"] for row in valid if row.get("adaptive")) - _undefended(first, rows),
        unscored=tuple(row["attack"]["label"] for row in group if row["attack"] is not None and row not in valid),
    )


def _undefended(like: Row, rows: Iterable[Row]) -> frozenset[str]:
    """Labels of the attacks under which the same team was evaluated without defenses."""
    same = {"variant": "team", "seed": like["seed"], "defense_label": "none"}
    same |= {name: like.get(name) for name in ("episodes", "episode_seed")}
    found = (
        row for row in rows if row["attack"] is not None and all(row.get(name) == value for name, value in same.items())
    )
    return frozenset(row["attack"]["label"] for row in found)


def score_of(world: World) -> Metric:
    """The metric by which teams are compared in a world's task.

    Raises:
        ConfigError: If it does not exist, has no better direction, or is not defined for single episodes.
    """
    metric: Metric = registry.find("metric", world.score)(registry.build_config("metric", world.score, {}))
    by_episode = type(metric).by_episode is not Metric.by_episode
    if metric.better == "neither" or not by_episode:
        problem = "says not which direction is better" if by_episode else "is not defined for single episodes"
        raise ConfigError(f"environment {world.name!r}: score={world.score!r} cannot be used; this metric {problem}")
    return metric


def _metrics() -> Iterator[tuple[str, Metric]]:
    """All registered metrics with their default arguments, by name."""
    for name, metric in registry.loadable("metric").items():
        yield name, metric(registry.build_config("metric", name, {}))


def _number(name: str, value: object) -> float | None:
    """The value of a metric; None if it does not apply.

    Raises:
        NumberError: If it is not finite.
        HookError: If it is no number.
    """
    if value is None:
        return None
    if not isinstance(value, int | float):
        raise HookError(f"metric {name!r}: value must return a number or None, not {type(value).__name__}")
    if not math.isfinite(value):
        raise NumberError(f"metric {name!r} is {value}; a metric that does not apply returns None")
    return value
