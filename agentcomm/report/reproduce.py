"""Commands that make the cells of a run again."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import BaseModel, ValidationError

from agentcomm.base.errors import AgentcommError
from agentcomm.base.explain import explain
from agentcomm.report.load import RunData
from agentcomm.report.text import several
from agentcomm.runs.choices import PLAIN_TRANSPORT
from agentcomm.runs.conditions import Conditions
from agentcomm.runs.config import RunConfig


@dataclass(frozen=True)
class Commands:
    """Commands that reproduce a run.

    Attributes:
        again: Train and evaluate everything again.
        one: Evaluate one cell again from its record, and compare it; empty without ids.
        notes: What the commands leave out, and why.
    """

    again: list[str]
    one: str
    notes: list[str]


def commands(run: RunData) -> Commands:
    """The commands that reproduce the cells; labels are valid option values."""
    notes: Counter[str] = Counter()
    name = run.folder.resolve().name
    usual, own = _own(run, notes)
    # Cells without attacks need no separate command: their options join those of the cells that they vary.
    groups: dict[str, tuple[list[str], list[str], list[str]]] = {}
    for row in run.cells:
        try:
            under = Conditions.model_validate(row.get("conditions") or usual.model_dump())
        except ValidationError as error:
            notes[f"conditions of another version are left out: {_why(error, 'conditions', Conditions)}"] += 1
            continue
        if under in own and under.crossed:
            continue  # part of the config
        crossed = under.model_copy(update={"environment": {}, "gates": None})
        asked = crossed.options(usual)
        _, stages, changes = groups.setdefault(shlex.join(asked), (asked, [], []))
        attack, defense = row.get("attack"), row.get("defense_label", "none")
        stages += [] if not attack else ["--attack", attack["label"]]
        stages += [] if defense == "none" else ["--defense", defense]
        changes += [] if under.crossed else under.options(crossed)
    if note := _other_episodes(run):
        notes[note] += 1
    evaluate = ["agentcomm", "evaluate", f"runs/{name}-again"]
    lines = [[*evaluate, *asked, *_pairs(stages), *_pairs(changes)] for asked, stages, changes in groups.values()]
    train = ["agentcomm", "train", f"runs/{name}/config.yaml", f"name={name}-again"]
    cell = next((row["id"] for row in run.cells if row.get("attack") and row.get("id")), None)
    cell = cell or next((row["id"] for row in run.cells if row.get("id")), None)
    return Commands(
        again=[shlex.join(line) for line in (train, *lines)],
        one=shlex.join(["agentcomm", "rerun", f"runs/{name}", cell]) if cell else "",
        notes=[f"{several(count, 'cell')}: {note}" if count > 1 else note for note, count in notes.items()],
    )


def _other_episodes(run: RunData) -> str:
    """What to change in the config, if it asks for other episodes than the cells have; empty if it does not."""
    settings = run.config.get("evaluation")
    first = run.cells[0] if run.cells else {}
    if not isinstance(settings, dict):
        return ""
    asked = {"episodes": settings.get("episodes"), "seed": settings.get("seed")}
    had = {"episodes": first.get("episodes"), "seed": first.get("episode_seed")}
    wrong = [name for name in asked if None not in (asked[name], had[name]) and asked[name] != had[name]]
    told = ", ".join(f"{name}: {had[name]}" for name in wrong)
    return (
        f"config.yaml asks for other episodes than these cells have; set evaluation: {{{told}}} in it" if wrong else ""
    )


def _own(run: RunData, notes: Counter[str]) -> tuple[Conditions, list[Conditions]]:
    """The conditions of the run's config: the usual ones, and the others that it evaluates."""
    if not run.config:
        return Conditions(), []
    try:
        config = RunConfig.model_validate(run.config)
    except ValidationError as error:
        why = _why(error, "config.yaml", RunConfig)
        notes[f"config.yaml does not fit this version, so commands state every option: {why}"] += 1
        return Conditions(), []
    first, *more = (_canonical(under, config, notes) for under in config.evaluation.expand(config.transport))
    return first, more


def _why(error: ValidationError, what: str, model: type[BaseModel]) -> str:
    """An error of a config in one line."""
    return " ".join(explain(error, what, model).split())


def _canonical(under: Conditions, config: RunConfig, notes: Counter[str]) -> Conditions:
    """Conditions as in rows of cells, if their plug-ins are installed; plain ones are so without importing any."""
    if under.environment or under.transport != PLAIN_TRANSPORT:
        try:
            return under.canonical(config.environment)
        except AgentcommError as error:
            notes[f"conditions of the config may be printed twice: {error}"] += 1
    return under


def _pairs(words: Iterable[str]) -> list[str]:
    """Options and their values, each once; attacks before defenses."""
    words = list(words)
    pairs = dict.fromkeys(zip(words[::2], words[1::2], strict=True))
    return [word for pair in sorted(pairs, key=lambda pair: pair[0] == "--defense") for word in pair]
