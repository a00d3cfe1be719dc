"""Writes docs/places.md: who attacks, on which link, and when.

python studies/places.py           evaluates the missing cells and writes the page
python studies/places.py --page    only writes the page
"""

from __future__ import annotations

from collections.abc import Mapping

from book import Book, Claim
from cells import Series, across
from figures import COLORS, dots, lines, panels, save
from plan import LINKS, MOMENTS, OUTSIDE, PLACED, STARTS, label, limited, linked, moment
from study import command, page, table

NAMES = ("scout 0", "scout 1", "the blind agent")
BLIND = 2
FIELDS = ("damage", "control_damage", "silence", "lie", "success")
HEADER = ("damage in steps", "control", "silence", "lie", "success")


def positions() -> dict[str, str]:
    """Attacks by who carries them out."""
    inside = {f"{NAMES[node]}, compromised": f"tamper:node={node}" for node in range(3)}
    return inside | {"everybody's links": "tamper"} | {f"an outsider, `{label(a)}`": a for a in OUTSIDE}


def who(book: Book) -> str:
    """Effects by position."""
    rows = []
    for name, attack in positions().items():
        series = [book.cells.exactly("capture", f"effect.{field}", attack) for field in FIELDS]
        told = name if "`" in name else f"{name}, `{label(attack)}`"
        rows.append([told, book.seeds(series[0]), book.mean(series[0]), *(book.value(s) for s in series[1:])])
    return table(("attacker", "teams", *HEADER), rows)


def on_link(book: Book, attack: str, sender: int, receiver: int) -> Series:
    """Damage of an attack on one link, in the teams that have it."""
    return book.cells.series("capture", "effect.damage", linked(attack, sender, receiver))


def where(book: Book) -> str:
    """Damage by link."""
    rows = []
    for sender, receiver in LINKS:
        found = [on_link(book, attack, sender, receiver) for attack in PLACED]
        name = f"{NAMES[sender]} \u2192 {NAMES[receiver]}"
        rows.append([name, book.seeds(found[0]), *(book.mean(s) for s in found)])
    return table(("link", "teams that have it", *(f"damage of `{a}`" for a in PLACED)), rows)


def link_figure(book: Book) -> str:
    """Damage by link, team by team."""
    picture, axes = panels(2, 2, (8.4, 2.4), sharey=True, sharex=True)
    for panel, attack in zip(axes, PLACED, strict=True):
        found = {f"{NAMES[s]} \u2192 {NAMES[r]}": on_link(book, attack, s, r) for s, r in LINKS}
        dots(panel, found, "damage in steps")
        panel.set_title(f"{attack} on one link")
    picture.tight_layout()
    return save(picture, book, "links", "Damage of an attack on one link")


def times(book: Book) -> tuple[dict[str, list[Series]], dict[str, list[Series]]]:
    """Damage by the only attacked step, and by the first attacked step."""
    series = book.cells.series
    only = {a: [series("capture", "effect.damage", moment(a, t)) for t in MOMENTS] for a in PLACED}
    starts = {
        a: [series("capture", "effect.damage", limited(a, start_step=t) if t else a) for t in (0, *STARTS)]
        for a in PLACED
    }
    return only, starts


def when_figure(book: Book, only: Mapping[str, list[Series]], starts: Mapping[str, list[Series]]) -> str:
    """Damage by time."""
    picture, axes = panels(2, 2, (8.4, 2.8), sharey=True)
    for panel, at, found, title in (
        (axes[0], MOMENTS, only, "only this step is attacked"),
        (axes[1], (0, *STARTS), starts, "attacked from this step on"),
    ):
        for place, (attack, some) in enumerate(found.items()):
            lines(panel, at, some, COLORS[place], attack)
        panel.set_title(title)
        panel.set_xlabel("step of the episode")
        panel.grid(axis="y", alpha=0.25)
    axes[0].set_ylabel("damage in steps")
    picture.tight_layout()
    return save(picture, book, "moments", "Damage by the attacked steps of an episode")


