"""Writes docs/defenses.md: every attack on messages against every defense that fits.

python studies/defenses.py           evaluates the missing cells and writes the page
python studies/defenses.py --page    only writes the page
"""

from __future__ import annotations

from collections.abc import Sequence

from book import Book, Claim, Judged, direction
from cells import Series, across
from figures import dot_plot, heat, save
from plan import DEFENSES, DENSE, FORMS, REFUSED, RESPONSES, label
from study import command, page, table

MARGIN = 0.25  # steps; without attack, a team needs about six
ALL = ("none", *DEFENSES)
ASSUMING = ("pollute",)  # its effect presupposes that exposed members become infected
HARMED = ("noise:epsilon=0.5", "drift", "delay")  # declared before evaluation as those that authenticate makes worse
Grid = dict[str, dict[str, Series]]


def damages(book: Book, run: str, forms: Sequence[str], defenses: Sequence[str]) -> Grid:
    """Damage by attack and defense."""
    return {a: {d: book.cells.series(run, "effect.damage", a, d) for d in defenses} for a in forms}


def cost(book: Book, defense: str) -> Series:
    """Steps that a defense costs an unattacked team."""
    clean = book.cells.series("capture", "metrics.mean_steps")
    return book.cells.series("capture", "metrics.mean_steps", None, defense) - clean


def worst(found: Grid, defense: str) -> Series:
    """The largest damage of any attack, team by team, among attacks that are scored for all teams."""
    return across("max", [by[defense] for by in whole(found).values()])


def whole(found: Grid) -> Grid:
    """Attacks that are scored for every team under every defense, and presuppose nothing of their victims."""
    most = max((len(s.values) for by in found.values() for s in by.values()), default=0)
    scored = {a: by for a, by in found.items() if all(len(s.values) == most for s in by.values())}
    return {a: by for a, by in scored.items() if a not in ASSUMING}


def undefended(book: Book) -> str:
    """What each attack does without a defense."""
    rows = []
    for attack in FORMS:
        fields = ("damage", "control_damage", "silence", "lie", "success")
        series = [book.cells.series("capture", f"effect.{name}", attack) for name in fields]
        rows.append([book.cells.named("capture", attack), book.mean(series[0]), *(book.value(s) for s in series[1:])])
    return table(("attack", "damage in steps", "control", "silence", "lie", "success"), rows)


def defended(book: Book, run: str, found: Grid, defenses: Sequence[str]) -> str:
    """Damage under each defense; arrows where it differs from the first column by the exact test."""
    first, *others = defenses
    rows = []
    for attack, by in found.items():
        row = [book.cells.named(run, attack), book.value(by[first])]
        for defense in others:
            mark = {"above": " \u25b2", "below": " \u25bc", "neither": ""}[direction(by[defense] - by[first])]
            row.append(book.value(by[defense]) + mark)
        rows.append(row)
    return table(("attack", *(f"`{d}`" for d in defenses)), rows)


def summary(book: Book, found: Grid) -> str:
    """Per defense: its clean cost, the attacks that it makes worse and better, and its worst case."""
    rows, kept = [], whole(found)
    for defense in ALL:
        changes = [by[defense] - by["none"] for by in kept.values()]
        counts = [book.count(changes, how)[1] for how in ("above", "below")] if defense != "none" else ["", ""]
        name, left = book.chosen({a: by[defense] for a, by in kept.items()}, "higher")
        tax = book.mean(cost(book, defense)) if defense != "none" else ""
        rows.append([f"`{defense}`", tax, *counts, f"`{label(name)}`" if name in kept else name, left])
    return table(
        ("defense", "clean cost in steps", "worse", "better", "worst attack", "its damage on the other teams"), rows
    )


def named(found: Grid, defense: str) -> str:
    """The attacks that a defense makes worse."""
    worse = [f"`{label(a)}`" for a, by in found.items() if direction(by[defense] - by["none"]) == "above"]
    return f"- `{defense}` makes worse: {', '.join(worse) or 'none'}"


