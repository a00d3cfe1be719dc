"""Writes docs/density.md: whether teams with more links per agent withstand more.

python studies/density.py           evaluates the missing cells and writes the page
python studies/density.py --page    only writes the page
"""

from __future__ import annotations

from book import Book, Claim
from cells import Series
from figures import COLORS, dots, lines, panels, save
from plan import AGREEMENTS, DENSE, GRAPH_FORMS, GRAPHS, label
from study import command, page, table

NAMES = {"capture": "learned, one link", "capture_random": "random, one link", "capture_full": "full, two links"}
KEPT = ("tamper:node=0", "tamper", "drop:probability=0.5", "drop")


def attacked(book: Book, run: str, attack: str) -> Series:
    """Return of a team under attack."""
    return book.cells.series(run, "metrics.mean_return", attack)


def damage(book: Book, run: str, attack: str) -> Series:
    """Damage of an attack."""
    return book.cells.series(run, "effect.damage", attack)


def floor(book: Book) -> Series:
    """Return of teams that were trained without messages."""
    return book.cells.series("agreement", "metrics.mean_return", variant="control")


def agreement(book: Book) -> tuple[str, str]:
    """Damage and retained fraction by number of links per agent."""
    rows = [["no attack: return", *(book.mean(book.cells.series(run, "metrics.mean_return")) for run in AGREEMENTS)]]
    kept = []
    for attack in DENSE:
        rows.append(
            [
                f"{book.cells.named(AGREEMENTS[-1], attack)}: damage",
                *(book.mean(damage(book, run, attack)) for run in AGREEMENTS),
            ]
        )
        left = []
        for run in AGREEMENTS:
            clean = book.cells.series(run, "metrics.mean_return")
            left.append(book.retained(attacked(book, run, attack), clean, floor(book)))
        kept.append([f"`{label(attack)}`", *left])
    header = tuple(f"{k} link{'s' if k > 1 else ''}" for k in range(1, 5))
    return table(("", *header), rows), table(("attack", *header), kept)


def graphs(book: Book) -> str:
    """Damage by graph in Predator-Capture-Prey."""
    rows = [["no attack: steps", *(book.mean(book.cells.series(run, "metrics.mean_steps")) for run in GRAPHS)]]
    for attack in GRAPH_FORMS:
        lost = [book.mean(damage(book, run, attack)) for run in GRAPHS]
        rows.append([f"{book.cells.named(GRAPHS[0], attack)}: damage", *lost])
    return table(("", *NAMES.values()), rows)


def figure(book: Book) -> str:
    """Return against links per agent, and damage by graph."""
    picture, axes = panels(2, 2, (9, 3.2))
    ks = range(1, 5)
    lines(axes[0], ks, [book.cells.series(r, "metrics.mean_return") for r in AGREEMENTS], COLORS[4], "no attack")
    for place, attack in enumerate(KEPT):
        lines(axes[0], ks, [attacked(book, r, attack) for r in AGREEMENTS], COLORS[place], label(attack))
    axes[0].set_xlim(0.8, 5.6)
    axes[0].set_xticks(list(ks))
    axes[0].set_xlabel("links per agent (Agreement, five members)")
    axes[0].set_ylabel("return")
    entries = {f"{label(a)}, {NAMES[r].partition(',')[0]}": damage(book, r, a) for a in GRAPH_FORMS[:5] for r in GRAPHS}
    shade = {name: COLORS[place % len(GRAPHS)] for place, name in enumerate(entries)}
    dots(axes[1], entries, "damage in steps (Predator-Capture-Prey)", shade)
    axes[1].tick_params(axis="y", labelsize=6.5)
    picture.tight_layout()
    return save(picture, book, "density", "Return and damage against the number of links per agent")


def claims(book: Book) -> dict[str, Claim]:
    """Sparse against full."""
    out = {}
    clean = book.cells.series("agreement", "metrics.mean_return")
    out["worth"] = Claim(
        clean - book.cells.series("agreement_1", "metrics.mean_return"),
        "Without an attack, members that listen to all four others earn {d} more than those that listen to one.",
        "Without an attack, members that listen to all four others earn less than those that listen to one: {d}.",
        "That more links help without an attack is not shown: {d} of return.",
    )
    for attack in DENSE:
        out[attack] = Claim(
            damage(book, "agreement_1", attack) - damage(book, "agreement", attack),
            f"`{label(attack)}` does less damage to members that listen to four others than to one, by {{d}} of"
            f" return.",
            f"`{label(attack)}` does more damage to members that listen to four others than to one: {{d}} of return.",
            f"That the number of links changes the damage of `{label(attack)}` is not shown: {{d}} of return.",
        )
    for attack in GRAPH_FORMS:
        out[f"graph {attack}"] = Claim(
            damage(book, "capture", attack) - damage(book, "capture_full", attack),
            f"In Predator-Capture-Prey, `{label(attack)}` does less damage to full graphs than to learned ones with one"
            " link, by {d} steps.",
            f"In Predator-Capture-Prey, `{label(attack)}` does more damage to full graphs than to learned ones with one"
            " link: {d} steps.",
            f"In Predator-Capture-Prey, that a full graph changes the damage of `{label(attack)}` is not shown: {{d}}.",
        )
    return out


def made(book: Book) -> str:
    """The page."""
    judged = book.judge(claims(book))
    lost, kept = agreement(book)
    parts = [
        figure(book),
        "Left: return against the number of links per agent. Right: damage by graph, team by team.\n",
        "## Agreement, one to four links\n",
        lost,
        "What is left under attack of what messages are worth (100%: nothing is lost; 0%: as without messages; below:"
        " worse than without messages). The floor is a team that was trained without messages.\n",
        kept,
        "## Predator-Capture-Prey, three graphs\n",
        graphs(book),
        "Each attack acts on every message in its reach, so in a denser graph it touches more messages.\n",
    ]
    question = "Do teams in which agents listen to more colleagues withstand more?"
    answer = f"{judged['tamper:node=0'].sentence} {judged['drop:probability=0.5'].sentence}"
    return page(book, "Density against robustness", question, answer, parts, judged)


if __name__ == "__main__":
    command("density", made)
