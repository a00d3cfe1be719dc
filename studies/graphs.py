"""Writes docs/graphs.md: what a learned graph is worth, by task.

python studies/graphs.py           evaluates the missing cells and writes the page
python studies/graphs.py --page    only writes the page
"""

from __future__ import annotations

import answers
from book import CLAIM_SEEDS, Book, Claim
from cells import Series
from figures import COLORS, dots, panels, save
from measured import RULES, SAID, Rule, by_messages, clean, score, share, silent, whisper_note
from scenarios import BY_DISTANCE, BY_NAME, CAPTURE, CLIQUES, COLLISIONS, EIGHT, SCENARIOS, SCHEDULED, WHISPER, Scenario
from study import command, page, table

COLUMNS = ("random", "full", "ring", "exponential", "one_peer")
LEAST = 0.6  # of the worth of messages
# Nothing is claimed on the graph of one scheduler for all, which tells agents things by itself, so that its reward says
# little about whom it lets them hear; nor on the largest teams, of which few are trained.
NO_CLAIMS = (SCHEDULED, COLLISIONS[128], CLIQUES[128])


def compared(book: Book, rule: Rule) -> str:
    """Every task with every graph."""
    rows = []
    for task in SCENARIOS:
        given = [book.mean(score(book, task, task.graphs[g], rule), 3) if g in task.graphs else "" for g in COLUMNS]
        ends = [book.mean(series, 3) for series in (score(book, task, "", rule), silent(book, task, rule))]
        rows.append([_named(task), ends[0], *given, ends[1]])
    names = ("random, same k", "full", "ring", "exponential", "one peer per step")
    return table(("task", "learned", *names, "no messages"), rows)


def known(book: Book) -> str:
    """What the best and other graphs reach by calculation."""
    rows = []
    for task in SCENARIOS:
        if task.right is not None:
            found = [book.answer(a) for a in (task.right, task.full, task.random, task.silent)]
            ratio = score(book, task) / answers.value(task.right)
            rows.append([task.title, *found, book.value(score(book, task), 3), book.mean(ratio, 1, percent=True)])
    return table(("task", "right graph", "full", "random", "no messages", "learned", "learned, of the right one"), rows)


def shares(book: Book) -> str:
    """What learning the graph adds, as a part of the worth of messages."""
    rows = [[task.title, book.mean(_difference(book, task), 3), book.mean(share(book, task), 2)] for task in SCENARIOS]
    return table(("task", "learned better than random by", "part of the worth of messages"), rows)


def spread(book: Book) -> str:
    """Whisper: what teams reach, and what they would by messages alone."""
    rows = []
    for task in WHISPER:
        series = score(book, task), by_messages(book, task), score(book, task) - by_messages(book, task)
        rows.append([task.title, *(book.mean(one, 3) for one in series), book.seeds(series[1])])
    for name, graph in (
        ("by calculation: one peer per step", "one_peer"),
        ("simulated: a new random matching in every step", "matching"),
    ):
        known = [book.answer(answers.whisper(16, graph)) for _ in range(2)]  # each printed number has an entry
        rows.append([name, *known, "", ""])
    return table(("graph of each step", "reward per step", "by messages alone", "beyond them", "teams"), rows)


def eight(book: Book) -> str:
    """All graphs of three agents with one link each."""
    rows = []
    for run, heard in EIGHT.items():
        found = [book.mean(clean(book, run, "mean_steps", rule)) for rule in RULES]
        rows.append([f"{heard}", *found, book.value(clean(book, run, "messages_per_step"))])
    learned = [book.mean(score(book, CAPTURE, "", rule)) for rule in RULES]
    rows.append(["learned", *learned, book.value(clean(book, CAPTURE.run, "messages_per_step"))])
    return table(("agents 0, 1, 2 listen to", "steps, greedy", "steps, sampled", "messages per step"), rows)


def best(book: Book) -> str:
    """The best of the eight, chosen on half of the teams."""
    found = {run: clean(book, run, "mean_steps") for run in EIGHT}
    measured = sum(len(series.values) >= CLAIM_SEEDS for series in found.values())
    if measured < len(EIGHT):
        return (
            f"The best of the eight is not named: {measured} of them have the {CLAIM_SEEDS} teams that it takes to"
            " choose on one half and to report on the other.\n"
        )
    name, steps = book.chosen(found, "lower")
    half = "chosen on half of the teams and reported on the other"
    return f"The best of the eight, {half}, is the one in which agents listen to {EIGHT[name]}: {steps} steps.\n"


def _named(task: Scenario) -> str:
    return f"{task.title} ({'steps, fewer are better' if task.better == 'lower' else 'reward per step'})"


def _difference(book: Book, task: Scenario) -> Series:
    """By how much a learned graph is better than a random one."""
    found = score(book, task) - score(book, task, task.graphs["random"])
    return found * -1.0 if task.better == "lower" else found


