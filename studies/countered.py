"""What docs/countermeasures.md tells about each defense: tables by task, detection, and what none is better than."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import answers
from book import NONE, Book, direction
from cells import Series, across
from plan import group_label, label
from study import table
from suite import AGREEMENT, CAPTURE, MARKET, TASKS, Deployed, Task, adaptive, names

COSTS = Path(__file__).parents[1] / "benchmarks" / "defenses.json"
FEWEST = 6  # teams with which an exact test can reach 5%
SCORES = ("tpr", "fpr", "auroc", "tpr_at_1_fpr", "delay")
NOT_TESTED = "*not tested*"
Scores = dict[str, Series]


def score(book: Book, task: Task, attack: str | None = None, defense: str = "none", run: str | None = None) -> Series:
    """The environment's score of a cell."""
    return book.cells.series(run or task.run, f"metrics.{task.metric}", attack, defense)


def floor(book: Book, task: Task) -> Series:
    """The score of teams that were trained without messages."""
    return book.cells.series(task.run, f"metrics.{task.metric}", variant="control")


def kept(book: Book, task: Task, found: Series) -> str:
    """What is left of the worth of messages; in the market, whose directory is attacked, the return."""
    if task.run == MARKET:
        return book.mean(found, 2) if found else NONE
    clean, least = score(book, task), floor(book, task)
    if not (found and clean and least):
        return NONE
    if all(clean.values.get(seed) == value for seed, value in found.values.items()):  # nothing is lost: no interval
        return book.value((found - least) / (clean - least), 0, percent=True)
    return book.retained(found, clean, least)


def worst(task: Task, found: Sequence[Series]) -> Series:
    """The worst score over attacks, team by team."""
    return across("max" if task.better == "lower" else "min", found)


def attacked(book: Book, task: Task, group: str, attacks: Sequence[str]) -> Scores:
    """Scores under attacks that are scored for every team."""
    found = {attack: score(book, task, attack, group) for attack in attacks}
    most = max((len(series.values) for series in found.values()), default=0)
    return {attack: series for attack, series in found.items() if most and len(series.values) == most}


def met(book: Book, task: Task, group: str) -> Scores:
    """Scores under the suite, for defenses that meet it; none for others."""
    return attacked(book, task, group, task.suite) if group in ("none", *task.whole) else {}


def changes(book: Book, task: Task, one: Deployed) -> Scores:
    """By how much a defense changes the damage of each attack that enough teams met."""

    def damage(attack: str, group: str) -> Series:
        return book.cells.series(task.run, "effect.damage", attack, group)

    met = (*(task.suite if one.group in task.whole else ()), *one.targets)
    found = {a: damage(a, one.group) - damage(a, "none") for a in dict.fromkeys(met)}
    return {a: series for a, series in found.items() if len(series.values) >= FEWEST}


def bytes_of(book: Book, task: Task, group: str) -> Series:
    """Bytes that a defense adds to each message."""
    per = [
        book.cells.series(task.run, "metrics.bytes_per_step", None, defense)
        / book.cells.series(task.run, "metrics.messages_per_step", None, defense)
        for defense in (group, "none")
    ]
    return per[0] - per[1]


def costs() -> dict[str, float]:
    """Microseconds per message of each defense, as ``make bench`` measured them; empty if it did not run."""
    if not COSTS.exists():
        return {}
    return {name: one["microseconds"] for name, one in json.loads(COSTS.read_text(encoding="utf-8")).items()}


def microseconds(book: Book, group: str, known: dict[str, float]) -> str:
    """Microseconds per message of a group."""
    if not set(names(group)) <= set(known):
        return NONE
    return book.answer(answers.given(round(sum(known[name] for name in names(group)), 3)), 3)


def measured(book: Book, task: Task, known: dict[str, float]) -> str:
    """One row per defense of a task."""
    rows = []
    for one in (Deployed("none", ()), *task.known):
        suite = met(book, task, one.group)
        targets = list(attacked(book, task, one.group, one.targets).values())
        row = [f"`{group_label(one.group)}`", kept(book, task, score(book, task, None, one.group))]
        row.append(kept(book, task, across("mean", targets)) if targets else NONE)
        row.append(kept(book, task, worst(task, list(suite.values()))) if suite else NONE)
        if one.group == "none":
            rows.append([*row, "", "", "", ""])
            continue
        meant = adaptive(one.group, task.run == MARKET)
        aimed = list(attacked(book, task, one.group, meant).values())
        row.append(kept(book, task, worst(task, aimed)) if aimed else NOT_TESTED)
        added = bytes_of(book, task, one.group)
        changed = list(changes(book, task, one).values())
        row.append(book.count(changed, "above")[1] if changed else NONE)
        rows.append([*row, book.value(added, 0) if added else NONE, microseconds(book, one.group, known)])
    header = ("defense", "clean", "under its targets", "under the worst of the suite", "under attacks that know it")
    return table((*header, "attacks made worse", "bytes per message", "microseconds per message"), rows)


