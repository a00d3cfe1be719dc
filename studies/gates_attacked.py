"""The gated team under attack: the second half of docs/gates.md."""

from __future__ import annotations

from book import Book, Claim
from figures import COLORS, dots, panels, save
from plan import GATED, label
from study import table

RUN = "capture_gated"
# Attacks that do not act at random; others are hardly told from their controls.
DIRECTED = ("force_gate", "force_gate:goal=open", "force_gate:probability=0.25", "tamper", "flood")


def attacked(book: Book) -> str:
    """What attacks do to steps, gates and messages."""
    rows = []
    for attack in GATED:
        series = book.cells.series
        damage, control, success = (
            series(RUN, f"effect.{name}", attack) for name in ("damage", "control_damage", "success")
        )
        shares = [book.share(series(RUN, f"metrics.{name}", attack)) for name in ("gate_open",)]
        sent = book.value(series(RUN, "metrics.messages_per_step", attack))
        rows.append(
            [book.cells.named(RUN, attack), book.mean(damage), book.value(control), book.value(success), *shares, sent]
        )
    return table(("attack", "damage in steps", "control", "success", "gates open", "messages per step"), rows)


def claims(book: Book) -> dict[str, Claim]:
    """What attacks do beyond their controls."""
    damage = {a: book.cells.series(RUN, "effect.damage", a) for a in GATED}
    control = {a: book.cells.series(RUN, "effect.control_damage", a) for a in GATED}
    out = {}
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
    own = book.cells.series(RUN, "metrics.messages_per_step")
    if own:
        mean = sum(own.values.values()) / len(own.values)
        axes[1].axvline(mean, color=COLORS[1], lw=1)
        axes[1].annotate("no attack", (mean, -0.5), fontsize=7, color=COLORS[1], ha="left", va="bottom")
    picture.tight_layout()
    return save(picture, book, "forced", "Damage and messages of a gated team under attack")
