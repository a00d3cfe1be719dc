"""Numbers of teams that nobody attacks, decided greedily or drawn at random."""

from __future__ import annotations

from typing import Literal

import answers
from book import Book
from cells import Series
from plan import OWN, Conditions
from scenarios import SCHEDULED, SPREAD, Scenario

Rule = Literal["greedy", "sampled"]
RULES: tuple[Rule, ...] = ("greedy", "sampled")
SAID = "Greedy decisions take the likeliest action and open gates that are more likely open; sampled ones draw both."


def clean(
    book: Book, run: str, metric: str, rule: Rule = "greedy", conditions: Conditions = OWN, variant: str = "team"
) -> Series:
    """A metric of a team. Each cell without an attack holds the other rule of decisions beside its own."""
    field = f"metrics.{metric}" if rule == "greedy" else f"references.sampled.{metric}"
    return book.cells.series(run, field, None, conditions=conditions, variant=variant)


def score(book: Book, task: Scenario, run: str = "", rule: Rule = "greedy", variant: str = "team") -> Series:
    """What a team reaches in a task: that of the learned graph, or of another run."""
    found = clean(book, run or task.run, task.metric, rule, variant=variant)
    return found if task.factor == 1 else found * task.factor


def silent(book: Book, task: Scenario, rule: Rule = "greedy") -> Series:
    """What teams reach that were trained without messages."""
    return score(book, task, "", rule, "control")


def share(book: Book, task: Scenario) -> Series:
    """The part of the worth of messages that a learned graph adds to a random one with as many links.

    Where no teams were trained without messages, the known answer of such agents stands in.
    """
    learned, without = score(book, task), silent(book, task)
    least = without if without or task.silent is None else answers.value(task.silent)
    return (learned - score(book, task, task.graphs["random"])) / (learned - least)


def by_messages(book: Book, task: Scenario) -> Series:
    """The reward per step on whisper that agents would get for what they know by messages alone."""
    return book.cells.series(SPREAD, "metrics.by_messages", conditions=task.run)


def whisper_note(book: Book) -> str:
    """How many teams of whisper do better than messages allow, and why they can."""
    found, most = score(book, SCHEDULED), answers.value(SCHEDULED.right or answers.given(1.0))
    over = sum(reward > most for reward in found.values.values())
    return (
        f"In whisper, {book.answer(SCHEDULED.right)} is the most that messages alone achieve, and {over} of"
        f" {book.seeds(found)} teams with one scheduler for all exceed it. As MAGIC's, this scheduler (`dynamic`) sees"
        " the hidden vectors of all agents: whom it lets an agent hear can tell the agent the symbol, whatever the"
        " message says. Receivers that choose by themselves (`individual`) know only what they observe and what"
        " arrives. By name, they must find out how to share senders among themselves; by distance on a ring, those that"
        " see alike choose different senders from the start, and learn only which distance in which step. A lost"
        " message tells something, too: somebody else listened to its sender, and some teams that choose by name have"
        " made this a sign for a symbol. `tests/studies/test_whisper_scheduler.py` shows both.\n"
    )
