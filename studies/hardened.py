"""What docs/countermeasures.md tells about teams that were trained under a defense, and about votes over subsets."""

from __future__ import annotations

import answers
from book import Book
from cells import Series
from countered import floor, score
from plan import group_label, label
from study import table
from suite import (
    AGREEMENT,
    CAPTURE,
    CERTIFIED,
    DROP,
    EXCLUSIVE,
    MINORITY,
    NOISE,
    OF_NINE,
    OUTVOTED,
    PROVED,
    TRAINED,
    TRAINED_UNDER,
    VOTE,
    able,
)

from agentcomm.certificates.ame import largest_heard

RETURN = "metrics.mean_return"
SIZES, LIARS = (3, 4, 5, 6, 8, 9, 10, 16, 20), (1, 2, 3, 4)


def damage(book: Book, run: str, attack: str, defense: str = "none") -> Series:
    """Damage of an attack, in the units of the score."""
    if not able(attack):
        return Series({}, {})
    return book.cells.series(run, "effect.damage", attack, defense)


def trained(book: Book) -> str:
    """Teams that were trained under a defense or an attack, beside those that were not."""
    rows = []
    for base, others in TRAINED.items():
        for run in (base, *others):
            row = [f"`{run}`", book.value(score(book, CAPTURE, run=run))]
            rows.append(row + [book.value(score(book, CAPTURE, attack, run=run)) for attack in TRAINED_UNDER])
    names = [f"`{label(attack)}`" for attack in TRAINED_UNDER]
    return table(("teams", "steps without an attack", *names), rows)


def outvoted(book: Book) -> str:
    """Agreement of nine: teams that were trained under a vote, beside those that get it afterwards."""
    cases = [(AGREEMENT.run, "none"), *((run, "none") for run in OF_NINE)]
    for run, defense in OUTVOTED.items():
        cases += [(AGREEMENT.run, defense), (run, defense)]
    rows = []
    for run, defense in dict.fromkeys(cases):
        found = [score(book, AGREEMENT, attack, defense, run) for attack in (None, MINORITY, DROP, NOISE)]
        rows.append([f"`{run}`", f"`{group_label(defense)}`", *(book.value(series, 3) for series in found)])
    attacks = [f"`{label(attack)}`" for attack in (MINORITY, DROP, NOISE)]
    return table(("teams", "evaluated under", "return without an attack", *attacks), rows)


def exclusive(book: Book) -> str:
    """A vote where only one agent knows what another needs."""
    rows = []
    for run in EXCLUSIVE:
        for defense in ("none", VOTE):
            found = book.cells.series(run, RETURN, None, defense)
            rows.append([f"`{run}`", f"`{group_label(defense)}`", book.mean(found, 3)])
    return table(("teams", "evaluated under", "return"), rows)


def dropped(book: Book, run: str) -> Series:
    """What dropping half of the messages costs, as a share of what messages are worth to these teams."""
    worth = floor(book, CAPTURE) - score(book, CAPTURE, run=run)
    return damage(book, run, DROP) / worth


def ensembles(book: Book) -> str:
    """Largest admissible k by size of the team and number of liars."""
    rows = []
    for size in SIZES:
        found = [largest_heard(size - 1, liars) for liars in LIARS]
        shown = ["none" if k is None else book.answer(answers.given(k), 0) for k in found]
        rows.append([f"`{size}` agents", *shown])
    return table(("team", *(f"`{liars}` lying" for liars in LIARS)), rows)


def certified(book: Book) -> str:
    """Shares of decisions that no attack can change, beside those that the strongest attack left, team by team."""
    rows = []
    for run in CERTIFIED:
        labels = dict.fromkeys(
            key[4] for key in book.cells.by_key if key[0] == PROVED and key[4].startswith(f"{run}, ")
        )
        for condition in labels:
            _, kind, budget = condition.split(", ")
            shares = [f"metrics.{name}_share" for name in ("certified", "empirical")]
            found = [book.each(book.cells.series(PROVED, of, None, "none", condition)) for of in shares]
            rows.append([f"`{run}`", kind, f"`{budget}`", *found])
    return table(("teams", "certificate", "attacker controls", "certified", "left by the strongest attack"), rows)
