"""Tables of evaluated cells."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rich.table import Table

from agentcomm.evaluation.metrics import measure_suites
from agentcomm.report.results import Results
from agentcomm.report.text import OUTCOMES, counted
from agentcomm.statistics import CLAIM_SEEDS


def cells(rows: list[dict[str, Any]]) -> Table:
    """The environment's score by attack and defense, averaged over seeds; teams without messages have their own row."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault((_attack(row), row["defense_label"]), []).append(row)
    columns = list(dict.fromkeys(defense for _, defense in found))
    shown = next((row["score"]["metric"] for row in rows if row.get("score")), "mean_return")
    table = Table(title=f"{shown.replace('_', ' ')} (success), mean over seeds; {_how(rows)}")
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
                score, success = (_mean([m.get(k) for m in good]) for k in (shown, "success"))
                text = f"{score} ({success})" if success else score
            if any(r["status"] == "inconclusive" for r in group):
                text += " inconclusive"
            cells.append(text)
        table.add_row(attack, *cells)
    return table


def _how(rows: list[dict[str, Any]]) -> str:
    """Episodes and decisions of some cells of one grid, such as ``2,048 episodes per cell, greedy actions``."""
    numbers = [f"{number:,}" for number in sorted({row["episodes"] for row in rows if row.get("episodes")})]
    decisions = sorted({str(row.get("decisions") or "greedy") for row in rows})
    return ", ".join(
        [*([f"{' or '.join(numbers)} episodes per cell"] if numbers else []), f"{' or '.join(decisions)} actions"]
    )


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
    """Success of each attack against its matched control, and how its damage divides into silence and lie."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        if row.get("effect") and row["status"] != "failed":
            found.setdefault((_attack(row), row["defense_label"]), []).append(row)
    table = Table(
        title="effect of attacks, mean over seeds",
        caption="Success: share of episodes in which the attack reached its goal, minus that of its matched control,"
        " which spends as much on random content; without a goal of its own, episodes worse minus better than under the"
        " control. Damage is in units of the score: silence is what dropping the touched messages costs, lie the rest.",
    )
    for column in ("attack", "defense", "success", "damage", "control", "silence", "lie", "outcome"):
        table.add_column(column, justify="left" if column in ("attack", "defense", "outcome") else "right")
        table.columns[-1].overflow = "fold"
    for (attack, defense), group in found.items():
        keys = ("success", "damage", "control_damage", "silence", "lie")
        numbers = [_mean([row["effect"].get(key) for row in group]) for key in keys]
        outcomes = Counter(str(row.get("outcome")) for row in group)
        one = str(group[0].get("outcome"))
        said = counted(outcomes) if len(outcomes) > 1 else OUTCOMES.get(one, one)
        table.add_row(f"{attack}{_assumed(group[0])}", defense, *numbers, said)
    return table


def _mean(values: list[float | None]) -> str:
    """The mean of the numbers that are known; empty for none."""
    known = [value for value in values if value is not None]
    return f"{sum(known) / len(known):.2f}" if known else ""


def _assumed(row: dict[str, Any]) -> str:
    """What the effect of a row's attack presupposes of the victims, in brackets."""
    found = row["attack"].get("assumes") or {}
    said = ", ".join(name if value is True else f"{name} {value}" for name, value in found.items())
    return f" [assumes {said}]" if said else ""


def suites(rows: list[dict[str, Any]]) -> Table | None:
    """What communication is worth and how much of it attacks leave, by defenses; None without a retrained team.

    The shares are those of the report: there are none unless that worth is established.
    """
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    for suite, over, _ in measure_suites(rows):
        found.setdefault((suite.conditions, suite.defenses), []).append(over)
    if not any("value_of_communication" in over for group in found.values() for over in group):
        return None
    table = Table(
        title="value of communication, mean over seeds",
        caption="Gain over the team that was retrained without messages, in units of the score, and the share of it"
        " that is left under the attacks: on average, and under the worst one for each seed. A share is given where"
        f" {CLAIM_SEEDS} seeds or more establish that messages are worth something.",
    )
    table.add_column("defense", overflow="fold")
    for column in ("value", "tax", "retained", "at worst"):
        table.add_column(column, justify="right", overflow="fold")
    by_conditions = {conditions: Results(_under(rows, conditions)) for conditions, _ in found}
    for (conditions, defenses), group in found.items():
        numbers = [_mean([over.get(key) for over in group]) for key in ("value_of_communication", "defense_tax")]
        results = by_conditions[conditions]
        shares = [results.retained(results.over_attacks(defenses, how)) for how in ("mean", "worst")]
        where = f"{conditions}: {defenses}" if conditions else defenses
        table.add_row(where, *numbers, *(f"{share.value:.2f}" if share.known else "" for share in shares))
    return table


def _under(rows: list[dict[str, Any]], conditions: str) -> list[dict[str, Any]]:
    """The cells under some conditions, and those of the team without messages that are decided like them."""
    own = [row for row in rows if (row.get("conditions_label") or "") == conditions]
    like = {(row.get("decisions"), str(row.get("environment"))) for row in own}
    floor = [row for row in rows if row["variant"] == "control" and row not in own]
    floor = [row for row in floor if (row.get("decisions"), str(row.get("environment"))) in like]
    return [*own, *(row | {"conditions_label": conditions} for row in floor)]


def adaptive(rows: list[dict[str, Any]]) -> Table | None:
    """The worst attack that is aimed at each of the defenses; None without defenses."""
    defended = [row for row in rows if row["defense_label"] != "none"]
    if not defended:
        return None
    table = Table(
        title="worst adaptive attack, mean over seeds",
        caption="Attacks that know the defense and aim at its weakness; --adaptive adds them.",
    )
    for column in ("defense", "attack", "score", "without attack"):
        table.add_column(column, justify="left" if column in ("defense", "attack") else "right", overflow="fold")
    for defense in dict.fromkeys(row["defense_label"] for row in defended):
        known = [row for row in defended if row["defense_label"] == defense and row["status"] == "ok"]
        found: dict[str, list[float]] = {}
        for row in known:
            if row.get("adaptive") or row["attack"] is None:
                score = row["metrics"].get(row["score"]["metric"])
                found.setdefault(_attack(row), []).extend([] if score is None else [score])
        means = {attack: sum(values) / len(values) for attack, values in found.items() if values}
        clean = means.pop("no attack", None)
        if not means:
            table.add_row(defense, "not tested", "", "" if clean is None else f"{clean:.2f}")
            continue
        lower = next(row["score"]["better"] for row in known) == "lower"
        worst = (max if lower else min)(means, key=lambda attack: means[attack])
        table.add_row(defense, worst, f"{means[worst]:.2f}", "" if clean is None else f"{clean:.2f}")
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
