"""The executed communication graph and its traffic as SVG geometry, over all seeds and for each seed."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SHAPES = ("circle", "square", "triangle", "diamond", "hexagon")
RADIUS = 34.0  # of the ring of nodes, in a box of 100 x 100

Matrices = Mapping[int, Sequence[Sequence[float]]]
Weight = tuple[int, int, float, str]  # sender, receiver, width of the edge from 0 to 1, and its words


@dataclass(frozen=True)
class Node:
    """An agent at (x, y)."""

    name: str
    short: str
    kind: str
    shape: str
    x: float
    y: float
    label_x: float
    label_y: float
    anchor: str


@dataclass(frozen=True)
class Edge:
    """An arrow from sender to receiver; ``head`` holds the corners of its tip."""

    path: str
    head: str
    width: float
    share: float
    title: str


@dataclass(frozen=True)
class Picture:
    """A graph in the form that the page draws.

    Attributes:
        title: Seeds that it shows.
        nodes: Agents on a ring.
        edges: Arrows between them.
        size: Radius of a node.
        summary: The edges as text.
        wide: Whether full names are printed next to the nodes.
        view: The view box.
    """

    title: str
    nodes: list[Node]
    edges: list[Edge]
    size: float
    summary: str
    wide: bool
    view: str


def pictures(graphs: Matrices, agents: Sequence[str], traffic: Matrices | None = None) -> list[Picture]:
    """The graph and the traffic over all seeds (if there are several), then both of each seed.

    Args:
        graphs: Executed adjacency by seed; entry [i][j] = receiver i hears sender j. Other shapes are skipped.
        agents: Names of the N agents.
        traffic: Mean accepted messages per step from sender j to receiver i by seed, in the same layout.
    """
    n = len(agents)
    links, flows = _fitting(graphs, n), _fitting(traffic or {}, n)
    if not n or not (links or flows):
        return []
    out = []
    if len(links) > 1:
        out.append(_picture(f"graph, all {len(links)} seeds", _shares(list(links.values()), agents), agents, wide=True))
    if len(flows) > 1:
        mean = [[sum(f[i][j] for f in flows.values()) / len(flows) for j in range(n)] for i in range(n)]
        title = f"traffic, mean of {len(flows)} seeds"
        out.append(_picture(title, _flows(mean, None, agents), agents, wide=True))
    seeds = sorted({*links, *flows})
    for seed in seeds:
        link, flow = links.get(seed), flows.get(seed)
        edges = _shares([link], agents) if flow is None and link is not None else _flows(flow or [], link, agents)
        out.append(_picture(f"seed {seed}", edges, agents, wide=len(seeds) == 1))
    return out


def _fitting(matrices: Matrices, n: int) -> dict[int, Sequence[Sequence[float]]]:
    return {s: m for s, m in matrices.items() if n and len(m) == n and all(len(row) == n for row in m)}


def _shares(graphs: Sequence[Sequence[Sequence[float]]], agents: Sequence[str]) -> list[Weight]:
    """Edges by the share of graphs that have them."""
    out = []
    for receiver, sender in _pairs(len(agents)):
        share = sum(bool(g[receiver][sender]) for g in graphs) / len(graphs)
        words = f"{agents[receiver]} hears {agents[sender]}"
        if len(graphs) > 1:
            words += f" in {round(share * len(graphs))} of {len(graphs)} seeds"
        if share:
            out.append((sender, receiver, share, words))
    return out


def _flows(
    flow: Sequence[Sequence[float]], links: Sequence[Sequence[float]] | None, agents: Sequence[str]
) -> list[Weight]:
    """Edges by their share of the busiest edge's messages; edges of the graph without messages have none."""
    most = max((flow[i][j] for i, j in _pairs(len(agents))), default=0.0) or 1.0
    out = []
    for receiver, sender in _pairs(len(agents)):
        rate = flow[receiver][sender]
        if rate > 0 or (links is not None and links[receiver][sender]):
            words = f"{agents[receiver]} accepts {rate:.2f} messages per step from {agents[sender]}"
            out.append((sender, receiver, min(1.0, max(0.0, rate / most)), words))
    return out