def claims(book: Book, only: Mapping[str, list[Series]], starts: Mapping[str, list[Series]]) -> dict[str, Claim]:
    """Who, where and when."""
    damage = {node: book.cells.exactly("capture", "effect.damage", f"tamper:node={node}") for node in range(3)}
    scouts = across("known", [damage[0], damage[1]])
    out = {
        "who": Claim(
            scouts - damage[BLIND],
            "A compromised scout does more damage than a compromised blind agent, by {d} steps.",
            "A compromised blind agent does more damage than a compromised scout; the difference is {d} steps.",
            "That a compromised scout does more damage than a compromised blind agent is not shown: {d} steps.",
        )
    }
    for attack in PLACED:
        into = across("known", [on_link(book, attack, s, r) for s, r in LINKS if r == BLIND])
        other = across("known", [on_link(book, attack, s, r) for s, r in LINKS if r != BLIND])
        out[f"where {attack}"] = Claim(
            into - other,
            f"`{attack}` on the blind agent's link does more damage than on another link, by {{d}} steps.",
            f"`{attack}` on the blind agent's link does less damage than on another link: {{d}} steps.",
            f"That `{attack}` on the blind agent's link does more damage than on another link is not shown: {{d}}"
            f" steps.",
        )
        out[f"when {attack}"] = Claim(
            only[attack][1] - only[attack][-1],
            f"`{attack}` in step {MOMENTS[1]} alone does more damage than in step {MOMENTS[-1]} alone, by {{d}} steps.",
            f"`{attack}` in step {MOMENTS[1]} alone does less damage than in step {MOMENTS[-1]} alone: {{d}} steps.",
            f"That `{attack}` does more damage in step {MOMENTS[1]} than in step {MOMENTS[-1]} is not shown:"
            f" {{d}} steps.",
        )
        out[f"start {attack}"] = Claim(
            starts[attack][0] - starts[attack][-1],
            f"`{attack}` from the first step on does more damage than from step {STARTS[-1]} on, by {{d}} steps.",
            f"`{attack}` from the first step on does less damage than from step {STARTS[-1]} on: {{d}} steps.",
            f"That `{attack}` does more damage from the first step than from step {STARTS[-1]} on is not shown: {{d}}.",
        )
    for attack in OUTSIDE:
        out[attack] = Claim(
            book.cells.series("capture", "effect.damage", attack)
            - book.cells.series("capture", "effect.control_damage", attack),
            f"An outsider does damage beyond its control with `{attack}`: {{d}} steps.",
            f"An outsider does less damage than its control with `{attack}`: {{d}} steps.",
            f"That an outsider does damage beyond its control with `{attack}` is not shown: {{d}} steps.",
        )
    return out


def made(book: Book) -> str:
    """The page."""
    only, starts = times(book)
    judged = book.judge(claims(book, only, starts))
    single = [[f"`{a}`", *(book.value(s) for s in some)] for a, some in only.items()]
    later = [[f"`{a}`", *(book.value(s) for s in some)] for a, some in starts.items()]
    parts = [
        link_figure(book),
        "Damage of an attack on a single link. Each receiver listens to one other agent, so a team has three of the"
        " six links; dots are the teams that have the link.\n",
        "## Who\n",
        who(book),
        "Teams in which no agent listens to the attacked one are left out, since its messages reach no one.\n",
        "## Where\n",
        where(book),
        "With fewer than ten teams, a row claims nothing; with fewer than five it has no interval.\n",
        "## When\n",
        when_figure(book, only, starts),
        "Damage in steps when all six messages of one step are attacked:\n",
        table(("attack", *(f"step {t}" for t in MOMENTS)), single),
        "Damage in steps when all messages from a step on are attacked:\n",
        table(("attack", *(f"from {t}" for t in (0, *STARTS))), later),
        "Unattacked teams need about six steps, so many episodes have no late steps.\n",
    ]
    question = "Which attackers, links and moments matter?"
    answer = f"{judged['where drop'].sentence} {judged['when drop'].sentence}"
    return page(book, "Who, where, when", question, answer, parts, judged)


if __name__ == "__main__":
    command("places", made)
