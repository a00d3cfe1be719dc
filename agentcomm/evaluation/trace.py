"""The messages of one episode of a cell, one by one: its episodes are run again, and the messages written down.

Episodes are functions of what their cell records, so nothing needs to be kept while thousands are evaluated.
"""

from __future__ import annotations

from typing import Any

from agentcomm.base.errors import RunError
from agentcomm.evaluation.cells import Cell
from agentcomm.evaluation.grid import evaluated
from agentcomm.evaluation.setup import gate_probability, load_team, prepare, run_cell
from agentcomm.network.record import ExchangeRecord, Fate
from agentcomm.runs.folder import Run


def messages(run: Run, cell: Cell, episode: int) -> list[dict[str, Any]]:
    """Run a cell again and write down the messages of one of its episodes.

    Args:
        run: The run.
        cell: Which cell.
        episode: Number of the episode, 0 .. episodes - 1.

    Returns:
        One entry per message in the order of the exchanges: ``step``, ``exchange``, ``receiver``, ``sender`` (claimed),
        ``origin`` (true; N for an outsider), ``sequence``, ``sent_at``, ``expiry``, ``hops``, ``bytes``, ``length`` of
        the payload, ``fate``, ``accepted``, ``refused_by``.

    Raises:
        RunError: If the team is not trained, there is no such episode, or gates are to open as often as in a cell that
            is not evaluated.
    """
    if (cell.variant, cell.seed) not in run.trained():
        raise RunError(f"{run.path} has no trained team of seed {cell.seed}")
    if not 0 <= episode < cell.episodes:
        raise RunError(f"episode {episode} is not one of 0 .. {cell.episodes - 1}")
    world, policy, comms = prepare(cell, load_team(run, cell), cell.episodes)
    traces: list[list[ExchangeRecord]] = []
    gates = gate_probability(cell, evaluated(run))
    episodes = run_cell(cell, world, policy, comms, gates, watch=traces.append)
    length = int(episodes.length[episode])
    exchanges = [(step, notes) for step, trace in enumerate(traces[:length]) for notes in trace]
    return [entry for step, notes in exchanges for entry in _entries(notes, step, episode)]


def _entries(notes: ExchangeRecord, step: int, world: int) -> list[dict[str, Any]]:
    """The messages of one exchange in one world."""
    out = []
    fate = notes.fields["fate"][world]
    for receiver, slot in zip(*fate.nonzero(), strict=True):
        at = (world, receiver, slot)
        entry: dict[str, Any] = {"step": step, "exchange": notes.round, "receiver": int(receiver)}
        entry |= {name: notes.fields[name][at].item() for name in ("sender", "origin", "sequence", "sent_at", "expiry")}
        entry |= {"hops": int(notes.fields["hops"][at]), "bytes": int(notes.fields["size"][at])}
        entry |= {"length": round(float(notes.fields["length"][at]), 4), "fate": str(Fate(fate[receiver, slot]))}
        entry |= {"accepted": bool(notes.fields["accepted"][at])}
        entry["refused_by"] = next((by for by, where in notes.refused.items() if where[at]), None)
        out.append(entry)
    return out
