"""Writes docs/methods.md: methods of communication on the same task, with the same budget of tuning and training.

python studies/methods.py           evaluates the missing cells and writes the page
python studies/methods.py --page    only writes the page
"""

from __future__ import annotations

import answers
import numpy as np
from book import Book, Claim
from cells import Series
from figures import COLORS, dots, panels, save
from measured import RULES, SAID, Rule, clean, whisper_note
from peers import METHODS, RATES, label
from scenarios import ORDERED, PEER_LIMIT, PEERS, TUNING
from study import command, page, table

MAGIC_LIMIT = 6.5
STEPS = 8  # of an episode of Whisper
MEMORY = ("CommFormer", "MAGIC")  # with and without memory, and the same rounds
OTHERS = tuple(name for name in PEERS if name != "CommFormer" and not name.endswith(("memory", "messages")))


def steps(book: Book, name: str, rule: Rule = "greedy") -> Series:
    """Steps that a method needs."""
    return clean(book, PEERS[name], "mean_steps", rule)


def passes(book: Book, name: str) -> bool:
    """Whether a method's teams reach the reference level, greedily."""
    found = steps(book, name)
    return bool(found) and float(np.mean(list(found.values.values()))) <= PEER_LIMIT


def compared(book: Book, names: list[str]) -> str:
    """Steps, success, messages and bytes of some methods."""
    rows = []
    for name in names:
        series = [steps(book, name, rule) for rule in RULES]
        sent, size = (clean(book, PEERS[name], m) for m in ("messages_per_step", "bytes_per_step"))
        success = book.value(clean(book, PEERS[name], "success"), 3)
        told = [book.value(sent, 1), book.value(size, 0)]
        rows.append([name, *(book.mean(one) for one in series), success, *told, book.seeds(series[0])])
    header = ("method", "steps, greedy", "steps, sampled", "success", "messages per step", "bytes per step", "teams")
    return table(header, rows)


def ordered(book: Book) -> str:
    """Whisper, where it matters who listens first."""
    rows = []
    for name, run in ORDERED.items():
        found = [clean(book, run, "mean_return", rule) * (1 / STEPS) for rule in RULES]
        rows.append([name, *(book.mean(one, 3) for one in found), book.seeds(found[0])])
    for name, graph in (("one peer per step", "one_peer"), ("a new random matching in every step", "matching")):
        rows.append([f"by calculation: {name}", book.answer(answers.whisper(16, graph)), "", ""])
    return table(("method", "reward per step, greedy", "sampled", "teams"), rows)


def tuned(book: Book) -> str:
    """Steps with every setting that was tried, in teams of other seeds that are trained for half as long."""
    names = {run: name for name, run in PEERS.items()} | {"peer_commformer": "CommFormer"}
    rows = []
    for method, (_, option, choices) in METHODS.items():
        by = {
            (rate, choice): book.cells.series(TUNING, "metrics.mean_steps", conditions=label(method, rate, choice))
            for choice in choices
            for rate in RATES
        }
        means = {setting: np.mean(list(series.values.values())) for setting, series in by.items() if series}
        best = min(means, key=lambda setting: means[setting]) if len(means) == len(by) else None
        for choice in choices:
            mark = f"`{best[0]:g}`" if best and best[1] == choice else ""
            shown = f"`{option.rpartition('.')[2]}: {choice}`"
            rows.append([names[f"peer_{method}"], shown, *(book.mean(by[rate, choice]) for rate in RATES), mark])
    header = ("method", "option", *(f"steps, learning rate `{rate:g}`" for rate in RATES), "best, with rate")
    return table(header, rows)


