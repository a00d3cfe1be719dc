"""Writes docs/gates.md: what a learned gate saves, whether it opens when it should, and what if somebody forces it.

python studies/gates.py           evaluates the missing cells and writes the page
python studies/gates.py --page    only writes the page
"""

from __future__ import annotations

from itertools import product

import gates_attacked
import numpy as np
from book import LEDGER, Book, Claim
from cells import Series
from figures import COLORS, panels, save
from measured import RULES, SAID, Rule, clean
from plan import OWN
from scenarios import HINT, KINDS, LOGITS, PRICED, PRICES, hint
from study import command, page, table

UNGATED = "capture"
MARGIN = 0.02  # of the return
SAVED = 0.3  # of the messages
MAIN = {kind: PRICED[kind, "0.03"] for kind in ("straight-through", "action")}
GATES = {"its own": OWN, "open": {"gates": "open"}, "closed": {"gates": "closed"}, "random": {"gates": "random"}}


def of(book: Book, run: str, metric: str, gates: str = "its own", rule: Rule = "greedy") -> Series:
    """A metric of a team with its own gates or with gates that we control."""
    return clean(book, run, metric, rule, GATES[gates])


def priced(book: Book) -> str:
    """Both kinds of gates at all prices."""
    rows = []
    for (kind, price), run in PRICED.items():
        steps = [book.mean(of(book, run, "mean_steps", rule=rule)) for rule in RULES]
        found = [book.mean(of(book, run, "mean_return"), 3), book.share(of(book, run, "gate_open"))]
        name = f"{kind}, {'price' if price[0] == '0' else 'price set by the target'} {price}"
        teams = book.seeds(of(book, run, "mean_steps"))
        rows.append([name, *steps, *found, book.mean(of(book, run, "messages_per_step")), teams])
    steps = [book.mean(of(book, UNGATED, "mean_steps", rule=rule)) for rule in RULES]
    rows.append(["no gate", *steps, book.mean(of(book, UNGATED, "mean_return"), 3), ""])
    rows[-1] += [book.mean(of(book, UNGATED, "messages_per_step")), book.seeds(of(book, UNGATED, "mean_steps"))]
    columns = ("steps, greedy", "steps, sampled", "return", "gates open", "messages per step", "teams")
    return table(("gate", *columns), rows)


def controlled(book: Book) -> str:
    """Teams with their own gates and with gates that we control."""
    rows = []
    for (kind, price), run in PRICED.items():
        steps = [book.mean(of(book, run, "mean_steps", gates)) for gates in GATES]
        sent = [book.value(of(book, run, "messages_per_step", gates), 1) for gates in ("its own", "random")]
        rows.append([f"{kind}, {price}", *steps, *sent])
    columns = ("own gates", "open", "closed", "random")
    return table(("gate", *columns, "messages, own", "messages, random"), rows)


def hinted(book: Book) -> str:
    """Whether gates open exactly when they should: trained with the same settings from all initial logits."""
    rows = []
    for kind, price, logit in product(KINDS, PRICES, LOGITS):
        precision, recall, exact = (
            of_hint(book, name, kind, price, logit) for name in ("precision", "recall", "exact")
        )
        found = (book.value(precision, 3), book.value(recall, 3), book.value(exact, 0, True), book.seeds(exact))
        rows.append([f"{kind}, price {price}, initial logit {logit}", *found])
    return table(("gate", "precision", "recall", "gates with both at 0.95 or more", "teams"), rows)


def of_hint(book: Book, metric: str, kind: str, price: str, logit: str, explored: bool = True) -> Series:
    """What gates of the hint task reach."""
    return book.cells.series(HINT, f"metrics.{metric}", conditions=hint(kind, price, logit, explored))


def unexplored(book: Book) -> str:
    """What gates reached before closed gates were explored."""
    gates = list(product(KINDS, PRICES))
    found = []
    for logit in LOGITS:
        exact = (of_hint(book, "exact", kind, price, logit, False) for kind, price in gates)
        found.append(f"{', '.join(book.value(one, 0, True) for one in exact)} from {logit}")
    named = ", ".join(f"{kind} at {price}" for kind, price in gates)
    return f"Without that, gates with both at 0.95 or more, {named}: {'; '.join(found)}.\n"


