"""Tables of a comparison of runs as text, for the terminal and for the page."""

from __future__ import annotations

import math
from dataclasses import dataclass

from agentcomm.report.compare import Line, RunComparison, Value
from agentcomm.report.quantities import Quantity
from agentcomm.report.results import NONE
from agentcomm.report.text import fixed, signed, span
from agentcomm.statistics import CLAIM_SEEDS, SIGNIFICANT

NOTHING = "\N{EN DASH}"
# Key, title, and quantities of each table.
TABLES = (
    ("clean", "Without attacks", ("score", "success")),
    ("worth", "Value of communication", ("worth",)),
    ("attacked", "Under attack", ("damage", "retained", "attack_success")),
)


@dataclass(frozen=True)
class Shown:
    """A cell of a table.

    Attributes:
        text: Its number.
        detail: Interval, single seeds, or p; empty for none.
        supported: Whether a claim may rest on it.
    """

    text: str
    detail: str = ""
    supported: bool = False


@dataclass(frozen=True)
class Block:
    """The rows of one attack and one set of defenses: a run's name with its cells each."""

    heading: str
    rows: list[tuple[str, list[Shown]]]


@dataclass(frozen=True)
class ComparedTable:
    """A table of several quantities, with a block of rows per cell of the grid.

    Attributes:
        key: ``clean``, ``worth`` or ``attacked``.
        title: Its title.
        columns: Names of the columns behind heading and run.
        blocks: Its rows.
    """

    key: str
    title: str
    columns: list[str]
    blocks: list[Block]


def tables(made: RunComparison) -> list[ComparedTable]:
    """The tables of a comparison that have any row."""
    found = []
    for key, title, shown in TABLES:
        lines = [line for line in made.lines if line.quantity.key in shown]
        if lines:
            found.append(_table(made, key, title, lines))
    return found


def reading(made: RunComparison) -> str:
    """How to read differences and their p values, in a few sentences."""
    first = made.names[0]
    total = sum(_counts(value) for line in made.lines for value in line.values.values())
    text = (
        f"Differences are each run minus {first}, paired by training seed where the runs share seeds. Damage and attack"
        " success are positive where the attack does harm. Below each number: its 95% interval over seeds, or the"
        " single values of fewer than five seeds."
    )
    if not total:
        return text
    return (
        f"{text} p is exact and adjusted for all {total:,} differences of at least {CLAIM_SEEDS} seeds together (Holm);"
        f" * marks p at most {SIGNIFICANT}."
    )


def _counts(value: Value) -> bool:
    return value.comparison is not None and value.comparison.seeds >= CLAIM_SEEDS


def _table(made: RunComparison, key: str, title: str, lines: list[Line]) -> ComparedTable:
    quantities = list(dict.fromkeys(line.quantity for line in lines))
    compared = {q for q in quantities for line in lines if line.quantity == q and _any_compared(line)}
    columns = []
    for quantity in quantities:
        columns.append(f"{quantity.label} ({quantity.unit})" if quantity.unit else quantity.label)
        columns += [f"minus {made.names[0]}"] if quantity in compared else []
    cells = {(line.attack, line.defense, line.quantity): line for line in lines}
    blocks = []
    for attack, defense in dict.fromkeys((line.attack, line.defense) for line in lines):
        group = [(q, cells.get((attack, defense, q))) for q in quantities]
        rows = []
        for name in made.names:
            if any(line and name in line.values for _, line in group):
                shown = [cell for q, line in group for cell in _cells(q, line, name, q in compared)]
                rows.append((name, shown))
        blocks.append(Block(_heading(attack, defense), rows))
    return ComparedTable(key, title, columns, blocks)


def _any_compared(line: Line) -> bool:
    return any(value.comparison is not None for value in line.values.values())


def _heading(attack: str | None, defense: str) -> str:
    defenses = "no defense" if defense == NONE else defense.replace("+", " + ")
    return defenses if attack is None else f"{attack} / {defenses}"


def _cells(quantity: Quantity, line: Line | None, name: str, compared: bool) -> list[Shown]:
    """The value of one run, and its difference from the first."""
    value = None if line is None else line.values.get(name)
    if value is None:
        return [Shown(NOTHING)] * (1 + compared)
    return [shown(value, quantity), *([difference(value, quantity)] if compared else [])]


def shown(value: Value, quantity: Quantity) -> Shown:
    """A value with its interval, or with its single seeds where there is none."""
    digits = quantity.digits
    detail = span(value.estimate, digits)
    if not detail and len(value.by_seed) > 1:
        detail = "seeds " + ", ".join(fixed(v, digits) for v in value.by_seed.values() if math.isfinite(v))
    if value.estimate.excluded:
        detail += f"{'; ' * bool(detail)}{value.estimate.excluded} of {len(value.by_seed)} seeds without a score"
    return Shown(fixed(value.estimate.value, digits), detail)


def difference(value: Value, quantity: Quantity) -> Shown:
    """The difference of a run from the first."""
    made = value.comparison
    if made is None:
        return Shown("not comparable" if value.refused else NOTHING)
    details = [span(made.difference, quantity.digits)]
    if made.seeds >= CLAIM_SEEDS and made.adjusted is not None:
        details.append("p < 0.001" if made.adjusted < 0.001 else f"p {made.adjusted:.3f}")
    mark = "*" if made.supported else ""
    text = f"{signed(made.difference.value, quantity.digits)}{mark}"
    return Shown(text, "; ".join(filter(None, details)), made.supported)
