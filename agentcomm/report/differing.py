"""What differs between runs besides their scores: configs, episodes, decisions, seeds, code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agentcomm.report.load import RunData
from agentcomm.report.results import Results

ABSENT = "\N{EM DASH}"
LONGEST = 80  # characters of a value
# Keys of a config that say nothing about the numbers: the name, and where plug-ins were looked up.
IGNORED = ("name", "plugin_folders")


@dataclass(frozen=True)
class Side:
    """A run that is compared.

    Attributes:
        name: Its name in the comparison.
        run: Its data.
        results: Its cells.
    """

    name: str
    run: RunData
    results: Results


@dataclass(frozen=True)
class Differing:
    """Something that is not the same in all runs.

    Attributes:
        what: Key of the config, or a fact about the cells.
        values: The value in each run, as text, by the run's name.
    """

    what: str
    values: dict[str, str]

    def groups(self) -> list[tuple[str, list[str]]]:
        """Each value with the runs that have it."""
        found: dict[str, list[str]] = {}
        for name, value in self.values.items():
            found.setdefault(value, []).append(name)
        return list(found.items())


def differing(sides: list[Side]) -> list[Differing]:
    """Everything that differs, the config first."""
    flat = {side.name: _flat(side.run.config) for side in sides}
    facts = {side.name: _facts(side) for side in sides}
    return [*_differing(flat), *_differing(facts)]


def _differing(values: Mapping[str, Mapping[str, str]]) -> list[Differing]:
    keys = dict.fromkeys(key for found in values.values() for key in found)
    rows = [Differing(key, {name: found.get(key, ABSENT) for name, found in values.items()}) for key in keys]
    return [row for row in rows if len(set(row.values.values())) > 1]


def _flat(config: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """Values of a config as text, by dotted key."""
    found: dict[str, str] = {}
    for key, value in config.items():
        if not before and key in IGNORED:
            continue
        if isinstance(value, dict) and value:
            found |= _flat(value, f"{before}{key}.")
        else:
            found[f"{before}{key}"] = _text(value)
    return found


def _text(value: Any) -> str:
    """A value in the notation of YAML, cut to a bounded length."""
    if isinstance(value, list):
        text = f"[{', '.join(map(_text, value))}]"
    elif isinstance(value, dict):
        text = f"{{{', '.join(f'{key}: {_text(item)}' for key, item in value.items())}}}"
    else:
        text = str(value).lower() if isinstance(value, bool) else "null" if value is None else str(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def _facts(side: Side) -> dict[str, str]:
    """Facts about the cells of a run, as text."""
    cells = side.run.cells
    provenance = [row.get("provenance") or {} for row in cells]
    commits = [
        f"{str(made['commit'])[:12]}{' with changes' if made.get('dirty') else ''}"
        for made in provenance
        if made.get("commit")
    ]
    plugins = {
        f"version of {kind} {found['name']}": str(found["version"])
        for row in cells
        for kind, record in (("attack", row.get("attack")), *(("defense", d) for d in row.get("defenses") or []))
        if isinstance(found := record, dict) and found.get("name") and found.get("version")
    }
    return {
        "score": side.results.primary.key,
        "teams evaluated": f"seeds {_listed(side.results.seeds)}",
        "episodes per cell": _listed(sorted({row["episodes"] for row in cells if row.get("episodes")})),
        "seed of the episodes": _listed(sorted({row["episode_seed"] for row in cells if row.get("episode_seed")})),
        "decisions": decisions(side),
        "commit of the code": _listed(sorted(set(commits))),
        "attacks": _listed(sorted(side.results.attacks)),
        "defenses": _listed(sorted(side.results.defenses)),
        **dict(sorted(plugins.items())),
    }


def episodes_of(side: Side) -> str:
    """Number and seed of the episodes of a run's cells, which all have the same."""
    first = side.run.cells[0]
    return f"{first.get('episodes') or ABSENT} of seed {first.get('episode_seed', ABSENT)}"


def decisions(side: Side) -> str:
    """How the teams of a run decide in its main grid."""
    return side.results.decisions


def _listed(values: list[Any]) -> str:
    text = ", ".join(map(str, values)) or ABSENT
    return text if len(text) <= 3 * LONGEST else f"{text[: 3 * LONGEST - 3]}..."


def why_not(one: Side, other: Side) -> dict[str, str]:
    """Why scores of two runs cannot be subtracted, by kind of quantity; kinds that can are absent.

    Kinds: ``score`` is in units of the environment's score, ``share`` is a share that means the same in all
    environments.
    """
    if (ours := decisions(one)) != (theirs := decisions(other)):
        reason = f"decisions differ ({ours}, {theirs})"
        return {"score": reason, "share": reason}
    if one.run.config.get("environment") != other.run.config.get("environment"):
        return {"score": "the environments differ"}
    if one.results.primary.key != other.results.primary.key:
        return {"score": f"the scores differ ({one.results.primary.key}, {other.results.primary.key})"}
    return {}
