"""Writes docs/countermeasures.md: what each defense buys, at what price, and against whom who knows it.

python studies/countermeasures.py           evaluates the missing cells and writes the page
python studies/countermeasures.py --page    only writes the page
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from book import LEDGER, NONE, Book, Claim, Judged, direction
from cells import Series
from countered import best, carried, choices, costs, detected, front, least_kept, mean, measured, score, worse
from figures import COLORS, panels, save
from hardened import RETURN, certified, damage, dropped, ensembles, exclusive, outvoted, trained
from plan import group_label, label
from study import command, page, table
from suite import (
    AGREEMENT,
    CAPTURE,
    CHAINS,
    CUTS,
    EXCLUSIVE,
    FILTERS,
    FRAGMENTED,
    FRAME,
    FRAMED,
    GRADIENT,
    MINORITY,
    NOISE,
    OUTVOTED,
    RETRAINED,
    TARGETED,
    TASKS,
    UNKEYED,
    VOTE,
    Task,
    installed,
)

GOAL = 0.15  # most of what messages are worth that dropping half of them may cost a team trained for it
DELIVERED = 0.9  # least share of messages that keyed chains must deliver


# ---- order, fragments, retraining


def framed(book: Book) -> str:
    """Trust before authentication, and after it."""
    rows = []
    for group in ("none", *FRAMED):
        row = [f"`{group_label(group)}`", book.value(score(book, CAPTURE, None, group))]
        rows.append([*row, book.mean(damage(book, CAPTURE.run, FRAME, group))])
    return table(("defense", "steps without an attack", "damage of `frame`"), rows)


def delivery(book: Book, attack: str, defense: str) -> Series:
    """Share of the team's messages that reach their receivers whole."""
    ledger = [book.cells.series(FRAGMENTED, f"ledger.{name}", attack, defense) for name in ("accepted", "sent")]
    forged = book.cells.series(FRAGMENTED, "ledger.accepted_forged", attack, defense)
    return (ledger[0] - forged) / ledger[1]


def fragments(book: Book) -> str:
    """Delivery under attacks on fragments."""
    rows = []
    for attack in CUTS:
        found = [delivery(book, attack, group) for group in ("none", *CHAINS)]
        rows.append([f"`{label(attack)}`", *(book.mean(series, 1, percent=True) for series in found)])
    return table(("attack", *(f"`{group_label(group)}`" for group in ("none", *CHAINS))), rows)


def under(book: Book, attacker: str, defense: str) -> Series:
    """Return of teams of nine under an attacker of ``studies/retrained.py``."""
    return book.cells.series(RETRAINED, RETURN, None, defense, attacker)


def retrained(book: Book) -> str:
    """Returns under attackers that were trained without and against a filter."""
    names = {
        "clean": "none, without the filter",
        "clean, defended": "none",
        "attacked": "trained without the filter, and without it",
        "attacked, defended": "trained without the filter",
        "retrained, defended": "trained against the filter",
    }
    rows = [[name, *(book.mean(under(book, key, one), 3) for one in FILTERS)] for key, name in names.items()]
    return table(("attacker", *(f"`{group_label(one)}`" for one in FILTERS)), [*rows, ["kept", *kept_back(book)]])


def kept_back(book: Book) -> Iterator[str]:
    """By filter, what is kept of the return that it averts once the attacker is retrained; a dash if it averts none."""
    for one in FILTERS:
        keys = ("attacked", "attacked, defended", "retrained, defended")
        plain, behind, again = (under(book, key, one) for key in keys)
        averts = direction(behind - plain) == "above"
        yield book.retained(again, behind, plain) if averts else NONE


# ---- the page


def claims(book: Book) -> dict[str, Claim]:
    """What the page may say."""
    out = {}
    for run in (CAPTURE.run, "capture_dropout", "capture_full", "capture_full_dropout", "capture_curriculum"):
        share = f"of what messages are worth to teams of `{run}`"
        out[f"drop {run}"] = Claim(
            dropped(book, run) - GOAL,
            f"Dropping half of the messages costs more than 15% {share}: beyond it by {{d}} of their worth.",
            f"Dropping half of the messages costs less than 15% {share}: {{d}} of their worth from it.",
            f"That dropping half of the messages costs less or more than 15% {share} is not shown: {{d}} from it.",
        )
    pairs = (("capture_adversarial_gradient", GRADIENT), ("capture_adversarial_noise", NOISE))
    pairs += (("capture_adversarial_population", GRADIENT), ("capture_bottleneck", GRADIENT))
    for run, attack in pairs:
        out[run] = Claim(
            score(book, CAPTURE, attack, run=run) - score(book, CAPTURE, attack),
            f"Under `{label(attack)}`, teams of `{run}` need {{d}} steps more than others.",
            f"Under `{label(attack)}`, teams of `{run}` need fewer steps than others: {{d}}.",
            f"Under `{label(attack)}`, that teams of `{run}` differ from others is not shown: {{d}} steps.",
        )
    for run, defense in OUTVOTED.items():
        ahead = score(book, AGREEMENT, MINORITY, defense, run) - score(book, AGREEMENT, MINORITY, defense)
        out[run] = Claim(
            ahead,
            f"With a lying member, teams trained under it do better under `{defense}` than others: {{d}} of return.",
            f"With a lying member, teams trained under it do worse under `{defense}` than others: {{d}} of return.",
            f"With a lying member, that training under it helps under `{defense}` is not shown: {{d}} of return.",
            digits=3,
        )
    return out | _targets(book) | _of_defenses(book)