def worse(book: Book, task: Task) -> str:
    """The attacks that each defense makes worse, by name."""
    found = {
        one.group: [f"`{label(a)}`" for a, change in changes(book, task, one).items() if direction(change) == "above"]
        for one in task.known
    }
    lines = [f"- `{group_label(group)}`: {', '.join(attacks)}" for group, attacks in found.items() if attacks]
    if not any(changes(book, task, one) for one in task.known):
        return "Not tested: five teams are too few.\n"
    return ("\n".join(lines) or "Of those tested, no defense makes an attack worse.") + "\n"


def detected(book: Book) -> str:
    """How well scores of defenses tell attacked messages from others, under their targets."""
    rows = []
    for task in TASKS:
        for one in task.known:
            for name in names(one.group):
                row = [f"{task.title}: `{group_label(one.group)}`", f"`{name}`"]
                found = False
                for of in SCORES:
                    field = f"detection.{name}.{of}"
                    some = [book.cells.series(task.run, field, attack, one.group) for attack in one.targets]
                    some = [series for series in some if series]
                    found = found or bool(some)
                    row.append(book.value(across("known", some), 2) if some else NONE)
                if found:
                    rows.append(row)
    return table(("deployed", "scores of", "TPR", "FPR", "AUROC", "TPR at 1% FPR", "delay in steps"), rows)


def carried(book: Book) -> str:
    """Defenses on two tasks, under targets and clean, with the arguments of the first."""
    other = {one.group: one for one in AGREEMENT.known}
    rows = []
    for one in CAPTURE.known:
        if one.group not in other or not one.targets:
            continue
        row = [f"`{group_label(one.group)}`"]
        for task, targets in ((CAPTURE, one.targets), (AGREEMENT, other[one.group].targets)):
            for group in ("none", one.group):
                found = list(attacked(book, task, group, targets).values())
                row.append(kept(book, task, across("mean", found)) if found else NONE)
        rows.append(row)
    columns = [f"{task.title}, {how}" for task in (CAPTURE, AGREEMENT) for how in ("without", "with")]
    return table(("defense", *columns), rows)


class Choice(NamedTuple):
    """A defense as a choice between what it keeps and what it costs.

    Attributes:
        group: The defenses.
        kept: Share of the worth of messages that is left under the worst of the suite.
        size: Bytes that it adds to each message.
        time: Microseconds per message.
    """

    group: str
    kept: Series
    size: Series
    time: float

    def beats(self, other: Choice) -> bool:
        """Whether it is better in one respect and worse in none."""
        mine, theirs = self._ranked(), other._ranked()
        return mine != theirs and all(a >= b for a, b in zip(mine, theirs, strict=True))

    def _ranked(self) -> tuple[float, float, float]:
        return round(mean(self.kept), 3), -round(mean(self.size), 1), -self.time


def mean(series: Series) -> float:
    """Over teams."""
    return sum(series.values.values()) / len(series.values)


def choices(book: Book, task: Task, known: dict[str, float]) -> list[Choice]:
    """All defenses of a task that are measured."""
    found = []
    clean, least = score(book, task), floor(book, task)
    for one in (Deployed("none", ()), *task.known):
        suite, size = met(book, task, one.group), bytes_of(book, task, one.group)
        timed = [known.get(name) for name in names(one.group) if name != "none"]
        if suite and size and clean and least and None not in timed:
            share = (worst(task, list(suite.values())) - least) / (clean - least)
            found.append(Choice(one.group, share, size, sum(t for t in timed if t is not None)))
    return found


def front(book: Book, found: Sequence[Choice]) -> str:
    """Defenses that no other one beats in worst case, bytes and microseconds."""
    rows = []
    for one in sorted(found, key=lambda one: -mean(one.kept)):
        if not any(other.beats(one) for other in found):
            time = book.answer(answers.given(round(one.time, 3)), 3)
            numbers = book.mean(one.kept, 0, percent=True), book.value(one.size, 0), time
            rows.append([f"`{group_label(one.group)}`", *numbers])
    header = ("defense", "kept under the worst of the suite", "bytes per message", "microseconds per message")
    return table(header, rows)


def best(book: Book, task: Task) -> tuple[str, str]:
    """The defense with the best worst case, chosen on half of the teams, and its score on the others."""
    by = {group: met(book, task, group) for group in task.whole}
    most = max((len(found) for found in by.values()), default=0)
    options = {group: worst(task, list(found.values())) for group, found in by.items() if found and len(found) == most}
    return book.chosen(options, task.better)
