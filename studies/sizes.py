"""Writes docs/sizes.md: teams of 16, 64 and 128, and teams that play in another size than they were trained in.

python studies/sizes.py           evaluates the missing cells and writes the page
python studies/sizes.py --page    only writes the page
"""

from __future__ import annotations

import answers
from answers import Answer
from book import Book, Claim
from cells import Series
from figures import COLORS, lines, panels, save
from measured import RULES, SAID, clean, score, silent
from plan import WITH_CONTROL, Conditions
from scenarios import CARRIED, CLIQUES, COLLISIONS, Scenario
from study import command, page, table

TO_128: Conditions = {"environment": CARRIED}
TO_TEN: Conditions = {"environment": {"members": 10}}
STEPS = 8


def grown(book: Book, tasks: dict[int, Scenario]) -> str:
    """Learned graphs by number of agents, beside known answers."""
    rows = []
    for n, task in tasks.items():
        learned = [book.mean(score(book, task, "", rule), 3) for rule in RULES]
        known = [book.answer(answer) for answer in (task.right, task.random, task.full)]
        sent = book.value(clean(book, task.run, "messages_per_step"), 0)
        rows.append([f"{n} agents", *learned, book.mean(silent(book, task), 3), *known, sent])
    known_too = ("right graph, known", "random, known", "full, known")
    header = ("", "learned, greedy", "learned, sampled", "no messages, trained", *known_too)
    return table((*header, "messages per step"), rows)


def carried(book: Book) -> tuple[Series, Series]:
    """Reward of teams of 64 on the cliques of 128, and of teams that were trained with 128."""
    small = clean(book, "cliques_64_embedded", "mean_return", conditions=TO_128)
    return small * (1 / STEPS), clean(book, "cliques_128_embedded", "mean_return") * (1 / STEPS)


def doubled(book: Book) -> tuple[Series, Series]:
    """Return of teams of five played as ten, and of teams that were trained as ten."""
    return clean(book, "agreement", "mean_return", conditions=TO_TEN), clean(book, "agreement_10", "mean_return")


def others(book: Book) -> str:
    """Teams in another size."""
    rows = []
    own = clean(book, "cliques_64_embedded", "mean_return") * (1 / STEPS)
    for name, series, digits in (
        ("cliques, graph from embeddings, reward per step: trained and evaluated with 64", own, 3),
        ("cliques, graph from embeddings, reward per step: trained with 64, evaluated with 128", carried(book)[0], 3),
        ("cliques, graph from embeddings, reward per step: trained and evaluated with 128", carried(book)[1], 3),
        ("Agreement, return: trained and evaluated with 5", clean(book, "agreement", "mean_return"), 3),
        ("Agreement, return: trained with 5, evaluated with 10", doubled(book)[0], 3),
        ("Agreement, return: trained and evaluated with 10", doubled(book)[1], 3),
    ):
        rows.append([name, book.mean(series, digits), book.seeds(series)])
    return table(("", "reached, greedy", "teams"), rows)


def failed(book: Book, run: str) -> str:
    """How many teams of a run on cliques do worse than silence."""
    least = answers.value(answers.cliques(16, "silent"))
    rewards = (clean(book, run, "mean_return") * (1 / STEPS)).values.values()
    members, without = run.split("_")[1], sum(one < least for one in rewards)
    return (
        f"Of the {len(rewards)} teams that were trained with {members} agents, {without} learned no"
        f" useful graph: they earn less than agents without messages, who can have {least:.3f}."
    )


def claims(book: Book) -> dict[str, Claim]:
    """Teams in another size lose little."""
    small, large = carried(book)
    five, ten = doubled(book)
    out = {
        "carried": Claim(
            small - large * 0.95,
            "Teams of 64 that play as 128 reach at least 95% of the reward of teams trained as 128: they are {d}"
            " above that mark.",
            "Teams of 64 that play as 128 reach less than 95% of the reward of teams trained as 128: {d}.",
            "That teams of 64 that play as 128 reach 95% of the reward of teams trained as 128 is not shown: {d}.",
            digits=3,
        ),
        "doubled": Claim(
            five - ten * 0.9,
            "Teams of five that play as ten reach at least 90% of the return of teams trained as ten: they are {d}"
            " above that mark.",
            "Teams of five that play as ten reach less than 90% of the return of teams trained as ten: {d}.",
            "That teams of five that play as ten reach 90% of the return of teams trained as ten is not shown: {d}.",
            digits=3,
        ),
    }
    for task in (*COLLISIONS.values(), *CLIQUES.values()):
        if task.run not in WITH_CONTROL:
            continue
        out[task.run] = Claim(
            score(book, task) - silent(book, task),
            f"In {task.title}, learned graphs reach {{d}} more than teams without messages.",
            f"In {task.title}, learned graphs reach less than teams without messages: {{d}}.",
            f"In {task.title}, that learned graphs reach more than teams without messages is not shown: {{d}}.",
            digits=3,
        )
    return out


def figure(book: Book) -> str:
    """Reward by number of agents."""
    picture, axes = panels(2, 2, (9, 3.2))
    for one, tasks, title in zip(axes, (COLLISIONS, CLIQUES), ("collisions", "cliques"), strict=True):
        at = list(tasks)
        lines(one, at, [score(book, task) for task in tasks.values()], COLORS[0], "learned")
        lines(one, at, [score(book, task, task.graphs["random"]) for task in tasks.values()], COLORS[1], "random")
        full = {n: score(book, task, task.graphs["full"]) for n, task in tasks.items() if "full" in task.graphs}
        lines(one, list(full), list(full.values()), COLORS[2], "full")
        lines(one, at, [silent(book, task) for task in tasks.values()], COLORS[4], "no messages")
        right: list[Answer] = [task.right for task in tasks.values() if task.right is not None]
        one.plot(at, [answers.value(answer) for answer in right], "k--", lw=0.8)
        one.set_xscale("log", base=2)
        one.set_xticks(at, [str(n) for n in at])
        one.set_xlim(at[0] * 0.9, at[-1] * 2)
        one.set_xlabel("agents")
        one.set_ylabel("reward per step")
        one.set_title(title)
    picture.tight_layout()
    return save(picture, book, "sizes", "Reward by number of agents")


def made(book: Book) -> str:
    """The page."""
    judged = book.judge(claims(book))
    parts = [
        figure(book),
        "Reward by number of agents, team by team; dashed: the right graph, by calculation. Full graphs of 128 agents"
        " were not trained: they cost too much, in reward and in time.\n",
        "## Collisions\n",
        grown(book, dict(COLLISIONS)),
        "## Cliques, each link at a price of 0.01\n",
        grown(book, dict(CLIQUES)),
        f"{SAID} *Known* is by calculation. Teams of different sizes are trained for different numbers of steps, which"
        " [tasks](tasks.md) has, so that these tables tell graphs of the same size apart, not sizes."
        f" {failed(book, 'cliques_16')}\n",
        "## Teams in another size\n",
        others(book),
        "Graphs from embeddings and full graphs fit any number of agents: in a team of twice the size, agent i + 64"
        " has the embedding of agent i, and so has member i + 5. Nothing is trained again."
        f" {failed(book, 'cliques_128_embedded')}\n",
    ]
    question = "Do graphs learn in large teams, and can a team play in another size than it was trained in?"
    answer = f"{judged['carried'].sentence} {judged['doubled'].sentence}"
    return page(book, "Large teams, and teams in another size", question, answer, parts, judged)


if __name__ == "__main__":
    command("sizes", made)
