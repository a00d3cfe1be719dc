"""Conditions that change nothing for a team: refused before evaluation, since their cells would repeat others."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from agentcomm.base.errors import ConfigError, together
from agentcomm.base.registry import find
from agentcomm.contracts.policy import CommPolicy
from agentcomm.evaluation.cells import Cell
from agentcomm.runs.conditions import Conditions
from agentcomm.runs.config import RunConfig


def check_conditions(cells: Sequence[Cell], config: RunConfig, policy: CommPolicy) -> None:
    """Refuse conditions that change nothing.

    Args:
        cells: The cells to evaluate.
        config: The run's config.
        policy: A policy of the run.

    Raises:
        ConfigError: If conditions have no effect on this team; the text names all of them.
    """
    silent = policy.exchanges == 0 or policy.topology.degree == 0
    found = {cell.conditions.label(): cell.conditions for cell in cells if cell.variant == "team"}
    together(*(partial(_check, under, config, policy.gate is not None, silent) for under in found.values()))


def _check(under: Conditions, config: RunConfig, gated: bool, silent: bool) -> None:
    if under.gates is not None and silent:
        raise ConfigError(f"gates={under.gates} changes nothing: this team sends no messages; leave gates out")
    if under.gates in ("open", "random") and not gated:
        raise ConfigError(
            f"gates={under.gates} changes nothing: this team has no gates, so its links are always open; gates=closed"
            " evaluates it without messages"
        )
    if under.transport != config.transport.canonical() and silent:
        raise ConfigError(
            f"the transport {under.transport.label or 'plain'} changes nothing: this team sends no messages; leave"
            " channels and codecs out"
        )


def notes(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What a reader of these rows should know about the obedience of members, in sentences."""
    attacked = [row for row in rows if row["attack"]]
    directing = [row for row in attacked if find("attack", row["attack"]["name"]).directs]
    found = [
        f"{row['attack']['name']}: members obey directives with probability 0 here, so that only its messages as such"
        " have an effect; choose a probability with --obedience 0.5."
        for row in directing
        if not row["conditions"]["obedience"]
    ]
    if not directing and any(row["conditions"]["obedience"] for row in rows):
        found.append("obedience changes nothing here: no attack sends directives; add --attack directive.")
    return list(dict.fromkeys(found))
