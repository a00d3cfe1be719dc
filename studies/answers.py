"""Known answers of tasks, as mean reward of an agent per step: in closed form, or simulated where a note says so.

An answer is plain data, so that tests/studies/recompute.py can compute its value again with code of its own.
"""

from __future__ import annotations

from math import comb
from typing import Any

Answer = dict[str, Any]
SYMBOLS, RHO, GROUP, ERROR, PRICE = 4, 0.2, 5, 0.2, 0.01

# Mean steps of teams of envs.gridworld.scripted, whose scouts remember where they have been: without messages, and with
# them. tests/studies/test_scripted_answers.py plays them again.
SCRIPTED = {"capture": (14.19, 6.34), "prey_10": (28.0, 12.54), "prey_20": (72.2, 29.2)}


def collisions(members: int, graph: str) -> Answer:
    """Oracle-Hint in one round, where each further message to a receiver destroys a message with chance ``RHO``."""
    links = members - 1 if graph == "full" else 1
    informed = 1 / (members - 1) if graph == "random" else 1.0
    return {"task": "collisions", "links": links, "informed": informed, "rho": RHO, "symbols": SYMBOLS}


def cliques(members: int, graph: str, links: int = GROUP - 1) -> Answer:
    """Cliques: majorities of the bits of the own group, net of the price of links."""
    links = {"full": members - 1, "silent": 0}.get(graph, links)
    about = {"task": "cliques", "graph": graph, "members": members, "links": links}
    return about | {"group": GROUP, "error": ERROR, "price": PRICE}


def relay(members: int, graph: str, memory: bool) -> Answer:
    """Relay line in two rounds per step, in episodes of as many steps as there are agents."""
    return {"task": "relay", "graph": graph, "members": members, "memory": memory, "symbols": SYMBOLS}


def whisper(members: int, graph: str) -> Answer:
    """Whisper: how fast a symbol spreads; ``matching`` is a new random matching in every step, simulated."""
    about = {"task": "whisper", "graph": graph, "members": members, "symbols": SYMBOLS}
    return about | ({"share": 0.676} if graph == "matching" else {})


def given(number: float) -> Answer:
    """A goal, or a number that was measured once."""
    return {"task": "given", "value": number}


def value(answer: Answer) -> float:
    """The value of an answer."""
    if answer["task"] == "given":
        return float(answer["value"])
    of_task = {"collisions": _collisions, "cliques": _cliques, "relay": _relay, "whisper": _whisper}
    return of_task[answer["task"]](answer)


def _reward(known: float, symbols: int) -> float:
    """Mean reward if a share of agents knows the symbol, and the others guess."""
    return 1 / symbols + (1 - 1 / symbols) * known


def _collisions(a: Answer) -> float:
    return _reward(a["informed"] * (1 - a["rho"]) ** (a["links"] - 1), a["symbols"])


def _majority(voters: int, error: float) -> float:
    """The chance that most of several noisy bits are right; ties count half."""
    total = 0.0
    for right in range(voters + 1):
        chance = comb(voters, right) * (1 - error) ** right * error ** (voters - right)
        total += chance * (1.0 if 2 * right > voters else 0.5 if 2 * right == voters else 0.0)
    return total


def _cliques(a: Answer) -> float:
    n, links = a["members"], a["links"]
    count = n // a["group"]
    total = 0.0
    for index in range(count):
        size = n // count + (index < n % count)
        mates = size - 1
        for heard in range(min(mates, links) + 1):
            if a["graph"] == "random":
                chance = comb(mates, heard) * comb(n - 1 - mates, links - heard) / comb(n - 1, links)
            else:
                chance = float(heard == min(mates, links))
            total += size / n * chance * _majority(1 + heard, a["error"])
    return total - a["price"] * links


def _relay(a: Answer) -> float:
    n, known = a["members"], 0.0
    for step in range(1, n + 1):
        reached = 0 if a["graph"] == "silent" else min(2 * (step if a["memory"] else 1), n - 1)
        for place in range(reached + 1):  # the last agent has one neighbor only
            known += 2.0 ** -min(place, n - 2) if a["graph"] == "random" else 1.0
    return _reward(known / n**2, a["symbols"])


def _whisper(a: Answer) -> float:
    n = a["members"]
    steps = 2 * (n - 1).bit_length()
    grown = {"one_peer": lambda t: 2**t, "ring": lambda t: 1 + t, "silent": lambda t: 1}
    if "share" in a:
        return _reward(a["share"], a["symbols"])
    share = sum(min(grown[a["graph"]](t), n) for t in range(1, steps + 1)) / (n * steps)
    return _reward(share, a["symbols"])
