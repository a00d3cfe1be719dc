"""Writes docs/environments.md: what messages are worth in each environment, and what training takes.

python studies/environments.py           evaluates the missing cells and writes the page
python studies/environments.py --page    only writes the page
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import answers
from answers import Answer
from book import SUCCESS, Book, Claim
from cells import Series
from figures import COLORS, dots, panels, save
from measured import RULES, SAID, Rule, clean
from study import command, page, table

from agentcomm.statistics.estimates import REAL, SHARE


class Place(NamedTuple):
    """An environment as this page shows it.

    Attributes:
        title: Its name, and what is measured.
        run: Its teams, with a control that was trained without messages.
        metric, factor, better: As in :class:`scenarios.Scenario`.
        random, silent, told: What scripted agents reach: at random, without messages, with messages.
        digits: Of numbers.
    """

    title: str
    run: str
    metric: str = "mean_return"
    factor: float = 1.0
    better: Literal["higher", "lower"] = "higher"
    random: Answer | None = None
    silent: Answer | None = None
    told: Answer | None = None
    digits: int = 2


def _native(
    title: str,
    run: str,
    random: float | None,
    silent: float | None,
    told: float | None,
    metric: str = "mean_return",
    factor: float = 1.0,
    digits: int = 2,
) -> Place:
    known = [None if one is None else answers.given(one) for one in (random, silent, told)]
    return Place(title, run, metric, factor, "higher", *known, digits)


NATIVE = (
    _native("Hallway: success", "hallway", None, None, 1.0, "success"),
    _native("Hallway-C: success", "hallway_c", None, 0.2, 1.0, "success"),
    _native("Sensor consensus: reward per step", "sensor_consensus", None, -0.340, -0.122, factor=1 / 4, digits=3),
    _native(
        "Sensor consensus, continuous: reward per step",
        "sensor_consensus_continuous",
        None,
        -0.340,
        -0.122,
        factor=1 / 4,
        digits=3,
    ),
    _native("Cyber defense: return", "cyber_defense", -12.1, -13.5, -2.5),
    _native("Speaker-Listener: return", "speaker_listener", -40.7, -15.8, -7.7),
    _native("Speaker-Listener, continuous: return", "speaker_listener_continuous", -40.7, -15.8, -6.1),
    _native("Relay: return", "relay", -0.53, None, -0.147, digits=3),
    _native("Predator-Capture-Prey: steps", "capture", None, *answers.SCRIPTED["capture"], "mean_steps")._replace(
        better="lower"
    ),
    _native(
        "Oracle-Hint, colliding messages: reward per step", "collisions_16", 0.25, 0.25, 1.0, factor=1 / 8, digits=3
    ),
    _native("Agreement: return", "agreement_9", None, None, None),
    _native("Reactor: return", "reactor", None, None, None),
    _native("Task market: return", "market", None, None, None),
)
OTHERS = (
    Place("lbforaging, two agents that see one cell: steps", "foraging", "mean_steps", better="lower"),
    Place("mpe2 speaker_listener: return", "mpe_speaker_listener"),
)
ENVIRONMENTS = (*NATIVE, *OTHERS)


def reached(book: Book, place: Place, rule: Rule = "greedy", variant: str = "team") -> Series:
    """What teams reach."""
    return clean(book, place.run, place.metric, rule, variant=variant) * place.factor


def untrained(book: Book, place: Place) -> Series:
    """What the same teams reach before training, with sampled decisions."""
    return book.cells.series(place.run, f"references.untrained.{place.metric}") * place.factor


def worth(book: Book, place: Place) -> Series:
    """By how much teams with messages are better than those that were trained without."""
    gap = reached(book, place) - reached(book, place, variant="control")
    return gap * -1.0 if place.better == "lower" else gap


def measured(book: Book) -> list[Place]:
    """The environments whose teams are evaluated."""
    return [place for place in ENVIRONMENTS if reached(book, place)]


def results(book: Book) -> str:
    """Every environment between its floors and its known answers."""
    rows = []
    for place in measured(book):
        known = [book.answer(one, place.digits) for one in (place.random, place.silent, place.told)]
        scale, differences = (SHARE, SUCCESS) if place.metric == "success" else (REAL, REAL)
        found = [book.mean(reached(book, place, rule), place.digits, scale) for rule in RULES]
        before = book.value(untrained(book, place), place.digits)
        without = book.mean(reached(book, place, variant="control"), place.digits, scale)
        gained = book.mean(worth(book, place), place.digits, differences)
        rows.append([place.title, *known, before, without, *found, gained])
        rows[-1].append(book.seeds(worth(book, place)))
    header = ("environment", "random", "silent, known", "told, known", "untrained", "no messages, trained")
    return table((*header, "greedy", "sampled", "worth of messages", "teams"), rows)


def budgets(book: Book) -> str:
    """What training took."""
    rows = []
    for place in measured(book):
        steps, seconds = (book.cells.series(place.run, f"training.{name}") for name in ("env_steps", "seconds"))
        rows.append([place.title.partition(":")[0], book.value(steps / 1e6, 2), book.value(seconds / 60, 1)])
    return table(("environment", "million environment steps", "minutes of training"), rows)


def claims(book: Book) -> dict[str, Claim]:
    """That messages are worth something."""
    return {
        place.run: Claim(
            worth(book, place),
            f"{place.title}: with messages, teams are better than those trained without by {{d}}.",
            f"{place.title}: with messages, teams are worse than those trained without, by {{d}}.",
            f"{place.title}: that messages are worth anything is not shown; the difference is {{d}}.",
            digits=3,
        )
        for place in measured(book)
    }


def figure(book: Book) -> str:
    """How far teams get that were trained without messages, on the way from untrained teams to those with messages."""
    picture, axes = panels(1, 1, (6.4, 3.4))
    shares = {}
    for place in measured(book):
        before = untrained(book, place)
        without = reached(book, place, variant="control") - before
        shares[place.title.partition(":")[0]] = without / (reached(book, place) - before)
    dots(axes[0], shares, "without messages; 0: untrained, 1: with messages", dict.fromkeys(shares, COLORS[1]))
    picture.tight_layout()
    return save(picture, book, "worth", "What teams without messages reach")


def made(book: Book) -> str:
    """The page."""
    judged = book.judge(claims(book))
    count = {
        where: (sum(judged[place.run].outcome == "above" for place in some if place.run in judged), len(some))
        for where, some in {"this package": NATIVE, "others": OTHERS}.items()
    }
    left = [place.title.partition(":")[0] for place in ENVIRONMENTS if place.run not in judged]
    parts = [
        figure(book),
        "## Results\n",
        results(book),
        f"{SAID} *Known* are scripted agents or closed forms, as the environments' pages give them; *untrained* are the"
        " initial weights, with sampled decisions; *no messages, trained* are teams of the same policy, budget and"
        " seeds that were trained without messages. *Worth of messages* is greedy with messages minus greedy without,"
        " seed by seed (for steps, the other way). The figure has the distance from untrained teams in units of what"
        " teams with messages gain.\n",
        "In mpe2's speaker_listener the speaker's own actions reach the listener too, so that teams trained without"
        " messages may learn to speak by them.\n",
        "## What it took\n",
        budgets(book),
        "On one core, for one team with messages, beside other work. A curriculum counts: its steps are among those of"
        " the table, and every team is evaluated on the unchanged task.\n",
    ]
    question = "What are messages worth in each environment, and what does training take?"
    told = " and ".join(f"{won} of {of} tasks of {where}" for where, (won, of) in count.items())
    answer = f"Teams with messages are shown to beat teams trained without on {told}."
    answer += f" Not trained yet: {'; '.join(left)}." if left else ""
    return page(book, "What messages are worth in each environment", question, answer, parts, judged)


if __name__ == "__main__":
    command("environments", made)
