"""Writes docs/gates.md: what a learned gate saves, and what happens if somebody forces it.

python studies/gates.py           evaluates the missing cells and writes the page
python studies/gates.py --page    only writes the page
"""

from __future__ import annotations

from book import LEDGER, Book, Claim
from cells import Series
from figures import COLORS, dots, panels, save
from plan import GATED, OWN, label
from study import command, page, table

RUN, MARGIN = "capture_gated", 0.25
GATES = {"its own": OWN, "open": {"gates": "open"}, "closed": {"gates": "closed"}, "random": {"gates": "random"}}
# Attacks that do not act at random; others are hardly told from their controls.
DIRECTED = ("force_gate", "force_gate:goal=open", "force_gate:probability=0.25", "tamper", "flood")
METRICS = ("mean_steps", "gate_open", "messages_per_step")


def clean(book: Book, metric: str, gates: str = "its own") -> Series:
    """A metric of the gated team without an attack."""
    return book.cells.series(RUN, f"metrics.{metric}", None, conditions=GATES[gates])


def controlled(book: Book) -> str:
    """The team with its own gates and with gates that we control."""
    rows = []
    for gates in GATES:
        steps, share, messages = (clean(book, metric, gates) for metric in METRICS)
        rows.append([f"{gates} gates", book.mean(steps), book.share(share), book.mean(messages)])
    steps, messages = (book.cells.series("capture", f"metrics.{m}") for m in ("mean_steps", "messages_per_step"))
    rows.append(["team that was trained without a gate", book.mean(steps), "", book.mean(messages)])
    return table(("", "steps", "gates open", "messages per step"), rows)


def attacked(book: Book) -> str:
    """What attacks do to steps, gates and messages."""
    rows = []
    for attack in GATED:
        series = book.cells.series
        damage, control, success = (
            series(RUN, f"effect.{name}", attack) for name in ("damage", "control_damage", "success")
        )
        shares = [book.share(series(RUN, f"metrics.{name}", attack)) for name in METRICS[1:2]]
        sent = book.value(series(RUN, "metrics.messages_per_step", attack))
        rows.append(
            [book.cells.named(RUN, attack), book.mean(damage), book.value(control), book.value(success), *shares, sent]
        )
    return table(("attack", "damage in steps", "control", "success", "gates open", "messages per step"), rows)


def claims(book: Book) -> dict[str, Claim]:
    """What the gate is worth, and what forcing it does."""
    ungated = book.cells.series("capture", "metrics.messages_per_step")
    without = book.cells.series("capture", "metrics.mean_steps")
    steps, sent = clean(book, "mean_steps"), clean(book, "messages_per_step")
    damage = {a: book.cells.series(RUN, "effect.damage", a) for a in GATED}
    control = {a: book.cells.series(RUN, "effect.control_damage", a) for a in GATED}
    out = {
        "saves": Claim(
            ungated - sent,
            "The gate saves {d} messages per step, compared with teams that were trained without one.",
            "The gate costs messages: {d} per step.",
            "That the gate saves messages is not shown: {d} per step.",
            LEDGER,
        ),
        "costs": Claim(
            steps - without,
            f"The gate costs at most {MARGIN} steps: {{d}}.",
            "",
            f"That the gate costs at most {MARGIN} steps is not shown: {{d}}.",
            margin=MARGIN,
        ),
        "random": Claim(
            clean(book, "mean_steps", "random") - steps,
            "Random gates that are open as often cost {d} steps: when a gate opens matters.",
            "Random gates that are open as often do better: {d} steps.",
            "That it matters when the gate is open, and not only how often, is not shown: {d} steps.",
        ),
        "closed": Claim(
            clean(book, "mean_steps", "closed") - steps,
            "Gates that are always closed cost {d} steps.",
            "Gates that are always closed save steps: {d}.",
            "That closed gates cost steps is not shown: {d}.",
        ),
        "open": Claim(
            clean(book, "mean_steps", "open") - steps,
            "Gates that are always open cost {d} steps.",
            "Gates that are always open save steps: {d}.",
            "That always open gates differ from the team's own is not shown: {d} steps.",
        ),
    }
    for attack in DIRECTED:
        out[attack] = Claim(
            damage[attack] - control[attack],
            f"`{label(attack)}` does damage beyond its control: {{d}} steps.",
            f"`{label(attack)}` does less damage than its control: {{d}} steps.",
            f"That `{label(attack)}` does damage beyond its control is not shown: {{d}} steps.",
        )
    out["guess"] = Claim(
        damage["force_gate"] - damage["force_gate:guess=true"],
        "Knowing the policy makes forcing gates closed more harmful than guessing, by {d} steps.",
        "Guessing is more harmful than forcing gates closed with knowledge of the policy: {d} steps.",
        "That knowing the policy makes forcing gates more harmful than guessing is not shown: {d} steps.",
    )
    return out


def figure(book: Book) -> str:
    """Steps and messages under control and under attack."""
    picture, axes = panels(2, 2, (8.6, 3.6), sharey=True)
    harm = {label(a): book.cells.series(RUN, "effect.damage", a) for a in GATED}
    sent = {label(a): book.cells.series(RUN, "metrics.messages_per_step", a) for a in GATED}
    dots(axes[0], harm, "damage in steps")
    dots(axes[1], sent, "messages per step", dict.fromkeys(sent, COLORS[2]))
    own = clean(book, "messages_per_step")
    if own:
        mean = sum(own.values.values()) / len(own.values)
        axes[1].axvline(mean, color=COLORS[1], lw=1)
        axes[1].annotate("no attack", (mean, -0.5), fontsize=7, color=COLORS[1], ha="left", va="bottom")
    picture.tight_layout()
    return save(picture, book, "forced", "Damage and messages of a gated team under attack")


def made(book: Book) -> str:
    """The page."""
    judged = book.judge(claims(book))
    parts = [
        figure(book),
        "A gated team under attack, team by team.\n",
        "## Without an attack\n",
        controlled(book),
        "Random gates are open with the team's own frequency. Each agent decides in every step, from what it sees,"
        " whether to listen; an open gate cost 0.03 of reward in training.\n",
        "## Under attack\n",
        attacked(book),
        "`force_gate` changes one of the numbers that an agent's sensors report; with `guess` at random, otherwise with"
        " knowledge of the policy. It changes what agents see, so its damage is not only that of the gate.\n",
    ]
    question = "What does a gate that decides when to listen save, and what if somebody forces it?"
    answer = f"{judged['saves'].sentence} {judged['force_gate'].sentence}"
    return page(book, "The gate under attack", question, answer, parts, judged)


if __name__ == "__main__":
    command("gates", made)
