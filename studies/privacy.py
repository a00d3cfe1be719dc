"""Writes docs/privacy.md: what messages reveal, and how much can be hidden in messages and actions.

python studies/privacy.py           evaluates the missing cells and writes the page
python studies/privacy.py --page    only writes the page
"""

from __future__ import annotations

from book import PREDICATE, PROBE, Book, Claim
from cells import Series, capacity
from figures import COLORS, dots, lines, panels, save
from plan import CODECS, COVERT, LEAKS, OWN, READERS, SAMPLED, WARDENS, Conditions, aware, label, watched
from study import command, page, table

RUN, GATED = "capture", "capture_gated"
BITS = {"leak:bits=32": 32.0}  # secret bits per step; 8 otherwise
NODE = "covert:node=2"
MARGIN = 0.25  # steps
SECRETS = 64  # of which `covert` tells one


def right(book: Book, run: str, attack: str, conditions: Conditions = OWN) -> tuple[Series, Series]:
    """Share of right guesses, and of right guesses without the messages."""
    fields = ("metrics.guessed_right", "metrics.guessed_right_a_priori")
    accuracy, prior = (book.cells.series(run, field, attack, conditions=conditions) for field in fields)
    return accuracy, prior


def readers(book: Book) -> str:
    """What readers guess right."""
    rows = []
    for name, run, attack in (*((a, RUN, a) for a in READERS), ("eavesdrop, gated team", GATED, READERS[0])):
        accuracy, prior = right(book, run, attack)
        told = book.cells.named(run, attack) + (", gated team" if run == GATED else "")
        rate, control = (book.cells.series(run, f"effect.{f}", attack) for f in ("rate", "control_rate"))
        gain = book.mean(accuracy - prior, 1, percent=True)
        rows.append([told, book.share(prior, 1), book.share(accuracy, 1), gain, book.share(rate), book.share(control)])
        del name
    header = ("attack", "right a priori", "right with messages", "gain", "episodes read", "control")
    return table(header, rows)


def leaked(book: Book, attack: str, conditions: Conditions = OWN) -> Series:
    """Bits per message that an accomplice reads, as capacity of a binary symmetric channel."""
    return capacity(right(book, RUN, attack, conditions)[0]) * BITS.get(attack, 8.0)


def leaks(book: Book) -> str:
    """What fits into the low digits of messages."""
    rows = []
    under = [*((a, OWN) for a in LEAKS), *(("leak", {"codec": codec}) for codec in CODECS)]
    for attack, conditions in under:
        accuracy, _ = right(book, RUN, attack, conditions)
        damage = book.cells.series(RUN, "effect.damage", attack, conditions=conditions)
        codec = f", codec `{conditions['codec']}`" if conditions else ""
        told = book.cells.named(RUN, attack, conditions) + codec
        rows.append([told, book.share(accuracy, 1), book.mean(leaked(book, attack, conditions)), book.mean(damage)])
    return table(("attack", "bits read correctly", "bits per message", "damage in steps"), rows)


def per_step(book: Book, attack: str, defense: str = "none") -> Series:
    """Bits per step that actions reveal about the secret."""
    bits = book.cells.series(RUN, "attack.actions.bits", attack, defense, SAMPLED)
    return bits / book.cells.series(RUN, "metrics.mean_steps", attack, defense, SAMPLED)


def covert(book: Book) -> str:
    """What fits into actions."""
    rows = []
    for attack in COVERT:
        series = [book.cells.series(RUN, f, attack, conditions=SAMPLED) for f in ("effect.rate", "effect.damage")]
        off = book.cells.series(RUN, "attack.actions.deviation", attack, conditions=SAMPLED)
        bits = book.cells.series(RUN, "attack.actions.bits", attack, conditions=SAMPLED)
        told = [book.mean(bits), book.mean(per_step(book, attack), 3), book.share(series[0]), book.mean(series[1])]
        rows.append([book.cells.named(RUN, attack, SAMPLED), *told, book.value(off, 6)])
    header = ("attack", "bits per episode", "bits per step", "secrets told", "damage in steps", "change of action law")
    return table(header, rows)


def wardens(book: Book) -> str:
    """What a warden does to the channel."""
    rows = []
    for p in WARDENS:
        defense = watched(p)
        clean = book.cells.series(RUN, "metrics.mean_steps", None, defense, SAMPLED)
        cost = clean - book.cells.series(RUN, "metrics.mean_steps", conditions=SAMPLED)
        told = []
        for attack in (NODE, aware(p)):
            bits = book.cells.series(RUN, "attack.actions.bits", attack, defense, SAMPLED)
            told += [book.mean(bits), book.share(book.cells.series(RUN, "effect.rate", attack, defense, SAMPLED))]
        rows.append([f"{p:g}", book.mean(cost), *told])
    header = ("resampled actions", "clean cost in steps", "bits, naive sender", "told", "bits, aware sender", "told")
    return table(header, rows)


def figure(book: Book) -> str:
    """Gains of readers, and the covert channel against the warden."""
    picture, axes = panels(2, 2, (8.6, 2.6))
    gains = {}
    for name, run, attack in (*((label(a), RUN, a) for a in READERS), ("eavesdrop, gated team", GATED, READERS[0])):
        accuracy, prior = right(book, run, attack)
        gains[name] = (accuracy - prior) * 100.0
    dots(axes[0], gains, "percentage points right beyond the prior")
    at = (0.0, *WARDENS)
    naive = [book.cells.series(RUN, "attack.actions.bits", NODE, d, SAMPLED) for d in ("none", *map(watched, WARDENS))]
    knowing = [book.cells.series(RUN, "attack.actions.bits", aware(p), watched(p), SAMPLED) for p in WARDENS]
    lines(axes[1], at, naive, COLORS[0], "naive")
    lines(axes[1], at[1:], knowing, COLORS[1], "aware")
    axes[1].set_xlabel("share of actions that the warden samples again")
    axes[1].set_ylabel("bits per episode")
    axes[1].set_ylim(0, None)
    picture.tight_layout()
    return save(picture, book, "leakage", "What readers gain, and what actions reveal under a warden")


