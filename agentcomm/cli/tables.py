"""Tables of evaluated cells."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rich.table import Table


def cells(rows: list[dict[str, Any]]) -> Table:
    """The environment's score by attack and defense, averaged over seeds; teams without messages have their own row."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault((_attack(row), row["defense_label"]), []).append(row)
    columns = list(dict.fromkeys(defense for _, defense in found))
    shown = next((row["score"]["metric"] for row in rows if row.get("score")), "mean_return")
    table = Table(title=f"{shown.replace('_', ' ')} (success), mean over seeds")
    table.add_column("attack", overflow="fold")
    for column in columns:
        table.add_column(column if column != "none" else "no defense", justify="right", overflow="fold")
    for attack in dict.fromkeys(attack for attack, _ in found):
        cells = []
        for column in columns:
            group = found.get((attack, column), [])
            good = [r["metrics"] for r in group if r["status"] != "failed"]
            text = "" if not group else "failed"
            if good:
                steps, success = (sum(m[k] for m in good) / len(good) for k in (shown, "success"))
                text = f"{steps:.2f} ({success:.2f})"
            if any(r["status"] == "inconclusive" for r in group):
                text += " inconclusive"
            cells.append(text)
        table.add_row(attack, *cells)
    return table


def _attack(row: dict[str, Any]) -> str:
    """The heading of a cell's row: its attack, and its conditions where they are not the run's own."""
    attack = "no attack" if row["attack"] is None else row["attack"]["label"]
    if row["variant"] == "control":
        attack = "retrained without messages"
    return f"{row['conditions_label']}: {attack}" if row.get("conditions_label") else attack


def _defense(row: dict[str, Any]) -> str:
    """The heading of a cell's column: its defenses."""
    label: str = row["defense_label"]
    return "no defense" if label == "none" else label


def success(rows: list[dict[str, Any]]) -> Table:
    """Success rate of each attack by its own predicate, and of its no-op control."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        if row["attack"] is not None and row["status"] != "failed" and "attack_success" in row["metrics"]:
            found.setdefault((_attack(row), row["defense_label"]), []).append(row["metrics"])
    table = Table(
        title="attack success, mean over seeds",
        caption="Share of episodes in which the attack reached its goal: by default, that the team earned less than in"
        " the same episode without it. The no-op control is the same attack with harmless content;"
        " the difference is the effect of the attack.",
    )
    for column in ("attack", "defense", "succeeded", "its no-op control"):
        table.add_column(column, justify="left" if column in ("attack", "defense") else "right", overflow="fold")
    for (attack, defense), group in found.items():
        rates = [f"{sum(m[k] for m in group) / len(group):.2f}" for k in ("attack_success", "control_success")]
        table.add_row(attack, defense, *rates)
    return table


def violations(rows: list[dict[str, Any]]) -> Table | None:
    """Broken rules of threat models by attack and rule, summed over cells; None if no rule was broken."""
    found: Counter[tuple[str, str, str]] = Counter()
    for row in rows:
        for rule, count in row.get("violations", {}).items():
            found[_attack(row), row["defense_label"], rule] += count
    if not found:
        return None
    table = Table(
        title="violations of threat models, sum over seeds",
        caption="Edits that an attack asked for beyond its position, powers, norm or budget; they were not made.",
    )
    for column in ("attack", "defense", "rule", "violations"):
        table.add_column(column, justify="right" if column == "violations" else "left", overflow="fold")
    for (attack, defense, rule), count in found.items():
        table.add_row(attack, defense, rule, f"{count:,}")
    return table


def failures(rows: list[dict[str, Any]]) -> list[str]:
    """Errors of failed cells, a line per attack, defenses and error."""
    lines = [f"{_attack(row)} / {_defense(row)}: {row['error']}" for row in rows if row["status"] == "failed"]
    return list(dict.fromkeys(lines))


def replaced(rows: list[dict[str, Any]], began: str) -> list[str]:
    """Why cells were evaluated again since ``began``, a line per reason."""
    again = Counter(row["replaces"] for row in rows if row.get("replaces") and row["time"] >= began)
    return [f"Evaluated again: {number} cell(s), because {reason}." for reason, number in again.items()]


def reasons(rows: list[dict[str, Any]]) -> list[str]:
    """Why cells are inconclusive, a line per attack, defense and reason."""
    lines = [
        f"inconclusive: {_attack(row)} / {_defense(row)}: {row['reason']}"
        for row in rows
        if row["status"] == "inconclusive" and row.get("reason")
    ]
    return list(dict.fromkeys(lines))