def _of_defenses(book: Book) -> dict[str, Claim]:
    """Claims about trust, fragments and an attacker that is retrained."""
    out = {}
    if len(FRAMED) == len(("before", "after")):
        first, second = (damage(book, CAPTURE.run, FRAME, group) for group in FRAMED)
        out["order"] = Claim(
            first - second,
            "Without authentication, trust lets an outsider frame honest senders: {d} more steps of damage.",
            "Without authentication, trust suffers less from framing: {d} steps.",
            "That authentication before trust changes the damage of framing is not shown: {d} steps.",
        )
    for attack in CUTS:
        out[attack] = Claim(
            delivery(book, attack, CHAINS[min(1, len(CHAINS) - 1)]) - DELIVERED,
            f"Under `{label(attack)}`, keyed chains deliver more than 90% of all messages: by {{d}}.",
            f"Under `{label(attack)}`, keyed chains deliver less than 90% of all messages: by {{d}}.",
            f"Under `{label(attack)}`, that keyed chains deliver more or less than 90% is not shown: {{d}}.",
            LEDGER,
        )
    if UNKEYED in CHAINS:
        out["unkeyed"] = Claim(
            delivery(book, CUTS[0], UNKEYED) - DELIVERED,
            f"Under `{label(CUTS[0])}`, chains without keys deliver more than 90% of all messages: by {{d}}.",
            f"Under `{label(CUTS[0])}`, chains without keys deliver less than 90% of all messages: by {{d}}.",
            f"Under `{label(CUTS[0])}`, that chains without keys deliver more or less than 90% is not shown: {{d}}.",
            LEDGER,
        )
    voted = [book.cells.series(EXCLUSIVE[0], RETURN, None, how) for how in ("none", VOTE)]
    out["exclusive"] = Claim(
        voted[0] - voted[1],
        "Where only one agent knows what another needs, a vote costs {d} of return.",
        "Where only one agent knows what another needs, teams that vote do better: {d} of return.",
        "That a vote costs return where only one agent knows what another needs is not shown: {d}.",
        digits=3,
    )
    for one in FILTERS:
        out[f"retrained {one}"] = Claim(
            under(book, "attacked, defended", one) - under(book, "retrained, defended", one),
            f"An attacker that is retrained against `{one}` takes back {{d}} of return.",
            f"An attacker that is retrained against `{one}` does less than before: {{d}} of return.",
            f"That retraining against `{one}` helps the attacker is not shown: {{d}} of return.",
            digits=3,
        )
    return out


def _targets(book: Book) -> dict[str, Claim]:
    """Claims about single defenses and attacks, fixed before evaluation."""
    out = {}
    for group, attack in TARGETED:
        if not installed(group):
            continue
        out[f"{group} {attack}"] = Claim(
            damage(book, CAPTURE.run, attack, group) - damage(book, CAPTURE.run, attack),
            f"`{group}` raises the damage of `{label(attack)}` by {{d}} steps.",
            f"`{group}` lowers the damage of `{label(attack)}`: {{d}} steps.",
            f"That `{group}` changes the damage of `{label(attack)}` is not shown: {{d}} steps.",
        )
    return out


def advice(book: Book, judged: dict[str, Judged]) -> str:
    """A few sentences."""
    told = [judged["drop capture_full_dropout"].sentence]
    for attacks, who in ((CAPTURE.limited, "a third to a half of the messages"), (CAPTURE.suite, "all messages")):
        group, left = best(book, CAPTURE, attacks)
        if group != NONE:
            without = book.mean(least_kept(book, CAPTURE, attacks)["none"] * 100, 0)
            told.append(
                f"Of all defenses that are deployed afterwards, `{group_label(group)}` keeps most under the worst"
                f" attack on {who}: {left} percent of what they are worth, on teams on which it was not chosen, beside"
                f" {without} without a defense."
            )
    return " ".join(told)


