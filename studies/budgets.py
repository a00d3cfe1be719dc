"""Writes docs/budgets.md: damage against the number of messages that an attack may touch, and how much it may change.

python studies/budgets.py           evaluates the missing cells and writes the page
python studies/budgets.py --page    only writes the page
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from book import NONE, Book, Claim, direction
from cells import Series
from figures import COLORS, lines, panels, save
from plan import BUDGETED, BUDGETS, NORMS, label, limited, sized
from study import command, page, table

Curves = dict[str, list[Series]]


def curves(book: Book, field: str) -> Curves:
    """A field of each attack at growing budgets, the last without a limit."""
    forms = {a: [*(limited(a, per_episode=n) for n in BUDGETS), a] for a in BUDGETED}
    return {a: [book.cells.series("capture", field, form) for form in some] for a, some in forms.items()}


def norms(book: Book) -> Curves:
    """Damage of attacks that change payloads by at most epsilon."""
    series = book.cells.series
    return {a: [series("capture", "effect.damage", sized(a, e)) for e in some] for a, some in NORMS.items()}


def figure(book: Book, damage: Curves, control: Curves) -> str:
    """A panel per attack."""
    picture, axes = panels(len(damage), 4, (9, 4.2), sharex=True, sharey=True)
    at = range(len(BUDGETS) + 1)
    for panel, (attack, some) in zip(axes, damage.items(), strict=True):
        lines(panel, at, some, COLORS[0])
        lines(panel, at, control[attack], COLORS[4], style="--")
        panel.set_title(label(attack))
        panel.set_xticks(list(at), [*map(str, BUDGETS), "all"], fontsize=7)
        panel.grid(axis="y", alpha=0.25)
    axes[0].set_ylabel("damage in steps")
    picture.supxlabel("messages per episode", fontsize=9)
    picture.tight_layout()
    return save(picture, book, "curves", "Damage against the number of messages that an attack may touch")


def falls(damage: Curves) -> list[Series]:
    """Change of damage from each budget to the next."""
    return [larger - smaller for some in damage.values() for smaller, larger in itertools.pairwise(some)]


def claims(book: Book, damage: Curves, control: Curves, by_norm: Curves) -> dict[str, Claim]:
    """One per attack: whether a single message does damage; and one per norm."""
    out = {}
    for attack, some in damage.items():
        name, spent = label(attack), book.value(control[attack][0])
        out[attack] = Claim(
            some[0],
            f"One message per episode is enough for `{name}` to do damage: {{d}} steps (its control: {spent}).",
            f"With one message per episode, `{name}` helps the team: {{d}} steps (its control: {spent}).",
            f"That one message per episode does damage with `{name}` is not shown: {{d}} steps (its control: {spent}).",
        )
    for attack, some in by_norm.items():
        name, small, large = label(attack), NORMS[attack][0], NORMS[attack][-1]
        out[f"norm {attack}"] = Claim(
            some[-1] - some[0],
            f"`{name}` does more damage at epsilon {large:g} than at {small:g}: {{d}} steps.",
            f"`{name}` does less damage at epsilon {large:g} than at {small:g}: {{d}} steps.",
            f"That `{name}` does more damage at epsilon {large:g} than at {small:g} is not shown: {{d}} steps.",
        )
    return out


def tabled(book: Book, damage: Mapping[str, Sequence[Series]]) -> str:
    """Mean damage by budget."""
    rows = [[f"`{label(a)}`", *(book.value(s) for s in some)] for a, some in damage.items()]
    return table(("attack", *map(str, BUDGETS), "all"), rows)


def normed(book: Book, by_norm: Curves) -> str:
    """Mean damage by the largest change of a payload."""
    every = sorted({e for norms in NORMS.values() for e in norms})
    rows = []
    for attack, some in by_norm.items():
        found = dict(zip(NORMS[attack], some, strict=True))
        rows.append([f"`{label(attack)}`", *(book.value(found[e]) if e in found else NONE for e in every)])
    return table(("attack", *(f"{e:g}" for e in every)), rows)


def monotone(book: Book, damage: Curves) -> str:
    """Whether damage ever falls as the budget grows."""
    steps = falls(damage)
    down, up = (book.count(steps, how)[1] for how in ("below", "above"))
    where = [
        f"`{label(attack)}` from {first} to {second}"
        for attack, some in damage.items()
        for (first, a), (second, b) in itertools.pairwise(zip([*BUDGETS, "all"], some, strict=True))
        if direction(b - a) == "below"
    ]
    named = f": {'; '.join(where)}" if where else ""
    return (
        f"A larger budget should never do less. Of {len(steps)} steps to the next larger budget, {up} raise the damage"
        f" by an exact test at 5% without correction, and {down} lower it{named}. By chance, one in forty would be"
        " counted as lower.\n"
    )


def made(book: Book) -> str:
    """The page."""
    damage, control = curves(book, "effect.damage"), curves(book, "effect.control_damage")
    by_norm = norms(book)
    judged = book.judge(claims(book, damage, control, by_norm))
    able = [f"`{label(a)}`" for a in BUDGETED if judged[a].outcome == "above"]
    four = BUDGETS.index(4)
    told = f" ({', '.join(able)})" if able else ""
    first = f"With a single message per episode, {len(able)} of {len(BUDGETED)} attacks do damage{told}."
    whole = book.mean(damage["tamper"][-1])
    second = (
        f"With four, `tamper` does {book.mean(damage['tamper'][four])} steps of damage, and without a limit {whole}."
    )
    parts = [
        figure(book, damage, control),
        "Damage in steps; dots are teams, bands 95% intervals over teams, dashed the matched control.\n",
        tabled(book, damage),
        monotone(book, damage),
        "## How much a message is changed\n",
        normed(book, by_norm),
        "Damage in steps by the largest change epsilon. Epsilon bounds each coordinate of `noise` and"
        " `gradient`, and the length of the whole change of `rewrite`.\n",
    ]
    question = "How many messages must an attack touch, and how far must it change them, to hurt a team?"
    return page(book, "Damage against budget", question, f"{first} {second}", parts, judged)


if __name__ == "__main__":
    command("budgets", made)
