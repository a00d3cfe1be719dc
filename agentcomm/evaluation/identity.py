"""The identity of a cell: hashes of all that its results depend on besides its id.

A cell is known only if its row has the same identity. Rows whose identity is another stay in ``cells.jsonl``, marked as
``stale`` with the reason, and no report shows them.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from typing import Any

from agentcomm.base import registry
from agentcomm.base.errors import AgentcommError
from agentcomm.base.inputs import find_input
from agentcomm.base.modules import check_permitted
from agentcomm.base.registry import Axis
from agentcomm.base.source import code_hash, core_hash, hash_of, imported_hash, path_hash
from agentcomm.evaluation import stored
from agentcomm.evaluation.cells import Cell
from agentcomm.runs import policy_file
from agentcomm.runs.choices import Choice, build
from agentcomm.runs.conditions import Conditions
from agentcomm.runs.folder import Run

Identity = dict[str, str]


class Identities:
    """Identities of a run's cells; files are read once.

    Args:
        run: The run.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self._team = cache(self._hash_team)
        self._policy = cache(self._policy_of)
        self._plugin = cache(self._describe)

    def of(self, cell: Cell) -> Identity:
        """Version and code of every plug-in, contents of every file read, the team's weights, and the core's code.

        Raises:
            AgentcommError: If a plug-in is unknown.
        """
        found = {"agentcomm": core_hash(), "the team's policy": self._team(cell.variant, cell.seed)}
        for axis, choice in self.choices(cell):
            found |= self._plugin(axis, choice.model_dump_json())
        return found

    def choices(self, cell: Cell) -> Iterator[tuple[Axis, Choice]]:
        """All plug-ins of a cell."""
        config, transport = self.run.config, cell.conditions.transport
        yield "environment", config.environment.changed(cell.conditions.environment)
        yield "policy", self._policy(cell.variant, cell.seed)
        if topology := config.policy.arguments.get("topology"):
            yield "topology", Choice.model_validate(topology)
        if cell.attack is not None:
            yield "attack", cell.attack
        yield from (("defense", defense) for defense in cell.defenses)
        yield from (("channel", channel) for channel in transport.channels)
        if transport.codec is not None:
            yield "codec", transport.codec
        for name, metric in registry.loadable("metric").items():
            if not metric.__module__.startswith("agentcomm."):  # those are hashed with the core
                yield "metric", Choice(name=name)

    def _policy_of(self, variant: Any, seed: int) -> Choice:
        """The policy of a team: foreign ones of one run differ in the files that they read."""
        try:
            return policy_file.read_about(self.run.policy(variant, seed)).policy
        except AgentcommError:  # whoever loads it reports the damage
            return self.run.config.policy

    def _hash_team(self, variant: Any, seed: int) -> str:
        """Hash of a team's weights, and of the environment and policy that they belong to."""
        config = self.run.config
        weights = path_hash(self.run.policy(variant, seed) / "policy.safetensors")
        return hash_of(text.encode() for text in (weights, repr(config.environment), repr(config.policy)))

    def _describe(self, axis: Axis, choice_as_json: str) -> Identity:
        choice = Choice.model_validate_json(choice_as_json)
        plugin = registry.find(axis, choice.name)
        found: Identity = {f"{axis} {plugin.name!r}": f"version {plugin.version}, code {code_hash(plugin)}"}
        config = build(axis, choice)
        for name in config.code():
            if axis == "environment":
                check_permitted([name])
            with suppress(ImportError):  # reported where it is used
                importlib.import_module(name)
            found[f"module {name!r}"] = imported_hash(name)
        return found | {str(path): path_hash(find_input(path)) for path in config.inputs()}


def differences(before: Identity, now: Identity) -> str:
    """What changed between two identities, in words; empty if nothing did."""
    if not before:
        return "it was evaluated by a version of agentcomm that recorded no hashes"
    changed = [name for name in now if now[name] != before.get(name)] + [name for name in before if name not in now]
    return f"{', '.join(changed)} changed" if changed else ""


def cell_of(row: dict[str, Any]) -> Cell:
    """The cell that a row of ``cells.jsonl`` is about."""

    def choice(made: dict[str, Any]) -> Choice:
        return Choice.model_validate({"name": made["name"]} | made["arguments"])

    return Cell(
        row["variant"],
        row["seed"],
        None if row["attack"] is None else choice(row["attack"]),
        tuple(choice(defense) for defense in row["defenses"]),
        row["episodes"],
        row["episode_seed"],
        Conditions.model_validate(row["conditions"]),
    )


def mark_stale(run: Run, rows: list[dict[str, Any]], identities: Identities) -> dict[str, str]:
    """Mark the rows of ``cells.jsonl`` whose identity is no longer that of their cell.

    Rows of plug-ins that are no longer installed, or that lack something, are left as they are.

    Args:
        run: The run, locked for writing.
        rows: Its rows, which are changed in place.
        identities: The present identities.

    Returns:
        The reason for each row that became stale, by its cell's id.
    """
    reasons: dict[str, str] = {}
    for row in rows:
        if row.get("stale"):
            continue
        try:
            now = identities.of(cell_of(row))
        except (AgentcommError, ValueError, LookupError):  # of a plug-in that is not installed, or of another version
            continue
        if reason := differences(row.get("identity") or {}, now):
            row["stale"] = reasons[row["id"]] = reason
    if reasons:
        stored.write(run, rows)
    return reasons