def claims(book: Book, found: Grid, responses: Grid, united: Grid) -> dict[str, Claim]:
    """What the page may say."""
    out = {}
    for defense in DEFENSES:
        out[f"worst {defense}"] = Claim(
            worst(found, defense) - worst(found, "none"),
            f"`{defense}` makes the worst case over the suite worse, by {{d}} steps.",
            f"`{defense}` lowers the worst case over the suite by {{d}} steps.",
            f"That `{defense}` changes the worst case over the suite is not shown: {{d}} steps.",
        )
        out[f"clean {defense}"] = Claim(
            cost(book, defense),
            f"Without an attack, `{defense}` costs at most {MARGIN} steps: {{d}}.",
            "",
            f"That `{defense}` costs at most {MARGIN} steps without an attack is not shown: {{d}}.",
            margin=MARGIN,
        )
    for attack in HARMED:
        by = found[attack]
        out[f"harm {attack}"] = Claim(
            by["authenticate"] - by["none"],
            f"`authenticate` makes `{label(attack)}` worse, by {{d}} steps: messages that were a little wrong or late"
            " are now missing.",
            f"`authenticate` lowers the damage of `{label(attack)}` by {{d}} steps.",
            f"That `authenticate` changes the damage of `{label(attack)}` is not shown: {{d}} steps.",
        )
    for response in RESPONSES:
        change = across("known", [by[response] - by["authenticate"] for by in responses.values()])
        out[response] = Claim(
            change,
            f"`{response}` does worse than `authenticate` alone: {{d}} steps over {len(responses)} attacks.",
            f"`{response}` does better than `authenticate` alone: {{d}} steps over {len(responses)} attacks.",
            f"That `{response}` differs from `authenticate` alone is not shown: {{d}} steps.",
        )
    by = united["tamper:node=0"]
    out["median"] = Claim(
        by["median"] - by["none"],
        "In Agreement, `median` makes a lying member worse: {d}.",
        "In Agreement, `median` lowers the damage of a lying member by {d} of return.",
        "In Agreement, that `median` changes the damage of a lying member is not shown: {d}.",
    )
    clean = book.cells.series("agreement", "metrics.mean_return")
    out["median clean"] = Claim(
        clean - book.cells.series("agreement", "metrics.mean_return", None, "median"),
        "In Agreement, `median` costs {d} of return without an attack.",
        "In Agreement, `median` helps without an attack: {d}.",
        "In Agreement, that `median` costs return without an attack is not shown: {d}.",
    )
    return out


def answer(book: Book, found: Grid, judged: dict[str, Judged]) -> str:
    """Two sentences."""
    auth = judged["worst authenticate"].sentence
    kept = whole(found)
    worse = book.count([by["authenticate"] - by["none"] for by in kept.values()], "above")[1]
    better = book.count([by["authenticate"] - by["none"] for by in kept.values()], "below")[1]
    return (
        f"{auth} It lowers the damage of {better} of {len(kept)} attacks and raises that of {worse}, because it turns"
        " every message that is wrong, old or foreign into a missing one, and missing messages have a price, too."
    )


def made(book: Book) -> str:
    """The page."""
    found = damages(book, "capture", FORMS, ALL)
    responses = damages(book, "capture", REFUSED, ("authenticate", *RESPONSES))
    united = damages(book, "agreement", DENSE, ("none", "median"))
    judged = book.judge(claims(book, found, responses, united))
    map_of = heat({label(a): list(by.values()) for a, by in found.items()}, ALL, "damage in steps")
    taxes = {defense: cost(book, defense) for defense in (*DEFENSES, *RESPONSES)}
    parts = [
        save(map_of, book, "matrix", "Damage in steps by attack and defense"),
        "Damage in steps under each defense, means over teams. Grey: not scored.\n",
        summary(book, found),
        f"*Worse* and *better* count, among the {len(whole(found))} attacks that are scored for every team, those whose"
        " damage the defense raises or lowers by an exact test at 5% without correction: by chance one or two would be"
        " counted. The worst attack is chosen on half of the teams, and its damage reported on the other half.\n",
        "\n".join(named(whole(found), defense) for defense in DEFENSES) + "\n",
        save(dot_plot(taxes, "clean cost in steps", MARGIN), book, "cost", "Clean cost of each defense, team by team"),
        f"What each defense costs without an attack; dots are teams, grey is the margin of {MARGIN} steps.\n",
        "## Without a defense\n",
        undefended(book),
        "Attacks that act at random, such as `noise`, `drop` and `delay`, are hardly told from their controls,"
        " which spend"
        " as much at random: what they do is worth their budget, and no more. Where *lie* is negative, false messages"
        " do less than missing ones.\n",
        "## Under each defense\n",
        defended(book, "capture", found, ALL),
        "\u25b2 more damage than without the defense, \u25bc less, by the same uncorrected test. Damage is measured"
        " against the same defense without an attack.\n",
        "## When messages are refused\n",
        defended(book, "capture", responses, ("authenticate", *RESPONSES)),
        "## Agreement, where a median is possible\n",
        defended(book, "agreement", united, ("none", "median")),
    ]
    question = "What does each defense buy against each attack on messages, and which attacks does it make worse?"
    return page(book, "Attacks against defenses", question, answer(book, found, judged), parts, judged)


if __name__ == "__main__":
    command("defenses", made)