def claims(book: Book) -> dict[str, Claim]:
    """What gates at a price of 0.03 save and cost."""
    sent, reward = (of(book, UNGATED, metric) for metric in ("messages_per_step", "mean_return"))
    out = {}
    for kind, run in MAIN.items():
        own, steps = of(book, run, "messages_per_step"), of(book, run, "mean_steps")
        out[f"saves {kind}"] = Claim(
            sent * (1 - SAVED) - own,
            f"The {kind} gate sends at most 70% of the messages of teams without a gate, and {{d}} per step fewer.",
            f"The {kind} gate sends more than 70% of the messages of teams without a gate: {{d}} per step.",
            f"That the {kind} gate sends at most 70% of the messages of teams without a gate is not shown: {{d}}.",
            LEDGER,
        )
        out[f"costs {kind}"] = Claim(
            (of(book, run, "mean_return") - reward) / reward,
            f"The {kind} gate changes the return by at most {MARGIN} of it: {{d}}.",
            "",
            f"That the {kind} gate changes the return by at most {MARGIN} of it is not shown: {{d}}.",
            margin=MARGIN,
            digits=3,
        )
        out[f"random {kind}"] = Claim(
            of(book, run, "mean_steps", "random") - steps,
            f"Random gates that are open as often as the {kind} gate cost {{d}} steps: when a gate opens matters.",
            f"Random gates that are open as often as the {kind} gate do better: {{d}} steps.",
            f"That it matters when the {kind} gate opens, and not only how often, is not shown: {{d}} steps.",
        )
        out[f"open {kind}"] = Claim(
            of(book, run, "mean_steps", "open") - steps,
            f"Forcing the {kind} gate open costs {{d}} steps.",
            f"Forcing the {kind} gate open saves steps: {{d}}.",
            f"That forcing the {kind} gate open changes the number of steps is not shown: {{d}}.",
        )
    return out | gates_attacked.claims(book)


# Points above or below a mark at which its name stands, where names would lie on each other.
BESIDE = {
    "action, 0.03": 5,
    "action, 0.1": -13,
    "action, rate 0.5": 6,
    "straight-through, 0.03": -18,
    "straight-through, 0.1": -12,
}


def figure(book: Book) -> str:
    """Return against messages, by gate and control."""
    picture, axes = panels(1, 1, (6.4, 3.8))
    marks = {"its own": "o", "open": "^", "random": "x"}  # closed ones would be far below
    runs = {UNGATED: "no gate", **{run: f"{kind}, {price}" for (kind, price), run in PRICED.items()}}
    for run, name in runs.items():
        color = COLORS[4] if run == UNGATED else COLORS[0] if name.startswith("action") else COLORS[1]
        for gates, mark in marks.items() if run != UNGATED else (("its own", "s"),):
            x, y = (list(of(book, run, m, gates).values.values()) for m in ("messages_per_step", "mean_return"))
            if not x:
                continue
            axes[0].plot([np.mean(x)], [np.mean(y)], mark, color=color, ms=5, alpha=1 if gates == "its own" else 0.35)
            if gates == "its own":
                axes[0].annotate(
                    name,
                    (np.mean(x), np.mean(y)),
                    xytext=(4, BESIDE.get(name, -3)),
                    textcoords="offset points",
                    fontsize=6.5,
                    color=color,
                )
    axes[0].set_xlabel("messages per step")
    axes[0].set_ylabel("return")
    picture.tight_layout()
    return save(picture, book, "front", "Return against messages per step by gate")


def made(book: Book) -> str:
    """The page."""
    judged = book.judge(claims(book))
    parts = [
        figure(book),
        "Means over teams. Round: own gates; triangles: all open; crosses: random gates that are"
        " open as often. Further up and left is better.\n",
        "## What a gate saves\n",
        priced(book),
        f"{SAID} Each agent decides in every step, from what it sees, whether to listen; an open gate costs its price"
        " times degree / agents of reward in training only. The price rises from 0 in the first quarter of training to"
        " its full size after three quarters; with a target rate it rises while gates are open more often,"
        " and falls otherwise. These gates closed further than the target and stayed so, the straight-through ones even"
        " at a price that had fallen to 0.\n",
        "## Gates that we control, steps\n",
        controlled(book),
        "Random gates are open with the team's own frequency.\n",
        "## Does it open at the right moment?\n",
        hinted(book),
        "Oracle-Hint with one moment that counts, which is shown to the receiver: the best gate opens exactly then,"
        " whatever the price below 0.75. Teams of `studies/hint_gate.py`, trained with prices from different initial"
        " logits, all with the same settings, greedy gates in 1,000 episodes; numbers are as that script rounded them."
        " Gates that start closed hear too little to learn from, so closed gates are explored: 30% of straight-through"
        " gates are forced open in rollouts (5% by default), the entropy of gates that are actions is rewarded (0.05),"
        " and the price rises from half to nine tenths of training (from one to three quarters by default).",
        unexplored(book),
        "## Under attack\n",
        gates_attacked.figure(book),
        "Teams with the action gate at price 0.03, team by team; what is claimed of attacks below is about these.\n",
        gates_attacked.attacked(book),
        "`force_gate` changes one of the numbers that an agent's sensors report; with `guess` at random, otherwise with"
        " knowledge of the policy. It changes what agents see, so its damage is not only that of the gate.\n",
    ]
    question = "What does a gate that decides when to listen save, does it open when it should, and what if somebody"
    question += " forces it?"
    answer = f"{judged['saves straight-through'].sentence} {judged['costs straight-through'].sentence}"
    return page(book, "The gate: when to listen", question, answer, parts, judged)


if __name__ == "__main__":
    command("gates", made)