def claims(book: Book) -> dict[str, Claim]:
    """Learned against random graphs, the part of the worth of messages, and what each task asks for."""
    out: dict[str, Claim] = {}
    for task in SCENARIOS:
        if task in NO_CLAIMS:
            continue
        out[f"worth {task.run}"] = Claim(
            _difference(book, task),
            f"In {task.title}, learned graphs do better than random ones with as many links, by {{d}}.",
            f"In {task.title}, learned graphs do worse than random ones with as many links: {{d}}.",
            f"In {task.title}, that learned graphs do better than random ones with as many links is not shown: {{d}}.",
            digits=3,
        )
        out[f"share {task.run}"] = Claim(
            share(book, task) - LEAST,
            f"In {task.title}, learning the graph adds more than {LEAST} of the worth of messages, by {{d}}.",
            f"In {task.title}, learning the graph adds less than {LEAST} of the worth of messages: {{d}}.",
            f"In {task.title}, that learning the graph adds more than {LEAST} of the worth of messages is not shown:"
            f" {{d}} from it.",
        )
    for task, wanted in (
        *((COLLISIONS[n], "97% of the right graph's reward") for n in (16, 64)),
        (CLIQUES[64], "a reward of at least 0.88"),
        *((task, "what a new random matching in every step reaches") for task in (BY_NAME, BY_DISTANCE)),
    ):
        out[f"goal {task.run}"] = Claim(
            score(book, task) - float(task.goal or 0),
            f"In {task.title}, learned graphs reach {wanted}, and {{d}} more.",
            f"In {task.title}, learned graphs miss {wanted}: {{d}}.",
            f"In {task.title}, that learned graphs reach more than {wanted} is not shown: {{d}} from it.",
            digits=3,
        )
    for task in (BY_NAME, BY_DISTANCE):
        out[f"messages {task.run}"] = Claim(
            by_messages(book, task) - float(task.goal or 0),
            f"In {task.title}, messages alone bring {{d}} more than a new random matching in every step.",
            f"In {task.title}, messages alone bring less than a new random matching in every step: {{d}}.",
            f"In {task.title}, that messages alone bring more than a new random matching in every step is not shown:"
            f" {{d}}.",
            digits=3,
        )
    return out


def figure(book: Book) -> str:
    """What learning the graph adds by task, and the eight graphs."""
    picture, axes = panels(2, 2, (9.4, 3.6))
    dots(axes[0], {task.title: share(book, task) for task in SCENARIOS}, "part of the worth of messages")
    axes[0].axvline(LEAST, color=COLORS[1], lw=1)
    axes[0].set_xlim(-0.6, 1.6)
    entries = {heard: clean(book, run, "mean_steps") for run, heard in EIGHT.items()}
    entries["learned"] = score(book, CAPTURE)
    dots(axes[1], entries, "steps (Predator-Capture-Prey)", {"learned": COLORS[1]})
    if any(entries.values()):
        low, high = (end(v for s in entries.values() for v in s.values.values()) for end in (min, max))
        axes[1].set_xlim(low - 0.2, high + 0.2)
    axes[1].set_ylabel("agents 0, 1, 2 listen to")
    picture.tight_layout()
    return save(picture, book, "worth", "What learning a graph adds, by task; all eight graphs of three agents")


def made(book: Book) -> str:
    """The page."""
    judged = book.judge(claims(book))
    large = [task.title for task in SCENARIOS if (one := judged.get(f"share {task.run}")) and one.outcome == "above"]
    parts = [
        figure(book),
        "Left: (learned - random) / (learned - no messages), team by team; the line is at 0.6. Right: the mean number"
        " of steps of teams on each of the eight graphs, and on the learned one.\n",
        "## Greedy decisions\n",
        compared(book, "greedy"),
        f"{SAID} Of the tasks, *collisions* is Oracle-Hint, in which each agent needs what one other knows, with a"
        " channel on which messages to the same receiver destroy each other; in *cliques* hidden groups share a bit,"
        " and links cost; in *relay line* symbols come along a chain; in *whisper* a symbol spreads to all. Learned"
        " and random graphs have as many senders per receiver (k), *full* has all, a *ring* the agent before,"
        " *exponential* those 1, 2, 4, ... places before, and *one peer per step* one of these in turn. With three"
        " agents, ring, exponential and full graph are the same. `whisper` has a new graph in every step, if it is"
        " learned; teams with a given one are trained with a learning rate of 0.002, those that learn one with 0.003"
        " and their own weights of entropy. In cliques of 16 agents, learned graphs are trained with a discount of 0"
        " and an entropy weight of 2, given ones with 0.99 and 0.5; in those of 64 all alike. Teams without messages"
        " were trained so.\n",
        "## Sampled decisions\n",
        compared(book, "sampled"),
        "## Known answers\n",
        known(book),
        "In closed form, for agents that make the best of what they hear; tests hold scripted agents against them.\n",
        "## Whisper: by messages, and beyond\n",
        spread(book),
        whisper_note(book),
        "By messages alone: the reward of agents that name the symbol if they held it or heard somebody who knew it,"
        " and else pass, in 4,096 other episodes (`studies/spread.py`).\n",
        "## What learning the graph adds\n",
        shares(book),
        "Where no teams were trained without messages, the known answer of such agents stands in for them. A part above"
        " 1 says that a random graph does worse than silence.\n",
        "## All eight graphs of Predator-Capture-Prey\n",
        eight(book),
        best(book),
    ]
    question = (
        "Is a learned graph better than a random one with as many links, and how much of what messages are worth?"
    )
    answer = (
        f"{judged['worth capture'].sentence} The part of the worth of messages that a learned graph adds to a random"
        f" one is more than {LEAST} in {', '.join(large) or 'none of the tasks'}."
    )
    return page(book, "What a learned graph is worth", question, answer, parts, judged)


if __name__ == "__main__":
    command("graphs", made)
