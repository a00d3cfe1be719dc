"""Writes docs/tasks.md: what teams reach in each task, between its floors and its known answers, and what it took.

python studies/tasks.py           evaluates the missing cells and writes the page
python studies/tasks.py --page    only writes the page
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import answers
import numpy as np
from answers import Answer
from book import NONE, Book, Claim
from cells import Series
from figures import COLORS, dots, panels, save
from measured import RULES, SAID, Rule, clean, whisper_note
from scenarios import CAPTURE, CLIQUES, COLLISIONS, RELAY, WHISPER, Scenario
from study import command, page, table


class Task(NamedTuple):
    """A task as this page shows it.

    Attributes:
        title: What is measured, and in which unit.
        run: Its teams.
        metric, factor, better: As in :class:`scenarios.Scenario`.
        floor: What agents reach that act at random.
        silent: What scripted agents, or agents by calculation, reach without messages.
        told: The same with messages.
        goal: What teams are to reach.
        digits: Of numbers.
    """

    title: str
    run: str
    metric: str
    factor: float = 1.0
    better: Literal["higher", "lower"] = "higher"
    floor: Answer | None = None
    silent: Answer | None = None
    told: Answer | None = None
    goal: Answer | None = None
    digits: int = 2


def _traffic(level: str, goal: float, floor: float | None, silent: float | None, told: float | None) -> Task:
    known = [None if one is None else answers.given(one) for one in (floor, silent, told, goal)]
    return Task(f"Traffic Junction, {level}: success", f"traffic_{level}", "success", 1.0, "higher", *known, 3)


def _hunt(title: str, run: str, floor: float, goal: float | None = None, scripts: str | None = None) -> Task:
    found = (floor, *answers.SCRIPTED[scripts or run], goal)
    known = [None if one is None else answers.given(one) for one in found]
    return Task(f"{title}: steps", run, "mean_steps", 1.0, "lower", *known)


def _symbols(task: Scenario) -> Task:
    goal = None if task.goal is None else answers.given(round(task.goal, 3))
    known = (task.silent, task.right, goal)
    return Task(f"{task.title}: reward per step", task.run, task.metric, task.factor, task.better, None, *known, 3)


TASKS = (
    _traffic("easy", 0.99, 0.01, 0.61, 0.998),
    _traffic("medium", 0.97, 0.0, None, 1.0),
    _traffic("hard", 0.97, 0.0, None, 1.0),
    _hunt("Predator-Prey 10x10, 5 predators", "prey_10", 40.0, 14.0),
    _hunt("Predator-Prey 10x10, with memory", "prey_10_memory", 40.0, 12.8, "prey_10"),
    _hunt("Predator-Prey 20x20, 10 predators", "prey_20", 80.0, 40.0),
    _hunt("Predator-Capture-Prey", CAPTURE.run, 19.94),
    *(_symbols(task) for task in (*RELAY.values(), *WHISPER, *COLLISIONS.values(), *CLIQUES.values())),
)


def reached(book: Book, task: Task, rule: Rule = "greedy", variant: str = "team") -> Series:
    """What teams reach."""
    found = clean(book, task.run, task.metric, rule, variant=variant)
    return found if task.factor == 1 else found * task.factor


def beyond(book: Book, task: Task) -> Series:
    """By how much a goal is passed."""
    assert task.goal is not None
    gap = reached(book, task) - answers.value(task.goal)
    return gap * -1.0 if task.better == "lower" else gap


def verdict(book: Book, task: Task) -> str:
    """Whether the mean over teams reaches the goal."""
    if task.goal is None:
        return ""
    gap = list(beyond(book, task).values.values())
    return NONE if not gap else "reached" if np.mean(gap) >= 0 else "missed"


def floors(book: Book) -> str:
    """Every task between its floors and its known answers."""
    rows = []
    for task in TASKS:
        known = [book.answer(one, task.digits) for one in (task.floor, task.silent, task.told)]
        found = [book.mean(reached(book, task, rule), task.digits) for rule in RULES]
        floor = book.mean(reached(book, task, "greedy", "control"), task.digits)
        rows.append([task.title, *known, floor, *found, book.answer(task.goal, task.digits), verdict(book, task)])
    header = ("task", "random", "silent, known", "told, known", "no messages, trained", "greedy", "sampled", "goal")
    return table((*header, "verdict"), rows)


def budgets(book: Book) -> str:
    """What it took."""
    rows = []
    for task in TASKS:
        took = [clean(book, task.run, "mean_return")]
        steps, seconds = (book.cells.series(task.run, f"training.{name}") for name in ("env_steps", "seconds"))
        rows.append([task.title.partition(":")[0], book.value(steps / 1e6, 2), book.value(seconds / 60, 1)])
        rows[-1].append(book.seeds(took[0]))
    return table(("task", "million environment steps", "minutes of training", "teams"), rows)


def claims(book: Book) -> dict[str, Claim]:
    """Goals, and whether messages are worth something."""
    out = {}
    for task in TASKS:
        if task.goal is None:
            continue
        title, goal = task.title.partition(":")[0], f"{answers.value(task.goal):.{task.digits}f}"
        most = "at most" if task.better == "lower" else "at least"
        out[task.run] = Claim(
            beyond(book, task),
            f"{title}: teams reach {most} {goal}, with {{d}} to spare.",
            f"{title}: teams miss their goal, {most} {goal}, by {{d}}.",
            f"{title}: that teams reach {most} {goal} is not shown; to spare: {{d}}.",
            digits=3,
        )
    return out


def figure(book: Book) -> str:
    """Success and reward of all tasks, and steps."""
    picture, axes = panels(2, 2, (9.4, 3.4))
    shares = {task.title.partition(":")[0]: reached(book, task) for task in TASKS if task.better == "higher"}
    steps = {task.title.partition(":")[0]: reached(book, task) for task in TASKS if task.better == "lower"}
    dots(axes[0], shares, "success, or reward per step")
    dots(axes[1], steps, "steps", dict.fromkeys(steps, COLORS[2]))
    picture.tight_layout()
    return save(picture, book, "reached", "What teams reach in each task")


def made(book: Book) -> str:
    """The page."""
    judged = book.judge(claims(book))
    found = [verdict(book, task) for task in TASKS if task.goal is not None]
    missed = [task.title.partition(":")[0] for task in TASKS if verdict(book, task) == "missed"]
    parts = [
        figure(book),
        "## Between floors and known answers\n",
        floors(book),
        f"{SAID} Known answers are in closed form, or of scripted agents; those of Predator-Prey and"
        " Predator-Capture-Prey remember where they have been, which of the teams only the one with memory can. Traffic"
        " Junction is at its full rate of arrivals; the known silent agents of its easy map see the cells around them."
        " Goals were set before the training, from published results, known answers and what an earlier version"
        " reached. [Graphs](graphs.md) describes the tasks from relay line on.\n",
        whisper_note(book),
        "## What it took\n",
        budgets(book),
        "On one core, without the evaluation, beside other work: equal trainings differ up to threefold. A curriculum"
        " counts: its steps are among those of the table, and every team is evaluated on the unchanged task.\n",
    ]
    question = "What do teams reach in tasks whose floors and answers are known, and what does it take?"
    shown = sum(one.outcome == "above" for one in judged.values())
    answer = (
        f"{found.count('reached')} of {len(found)} goals are reached by the mean over teams, {shown} of them shown by a"
        " test over ten teams."
        f" Missed: {', '.join(missed) or 'none'}."
    )
    return page(book, "Tasks with known answers", question, answer, parts, judged)


if __name__ == "__main__":
    command("tasks", made)