def claims(book: Book) -> dict[str, Claim]:
    """Methods against CommFormer, what memory adds, and MAGIC's level."""
    out = {}
    for name in OTHERS:
        out[name] = Claim(
            steps(book, "CommFormer") - steps(book, name),
            f"{name} needs {{d}} steps less than CommFormer.",
            f"{name} needs more steps than CommFormer: {{d}}.",
            f"That {name} and CommFormer need different numbers of steps is not shown: {{d}}.",
        )
    for name in MEMORY:
        out[f"memory {name}"] = Claim(
            steps(book, name) - steps(book, f"{name}, with memory"),
            f"Memory saves {name} {{d}} steps.",
            f"With memory, {name} needs more steps: {{d}}.",
            f"That memory saves {name} steps is not shown: {{d}}.",
        )
    out["magic"] = Claim(
        steps(book, "MAGIC") * -1.0 + MAGIC_LIMIT,
        f"MAGIC needs less than {MAGIC_LIMIT} steps, by {{d}}.",
        f"MAGIC needs more than {MAGIC_LIMIT} steps: {{d}}.",
        f"That MAGIC needs less than {MAGIC_LIMIT} steps is not shown: {{d}}.",
    )
    return out


def figure(book: Book) -> str:
    """Steps of every method, greedily and sampled."""
    picture, axes = panels(2, 2, (9.4, 4.2), sharey=True)
    for one, rule in zip(axes, RULES, strict=True):
        entries = {name: steps(book, name, rule) for name in PEERS if steps(book, name)}
        dots(one, entries, f"steps, {rule}")
        one.axvline(PEER_LIMIT, color=COLORS[1], lw=1)
        one.set_xlim(4.5, 20.5)
    picture.tight_layout()
    return save(picture, book, "steps", "Steps of teams by method")


def made(book: Book) -> str:
    """The page."""
    judged = book.judge(claims(book))
    inside = [name for name in PEERS if passes(book, name)]
    trained = [name for name in PEERS if steps(book, name)]
    outside = [name for name in trained if name not in inside]
    absent = [name for name in PEERS if name not in trained]
    level = book.answer(answers.given(PEER_LIMIT), 1)
    silent, told = answers.SCRIPTED["capture"]
    parts = [
        figure(book),
        f"Every team a dot; the line is the reference level, {level} steps.\n",
        "## Methods that reach the reference level\n",
        compared(book, inside),
        f"{SAID} Bytes are those of all messages of a step with their envelopes.\n",
        "## Methods that miss it\n",
        compared(book, outside),
        "These numbers say how this implementation does with this budget, and nothing about the method."
        + (f" Not trained yet: {', '.join(absent)}." if absent else "")
        + f" A scripted team that remembers where it has been needs {silent} steps without messages and {told} with"
        " them.\n",
        "## Whisper, where the order of listening matters\n",
        ordered(book),
        "A sender reaches one listener per exchange. Teams are trained for 600,000 steps, those that learn a graph of"
        " each step with a learning rate of 0.003 and their own weights of entropy, the others with 0.002. The random"
        " matching was simulated.\n",
        whisper_note(book),
        "## The budget\n",
        "Every method was trained on Predator-Capture-Prey with a width of 32 and the same settings of PPO, for 400,000"
        " steps; tables say with how many seeds. `studies/peers.py` gave each of these the same small budget of tuning:"
        " two learning rates, one option of its architecture in two settings, and two other seeds, which are trained"
        " for half as long. Each was trained with the setting that needed the fewest steps.\n",
        tuned(book),
        "Teams with memory have the default options, so TarMAC has two rounds with memory and one without, and IC3Net"
        " one and two. MAPPO, IPPO and ExpoComm as released were not tuned, nor was CommFormer on the full graph."
        " Methods differ in what they send: CommFormer learns a graph with half of the links, the others have all of"
        " them, and those with several rounds send a message per link in each.\n",
        "The static ExpoComm as released mixes only memories, which start at 0: no observation ever enters a message,"
        " and its teams are silent whatever they send (`tests/policies/test_memory_peers.py`). The corrected one adds"
        " what an agent sees to its memory. Both send the memory of the step before, so news travels a step late.\n",
    ]
    question = "Which methods of communication learn Predator-Capture-Prey, with equal budgets?"
    talking = [name for name in trained if not name.endswith("no messages")]
    answer = (
        f"{len(inside)} of {len(talking)} methods and variants that exchange messages reach the reference level of"
        f" {PEER_LIMIT} steps with greedy decisions."
        f" {judged['magic'].sentence}"
    )
    return page(book, "Methods of communication with equal budgets", question, answer, parts, judged)


if __name__ == "__main__":
    command("methods", made)