def _pairs(n: int) -> list[tuple[int, int]]:
    return [(receiver, sender) for receiver in range(n) for sender in range(n) if sender != receiver]


def kind_of(agent: str) -> str:
    """An agent's kind: its name without the number."""
    return re.sub(r"_?\d+$", "", agent) or agent


def kinds_of(agents: Sequence[str]) -> dict[str, str]:
    """Shape by kind, in order of appearance."""
    kinds = dict.fromkeys(kind_of(agent) for agent in agents)
    return {kind: SHAPES[i % len(SHAPES)] for i, kind in enumerate(kinds)}


def short_name(agent: str) -> str:
    """``perception_0`` as ``P0``."""
    number = re.search(r"\d+$", agent)
    return agent[:1].upper() + (number.group() if number else "")


def _picture(title: str, weights: Sequence[Weight], agents: Sequence[str], wide: bool) -> Picture:
    n = len(agents)
    shapes = kinds_of(agents)
    size = min(9.0, 75.0 / n)
    nodes = []
    for i, agent in enumerate(agents):
        angle = 2 * math.pi * i / n - math.pi / 2
        x, y = 50 + RADIUS * math.cos(angle), 50 + RADIUS * math.sin(angle)
        reach = size + 5
        anchor = "middle" if abs(math.cos(angle)) < 0.3 else ("start" if math.cos(angle) > 0 else "end")
        nodes.append(
            Node(
                agent,
                short_name(agent),
                kind_of(agent),
                shapes[kind_of(agent)],
                round(x, 2),
                round(y, 2),
                round(50 + (RADIUS + reach) * math.cos(angle), 2),
                round(50 + (RADIUS + reach) * math.sin(angle) + 1.5, 2),
                anchor,
            )
        )
    edges = [_edge(nodes[sender], nodes[receiver], weight, size, words) for sender, receiver, weight, words in weights]
    said = [words for *_, words in weights]
    summary = f"{title}: " + ("; ".join(said[:40]) or "no edges")
    wide = wide and n <= 12
    top = min(node.y for node in nodes) - size - (10 if wide else 3)
    bottom = max(node.y for node in nodes) + size + (8 if wide else 3)
    left, width = (-28, 156) if wide else (4, 92)
    view = f"{left} {top:.1f} {width} {bottom - top:.1f}"
    return Picture(title, nodes, sorted(edges, key=lambda e: e.share), size, summary, wide, view)


def _edge(sender: Node, receiver: Node, share: float, size: float, title: str) -> Edge:
    """A quadratic curve bent to its right, so that both directions of a pair are separate."""
    dx, dy = receiver.x - sender.x, receiver.y - sender.y
    length = math.hypot(dx, dy) or 1.0
    bend = 0.14 * length
    cx, cy = (sender.x + receiver.x) / 2 - dy / length * bend, (sender.y + receiver.y) / 2 + dx / length * bend
    width = 0.5 + 1.7 * share
    tip = 2.2 + 1.6 * width
    start = _toward(sender.x, sender.y, cx, cy, size + 1.5)
    point = _toward(receiver.x, receiver.y, cx, cy, size + 1.8)
    base = _toward(point[0], point[1], cx, cy, tip)
    ux, uy = (point[0] - base[0]) / tip, (point[1] - base[1]) / tip
    left = (base[0] - uy * tip * 0.5, base[1] + ux * tip * 0.5)
    right = (base[0] + uy * tip * 0.5, base[1] - ux * tip * 0.5)
    path = f"M{start[0]:.2f} {start[1]:.2f}Q{cx:.2f} {cy:.2f} {base[0]:.2f} {base[1]:.2f}"
    head = " ".join(f"{x:.2f},{y:.2f}" for x, y in (point, left, right))
    return Edge(path, head, round(width, 2), share, title)


def _toward(x: float, y: float, to_x: float, to_y: float, by: float) -> tuple[float, float]:
    length = math.hypot(to_x - x, to_y - y) or 1.0
    return x + (to_x - x) / length * by, y + (to_y - y) / length * by
