"""Draws the task market as text and as an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from agentcomm.contracts.world import DrawnMessage

CELL = 16  # pixels per task and worker
WHITE, GREY, BLUE, RED = (255, 255, 255), (225, 225, 225), (60, 110, 200), (200, 60, 60)


def text(scene: dict[str, Any], agents: Sequence[str], links: list[DrawnMessage]) -> str:
    """One line per task, one with the outcomes of earlier tasks, and one per link."""
    workers = len(scene["skill"])
    names = agents[len(scene["need"]) :]
    lines = []
    for number, (need, time, hops, holder) in enumerate(
        zip(scene["need"], scene["time"], scene["hops"], scene["holder"], strict=True)
    ):
        where = "in hand" if holder < 0 else "with an outsider" if holder == workers else f"with {names[holder]}"
        cards = ", ".join(names[n] if n < workers else "a stranger" for n in scene["shown_name"][number] if n >= 0)
        left = f"{time} steps and {hops} hops left"
        lines.append(f"{agents[number]} needs skill {need}, {left}, {where}; listed: {cards or 'nobody'}")
    lines.append(f"{scene['delivered']} delivered, {scene['failed']} failed, {scene['expired']} expired")
    lines += [f"{agents[link.sender]} -> {agents[link.receiver]}: {link.fate}" for link in links]
    return "\n".join(lines)


def picture(scene: dict[str, Any]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """[R * CELL, (W + 1) * CELL, 3] uint8: tasks are blue at a worker, red at an outsider, and grey where listed."""
    tasks, workers = len(scene["need"]), len(scene["skill"])
    cells = np.full((tasks, workers + 1, 3), WHITE, np.uint8)
    for number, (holder, listed) in enumerate(zip(scene["holder"], scene["shown_name"], strict=True)):
        for name in listed:
            if name >= 0:
                cells[number, min(name, workers)] = GREY
        if holder >= 0:
            cells[number, holder] = RED if holder == workers else BLUE
    return cells.repeat(CELL, 0).repeat(CELL, 1)
