"""Provenance: what the cells were made with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from agentcomm.report.claims import Claims
from agentcomm.report.load import RunData
from agentcomm.report.results import Results
from agentcomm.report.text import DASH, several
from agentcomm.statistics import CLAIM_SEEDS, LEVEL, MIN_SEEDS

HARDWARE = ("cpu", "cores", "threads", "device")


def methods(run: RunData, results: Results, claims: Claims) -> list[tuple[str, str]]:
    """The methods of the run, as pairs of a name and a value."""
    versions: dict[str, dict[str, None]] = {}
    for row in run.cells:
        for name, version in (row.get("versions") or {}).items():
            versions.setdefault(str(name), {})[str(version)] = None
    times = sorted(str(row["time"]) for row in run.cells if row.get("time"))
    episodes = sorted({int(row["episodes"]) for row in run.cells if row.get("episodes")})
    draws = sorted({str(row["episode_seed"]) for row in run.cells if row.get("episode_seed") is not None})
    controls = sorted({row["seed"] for row in run.cells if row["variant"] == "control"})
    decisions = sorted({str(row.get("decisions") or "greedy") for row in run.cells})
    return [
        ("Teams", f"seeds {', '.join(map(str, results.seeds)) or 'none'}"),
        ("Retrained without messages", f"seeds {', '.join(map(str, controls)) or 'none'}"),
        (
            "Decisions",
            f"{' and '.join(decisions)}; the worth of messages is the smaller of two: teams with and without"
            " messages both greedy, or both with sampled actions",
        ),
        (
            "Cells",
            f"{len(run.cells)} evaluated, {len(results.failed)} failed, {len(results.inconclusive)} inconclusive",
        ),
        ("Episodes per cell", ", ".join(f"{n:,}" for n in episodes) or DASH),
        ("Seed of the episodes", f"{', '.join(draws) or '?'}{'; the same for every cell' if len(draws) == 1 else ''}"),
        (
            "Intervals",
            f"Student's t over training seeds, {LEVEL:.0%}, on a scale that keeps the bounds of the score;"
            f" with fewer than {MIN_SEEDS} seeds, a dot for each",
        ),
        (
            "Claims",
            f"{several(len(claims.tested), 'comparison')}, paired by seed, exact sign-flip test; the worth of messages"
            " first, then Holm over the others;"
            f" words such as costs and helps take {CLAIM_SEEDS} seeds and an adjusted p of at most 5%",
        ),
        *_provenance(run.cells),
        ("Evaluated", " to ".join(dict.fromkeys((times[0], times[-1]))) if times else DASH),
        ("Versions", ", ".join(f"{name} {' / '.join(found)}" for name, found in versions.items()) or DASH),
    ]


def identities(cells: Iterable[dict[str, Any]]) -> list[tuple[str, str]]:
    """Everything whose hash a cell records, with the hashes found, sorted by name."""
    found: dict[str, dict[str, None]] = {}
    for row in cells:
        for name, value in (row.get("identity") or {}).items():
            found.setdefault(str(name), {})[str(value)] = None
    return [(name, " / ".join(values)) for name, values in sorted(found.items())]


def _provenance(cells: Iterable[dict[str, Any]]) -> list[tuple[str, str]]:
    """Commits, hash of the config, and hardware."""
    records = [row["provenance"] for row in cells if row.get("provenance")]
    commits = dict.fromkeys((r.get("commit"), r.get("dirty")) for r in records)
    hardware = dict.fromkeys(
        ", ".join(f"{key} {r[key]}" for key in HARDWARE if r.get(key) is not None) for r in records
    )
    configs = dict.fromkeys(str(r["config"]) for r in records if r.get("config"))
    shown = [_commit(commit, dirty) for commit, dirty in commits]
    return [
        ("Commit", "; ".join(shown) or "not recorded"),
        ("Config", f"hash {' / '.join(configs)}" if configs else DASH),
        ("Hardware", "; ".join(hardware) or "not recorded"),
    ]


def _commit(commit: Any, dirty: Any) -> str:
    if not commit:
        return "not in a repository"
    return f"{commit}{' with uncommitted changes' if dirty else ''}"