def claims(book: Book) -> dict[str, Claim]:
    """What leaks, and what helps."""
    out = {}
    for attack in READERS:
        accuracy, prior = right(book, RUN, attack)
        name = label(attack)
        out[attack] = Claim(
            (accuracy - prior) * 100.0,
            f"With the messages, `{name}` guesses agents' private facts right more often than without, by {{d}}"
            " percentage points.",
            f"With the messages, `{name}` guesses less often right than without: {{d}} percentage points.",
            f"That `{name}` learns anything beyond the prior is not shown: {{d}} percentage points.",
            PROBE,
            digits=1,
        )
    for attack in ("leak:epsilon=0.001", "leak"):
        accuracy, prior = right(book, RUN, attack)
        out[attack] = Claim(
            (accuracy - prior) * 100.0,
            f"An accomplice reads the bits of `{label(attack)}` right more often than by chance, by {{d}} points.",
            f"An accomplice reads the bits of `{label(attack)}` right less often than by chance: {{d}} points.",
            f"That an accomplice reads the bits of `{label(attack)}` is not shown: {{d}} points beyond chance.",
            PREDICATE,
            digits=1,
        )
    out["unseen"] = Claim(
        book.cells.series(RUN, "effect.damage", "leak"),
        f"The team's score does not reveal `leak`: it costs at most {MARGIN} steps ({{d}}).",
        "",
        f"That `leak` costs at most {MARGIN} steps is not shown: {{d}}.",
        margin=MARGIN,
    )
    exact, _ = right(book, RUN, "leak")
    for codec in CODECS:
        coded, _ = right(book, RUN, "leak", {"codec": codec})
        out[codec] = Claim(
            (exact - coded) * 100.0,
            f"Codec `{codec}` destroys part of what `leak` hides: {{d}} points fewer bits are read correctly.",
            f"Codec `{codec}` helps `leak`: {{d}} points.",
            f"That codec `{codec}` destroys what `leak` hides is not shown: {{d}} points.",
            PREDICATE,
            digits=1,
        )
    rate = book.cells.series(RUN, "effect.rate", NODE, conditions=SAMPLED)
    out["covert"] = Claim(
        (rate - 1 / SECRETS) * 100.0,
        f"An observer of the blind agent's actions tells one of {SECRETS} secrets more often than by chance, by {{d}}"
        " percentage points.",
        "An observer of the blind agent's actions tells the secret less often than by chance: {d} points.",
        "That an observer of actions tells the secret is not shown: {d} points beyond chance.",
        PREDICATE,
        digits=1,
    )
    p = WARDENS[-1]
    bits = book.cells.series(RUN, "attack.actions.bits", NODE, conditions=SAMPLED)
    left = book.cells.series(RUN, "attack.actions.bits", aware(p), watched(p), SAMPLED)
    out["warden"] = Claim(
        bits - left,
        f"A warden that samples {p:.0%} of actions again takes {{d}} bits per episode from a sender that expects it.",
        f"A warden that samples {p:.0%} of actions again adds bits: {{d}}.",
        f"That a warden that samples {p:.0%} of actions again takes bits from a sender that expects it is not shown:"
        " {d} bits per episode.",
        PREDICATE,
    )
    clean = book.cells.series(RUN, "metrics.mean_steps", None, watched(p), SAMPLED)
    out["warden cost"] = Claim(
        clean - book.cells.series(RUN, "metrics.mean_steps", conditions=SAMPLED),
        f"Without an attack, the warden costs at most {MARGIN} steps: {{d}}.",
        "",
        f"That the warden costs at most {MARGIN} steps without an attack is not shown: {{d}}.",
        margin=MARGIN,
    )
    return out


def made(book: Book) -> str:
    """The page."""
    judged = book.judge(claims(book))
    deviation = book.cells.series(RUN, "attack.actions.deviation", NODE, conditions=SAMPLED)
    parts = [
        figure(book),
        "Left: what readers guess right beyond the prior, team by team. Right: what the blind agent's actions reveal"
        " about a secret, against the warden.\n",
        "## Readers\n",
        readers(book),
        "A probe that we trained on half of the episodes guesses private facts of agents in the other half. *A priori*:"
        " always the most frequent answer for that agent and step. The control reads the same messages shuffled among"
        " episodes. A probe gives a lower bound: another reader may learn more.\n",
        "## In the low digits of messages\n",
        leaks(book),
        "Bits per message: capacity of a binary symmetric channel with the measured accuracy, times the hidden"
        " bits. The"
        " attack presupposes an accomplice among the receivers.\n",
        "## In actions\n",
        covert(book),
        "Actions are sampled here. *Secrets told*: episodes after which the secret is the observer's only best guess."
        f" *Change of action law*: largest difference between the probability of an action and the policy's, to an"
        f" observer that does not know the secret: {book.value(deviation, 6)}, so no test on action statistics can find"
        " it (evidence: analytical, by construction of the coupling; the measurement checks the code).\n",
        "## The warden\n",
        wardens(book),
        "A warden (defense `warden`) samples some of the actions again from the policy's distribution. A naive sender"
        " does not expect it.\n",
    ]
    question = "What do messages reveal to somebody who only listens, and how much can a traitor tell unseen?"
    answer = f"{judged[READERS[0]].sentence} {judged['covert'].sentence}"
    return page(book, "Privacy and covert capacity", question, answer, parts, judged)


if __name__ == "__main__":
    command("privacy", made)