def drawn(tasks: dict[str, list[Any]]) -> Any:
    """Worst case against bytes, by task."""
    figure, axes = panels(len(tasks), 3, (9.6, 3.0))
    for axis, (title, found) in zip(axes, tasks.items(), strict=True):
        front = [one for one in found if not any(other.beats(one) for other in found)]
        for one in found:
            color = COLORS[1] if one in front else COLORS[4]
            axis.plot([mean(one.size)], [100 * mean(one.kept)], "o", color=color, ms=4, alpha=0.8)
        line = {"arrowstyle": "-", "lw": 0.5, "color": COLORS[1]}
        for place, one in enumerate(sorted(front, key=lambda one: -mean(one.kept))):  # names below each other
            at, text = (mean(one.size), 100 * mean(one.kept)), (0.3, 0.8 - 0.1 * place)
            axis.annotate(one.group, at, text, "data", "axes fraction", line, fontsize=6, color=COLORS[1])
        axis.set_title(title)
        axis.set_xlabel("bytes per message")
    axes[0].set_ylabel("kept under the worst, percent")
    return figure


def task_part(book: Book, task: Task, known: dict[str, float]) -> str:
    """The section of a task."""
    suite, limited = (", ".join(f"`{label(attack)}`" for attack in some) for some in (task.suite, task.limited))
    return "\n".join(
        [
            f"## {task.title}\n",
            f"The suite: {suite}{f'; limited: {limited}' if limited else ''}.\n",
            measured(book, task, known),
            worse(book, task),
        ]
    )


def made(book: Book) -> str:
    """The page."""
    known = costs()
    judged = book.judge(claims(book))
    found = {task.title: choices(book, task, known) for task in TASKS if task.limited}
    parts = [
        save(drawn(found), book, "front", "What is kept under the worst attack against bytes per message"),
        "What is kept of the worth of messages under the worst limited attack, against the bytes that a defense adds to"
        " each message; orange: no other defense is better in one respect and worse in none.\n",
        "Shares in tables are what is kept of the worth of messages: 100% is the team without attack and defense, 0% a"
        " team that was trained without messages; in the market, whose directory is attacked and not its messages,"
        " tables show returns. *Clean* below 100% is a defense's tax. *Targets* are the attacks that a defense is made"
        " against, fixed before evaluation; the *worst* is taken team by team. Attacks of the suite reach all messages"
        " on the wire, so that a defense can at best silence them; *limited* ones reach a share of them. *Attacks that"
        " know it* were written against the last defense of a group and met five teams (ten in the market); they do"
        " not repeat the suite, whose attacks may do more. Without any it is *not tested*. Microseconds are of"
        " [the benchmark](../benchmarks/defenses.md), summed over a group.\n",
        *(task_part(book, task, known) for task in TASKS),
        "## What no other defense beats\n",
        *(f"{title}:\n\n{front(book, some)}" for title, some in found.items()),
        "## Detection\n",
        "Under the targets of each defense, for each that gives scores.\n",
        detected(book),
        "## Another task\n",
        "Kept under the targets, with the same arguments; none was tuned on the second task.\n",
        carried(book),
        "## Trained under a defense\n",
        trained(book),
        "`authenticate` and `clip` pass clean messages unchanged, so that training under them alone is training without"
        " them. Dropping messages shows what a team has learned to do without.\n",
        outvoted(book),
        "## Ensembles of subsets\n",
        "The largest k of AME for which most of the k-subsets of an inbox hold no lie. A team of three has none: two"
        " messages cannot outvote a lie, so on Predator-Capture-Prey an ensemble proves nothing.\n",
        ensembles(book),
        "Where each agent needs what only one other knows, most subsets are without it, and the vote is lost:\n",
        exclusive(book),
        "## Certificates\n",
        "Share of the decisions of 64 clean episodes that no attack in a budget can change, and that the strongest of"
        " several attacks in that budget left unchanged (`studies/certified.py`); a number per team, in the order of"
        " seeds. The second must not be smaller. *reach* follows graph, gates and memory from links that an attacker"
        " controls; *vote* is AME's, over subsets of two of the links of each receiver; *radius* is randomized"
        " smoothing's, with a change of all that a receiver hears in the first step of at most this length.\n",
        certified(book),
        "## Trust and authentication\n",
        framed(book),
        "## Fragments\n",
        "Share of the team's messages that arrive whole.\n",
        fragments(book),
        "## An attacker that is retrained\n",
        "Return of teams of nine in Agreement behind a frozen filter, under attackers on the links of a third of them"
        " that learned with or without it (`studies/retrained.py`). *Kept* is the share of the averted damage that is"
        " still averted after the attacker is retrained, where the filter averts any.\n",
        retrained(book),
    ]
    question = "What does each defense buy, at what price, and what is left against an attacker that knows it?"
    return page(book, "Countermeasures", question, advice(book, judged), parts, judged)


if __name__ == "__main__":
    command("countermeasures", made)
