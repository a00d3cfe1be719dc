"""The messages of one evaluated episode, one by one: played again from the cell's record, and written down.

Episodes are functions of what their cell records, so nothing needs to be kept while thousands are evaluated.
"""

from __future__ import annotations

from typing import Any

from agentcomm import policy_file
from agentcomm.config import EvaluationConfig
from agentcomm.errors import RunError
from agentcomm.evaluation.episodes import play
from agentcomm.evaluation.grid import Cell, plan, prepare
from agentcomm.messages.network import FATES, Notes
from agentcomm.run import Run


def cell_of(run: Run, settings: EvaluationConfig, seed: int) -> Cell:
    """The one cell of these settings that is attacked, defended, or on another path, of a team.

    Raises:
        RunError: If that seed is not trained.
    """
    cells = [cell for cell in plan(run, settings) if cell.variant == "team" and cell.seed == seed]
    if not cells:
        raise RunError(f"{run.path} has no trained team of seed {seed}")
    return cells[-1]


def messages(run: Run, cell: Cell, episode: int) -> list[dict[str, Any]]:
    """Play a cell again and write down the messages of one of its episodes.

    Args:
        run: The run.
        cell: Which cell; see :func:`cell_of`.
        episode: Number of the episode, 0 .. episodes - 1.

    Returns:
        One entry per message in the order of the exchanges: ``step``, ``exchange``, ``receiver``, ``sender`` (claimed),
        ``origin`` (true; N for an outsider), ``sequence``, ``sent_at``, ``expiry``, ``hops``, ``bytes``, ``length`` of
        the payload, ``fate``, ``accepted``, ``refused_by``.

    Raises:
        RunError: If there is no such episode.
    """
    if not 0 <= episode < cell.episodes:
        raise RunError(f"episode {episode} is not one of 0 .. {cell.episodes - 1}")
    saved = policy_file.load(run.policy(cell.variant, cell.seed))
    world, policy, comms = prepare(cell, saved, cell.episodes)
    tapes: list[list[Notes]] = []
    played = play(world, policy, comms, cell.episode_seed, watch=tapes.append, obedience=cell.obedience)
    length = int(played.length[episode])
    exchanges = [(step, notes) for step, tape in enumerate(tapes[:length]) for notes in tape]
    return [entry for step, notes in exchanges for entry in _entries(notes, step, episode)]


def _entries(notes: Notes, step: int, world: int) -> list[dict[str, Any]]:
    """The messages of one exchange in one world."""
    out = []
    fate = notes.fields["fate"][world]
    for receiver, slot in zip(*fate.nonzero(), strict=True):
        at = (world, receiver, slot)
        entry: dict[str, Any] = {"step": step, "exchange": notes.kind, "receiver": int(receiver)}
        entry |= {name: notes.fields[name][at].item() for name in ("sender", "origin", "sequence", "sent_at", "expiry")}
        entry |= {"hops": int(notes.fields["hops"][at]), "bytes": int(notes.fields["size"][at])}
        entry |= {"length": round(float(notes.fields["length"][at]), 4), "fate": FATES[fate[receiver, slot]]}
        entry |= {"accepted": bool(notes.fields["accepted"][at])}
        entry["refused_by"] = next((by for by, where in notes.refused.items() if where[at]), None)
        out.append(entry)
    return out
