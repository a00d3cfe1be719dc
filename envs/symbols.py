"""What the tasks in which agents name symbols have in common: observations, scenes and pictures."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, Literal, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import one_hot

from agentcomm.contracts.world import DrawnMessage, Observation, World, WorldConfig
from envs.gridworld.drawing import FATE_COLORS, Picture

CELL = 16  # pixels of a picture per sender and receiver

Members = Annotated[int, Field(ge=2, le=8192, description="number of agents")]
Symbols = Annotated[int, Field(ge=2, le=64, description="number of symbols")]
Steps = Annotated[int, Field(ge=1, description="steps of an episode")]


class SymbolsConfig(WorldConfig):
    """Arguments of all tasks in which agents name symbols in episodes of fixed length."""

    members: Members = 8
    max_steps: Steps = 8


class WiredConfig(SymbolsConfig):
    """Arguments of those in which it is drawn per team which agents inform each other."""

    wiring: int | None = Field(
        None, ge=0, description="seed of what informs whom; the team's training seed when not given"
    )

    def of_team(self, seed: int) -> Self:
        """The arguments with the team's own wiring."""
        return self if self.wiring is not None else self.model_copy(update={"wiring": seed})


def layout(kind: Literal["dense", "indices"], width: int, vocabulary: int) -> Observation:
    """The layout of observations of ``width`` indices into ``vocabulary`` codes, or of their one-hot codes."""
    if kind == "dense":
        return Observation("dense", vocabulary, low=0.0, high=1.0)
    return Observation("indices", width, vocabulary)


def arranged(indices: Tensor, where: Observation) -> Tensor:
    """Observations of a layout: indices [B, N, K] with -1 for unused entries, or the sum of their one-hot codes."""
    if where.kind == "indices":
        return indices
    return one_hot(indices + 1, where.width + 1)[..., 1:].sum(-2).float()


def readings(world: World, *entries: Collection[int]) -> Tensor | None:
    """What :meth:`World.readings` returns, given the indices that each entry can show, -1 for none."""
    where = world.layout
    if where.kind == "dense":
        return None
    shown = torch.zeros(world.num_agents, where.width, where.vocabulary + 1, dtype=torch.bool, device=world.device)
    for entry, indices in enumerate(entries):
        shown[:, entry, [index + 1 for index in indices]] = True
    return shown


def check_keys(scene: Mapping[str, Any], keys: Collection[str]) -> None:
    """Raise a ValueError unless a scene has exactly these keys."""
    if set(scene) != set(keys):
        only = f"the one key {next(iter(keys))!r}" if len(keys) == 1 else f"the keys {', '.join(map(repr, keys))}"
        raise ValueError(f"scene: it must have {only}, not {list(scene)}")


def read_numbers(scene: Mapping[str, Any], key: str, count: int, below: int, what: str = "symbols") -> Tensor:
    """[count] int64, the numbers 0 .. below - 1 that a scene lists under a key.

    Raises:
        ValueError: If there are more or fewer, or one is out of range.
    """
    given = scene[key]
    valid = isinstance(given, list) and all(type(number) is int and 0 <= number < below for number in given)
    if not valid or len(given) != count:
        raise ValueError(f"scene: {key!r} must be a list of {count} {what} 0 .. {below - 1}, not {given!r}")
    return torch.tensor(given)


def draw_text(lines: Sequence[str], agents: Sequence[str], links: Sequence[DrawnMessage] | None) -> str:
    """The lines, and one line per message."""
    drawn = [f"{agents[link.sender]} -> {agents[link.receiver]}: {link.fate}" for link in links or ()]
    return "\n".join([*lines, *drawn])


def draw_links(agents: int, links: Sequence[DrawnMessage] | None) -> Picture:
    """The messages of a step as a matrix of receivers (rows) and senders (columns), in the colors of their fates."""
    picture = np.full((agents * CELL, agents * CELL, 3), 255, np.uint8)
    for link in links or ():
        row, column = link.receiver * CELL, link.sender * CELL
        picture[row : row + CELL, column : column + CELL] = FATE_COLORS[link.fate]
    return picture


def draw_dots(picture: Picture, dots: Mapping[tuple[int, int], int]) -> Picture:
    """The picture with dots: cells (receiver, sender) and their gray values 0 .. 255."""
    for (receiver, sender), shade in dots.items():
        row, column = receiver * CELL + CELL // 4, sender * CELL + CELL // 4
        picture[row : row + CELL // 2, column : column + CELL // 2] = shade
    return picture


def check_mode(mode: str) -> None:
    """Raise a ValueError for an unknown render mode."""
    if mode not in ("ansi", "rgb_array"):
        raise ValueError(f"render mode must be 'ansi' or 'rgb_array', not {mode!r}")
