"""What docs/countermeasures.md tells about each defense: tables by task, detection, and what none is better than."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import answers
from book import CLAIM_SEEDS, LEVEL, NONE, Book, direction
from cells import Series, across
from plan import group_label, label
from study import table
from suite import AGREEMENT, CAPTURE, MARKET, TASKS, Deployed, Task, names

COSTS = Path(__file__).parents[1] / "benchmarks" / "defenses.json"
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
    """Scores under attacks that are scored for any team."""
    found = {attack: score(book, task, attack, group) for attack in attacks}
    return {attack: series for attack, series in found.items() if series}


def changes(book: Book, task: Task, one: Deployed) -> Scores:
    """By how much a defense changes the damage of each attack of the suite and of its targets."""

    def damage(attack: str, group: str) -> Series:
        return book.cells.series(task.run, "effect.damage", attack, group)

    found = {a: damage(a, one.group) - damage(a, "none") for a in task.attacks(one)}
    return {a: series for a, series in found.items() if len(series.values) >= CLAIM_SEEDS}


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
    header = ["defense", "clean", "its targets without it", "with it", "worst of the suite", "of its limited attacks"]
    header += ["of attacks that know it", "attacks made worse", "bytes per message", "microseconds per message"]
    rows = []
    for one in (Deployed("none", ()), *task.known):
        row = [f"`{group_label(one.group)}`", kept(book, task, score(book, task, None, one.group))]
        row += [under(book, task, group, one.targets, "mean") for group in ("none", one.group)]
        row += [under(book, task, one.group, attacks) for attacks in (task.suite, task.limited)]
        if one.group == "none":
            rows.append([*row, "", "", "", ""])
            continue
        aimed = task.adaptive(one)
        row.append(under(book, task, one.group, aimed) if aimed else NOT_TESTED)
        added, changed = bytes_of(book, task, one.group), list(changes(book, task, one).values())
        row.append(book.count(changed, "above")[1] if changed else NONE)
        rows.append([*row, book.value(added, 0) if added else NONE, microseconds(book, one.group, known)])
    shown = [at for at, name in enumerate(header) if task.limited or "limited" not in name]
    return table([header[at] for at in shown], [[row[at] for at in shown] for row in rows])


def under(book: Book, task: Task, group: str, attacks: Sequence[str], how: str = "worst") -> str:
    """What is kept under the mean of several attacks, or under the worst if all of them are scored."""
    found = list(attacked(book, task, group, attacks).values())
    if not found or (how == "worst" and attacks in (task.suite, task.limited) and len(found) < len(attacks)):
        return NONE
    return kept(book, task, worst(task, found) if how == "worst" else across(how, found))


def worse(book: Book, task: Task) -> str:
    """The attacks that each defense makes worse, by name."""
    found = {one.group: changes(book, task, one) for one in task.known}
    lines = []
    for group, changed in found.items():
        if attacks := [f"`{label(a)}`" for a, change in changed.items() if direction(change) == "above"]:
            lines.append(f"- `{group_label(group)}`: {', '.join(attacks)}")
    if not (tests := sum(map(len, found.values()))):
        return "Not evaluated yet.\n"
    chance = book.answer(answers.given(round(tests * LEVEL / 2, 1)), 1)
    told = f"More damage than without the defense, by an exact test at 5% without correction; by chance, {chance} such"
    return "\n".join([f"{told} cases are expected at most.\n", *(lines or ["None."])]) + "\n"


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
        kept: Share of the worth of messages that is left under the worst of the suite's limited attacks.
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
    for group, share in least_kept(book, task, task.limited).items():
        size, timed = bytes_of(book, task, group), [known.get(name) for name in names(group) if name != "none"]
        if size and None not in timed:
            time = max(sum(t for t in timed if t is not None), 0.0)  # below zero only by noise
            found.append(Choice(group, share, size, time))
    return found


def least_kept(book: Book, task: Task, attacks: Sequence[str]) -> dict[str, Series]:
    """Share of the worth of messages that is left under the worst of some attacks, by defense."""
    clean, least = score(book, task), floor(book, task)
    met = {one.group: attacked(book, task, one.group, attacks) for one in (Deployed("none", ()), *task.known)}
    whole = {group: list(found.values()) for group, found in met.items() if len(found) == len(attacks)}
    return {group: (worst(task, found) - least) / (clean - least) for group, found in whole.items()}


def front(book: Book, found: Sequence[Choice]) -> str:
    """Defenses that no other one beats in worst case, bytes and microseconds."""
    rows = []
    for one in sorted(found, key=lambda one: -mean(one.kept)):
        if not any(other.beats(one) for other in found):
            time = book.answer(answers.given(round(one.time, 3)), 3)
            numbers = book.mean(one.kept, 0, percent=True), book.value(one.size, 0), time
            rows.append([f"`{group_label(one.group)}`", *numbers])
    header = ("defense", "kept under the worst limited attack", "bytes per message", "microseconds per message")
    return table(header, rows)


def best(book: Book, task: Task, attacks: Sequence[str]) -> tuple[str, str]:
    """The defense that keeps most under the worst attack, chosen on half of the teams, and what it keeps on the others.

    Returns:
        The defense, and percent of the worth of messages.
    """
    kept = least_kept(book, task, attacks)
    return book.chosen({group: share * 100 for group, share in kept.items() if group != "none"}, "higher", 0)
