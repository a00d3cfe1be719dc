"""Trace of one episode of a cell: the episodes are replayed, and their messages listed one by one.

A cell's row determines its episodes, so nothing needs to be stored during evaluation.
"""

from __future__ import annotations

from typing import Any

from agentcomm.base.errors import RunError
from agentcomm.evaluation.cells import Cell
from agentcomm.evaluation.setup import gate_probability, load_team, prepare, run_cell
from agentcomm.network.record import ExchangeRecord, Fate
from agentcomm.runs.folder import Run

ARRIVED = (Fate.DELIVERED, Fate.TAMPERED, Fate.FORGED, Fate.REPLAYED)


def messages(run: Run, cell: Cell, episode: int) -> list[dict[str, Any]]:
    """Replay a cell and list the messages of one of its episodes.

    Args:
        run: The run.
        cell: The cell.
        episode: Index of the episode, 0 .. episodes - 1.

    Returns:
        One entry per message in the order in which they were put on the wire: ``step`` and ``exchange`` of that,
        ``arrived_at`` (step of arrival; None for messages that did not arrive), ``receiver``, ``sender`` (claimed),
        ``origin`` (true; N for an outsider), ``sequence``, ``sent_at``, ``expiry``, ``hops``, ``bytes``, ``length`` of
        the payload, ``fate``, ``accepted``, ``refused_by``. The fate of delayed messages that never arrived is
        ``late``: a newer message overtook them, or the episode ended.

    Raises:
        RunError: If the team is not trained, or the episode does not exist.
    """
    if (cell.variant, cell.seed) not in run.trained():
        raise RunError(f"{run.path} has no trained team of seed {cell.seed}")
    if not 0 <= episode < cell.episodes:
        raise RunError(f"episode {episode} is not one of 0 .. {cell.episodes - 1}")
    traces: list[list[ExchangeRecord]] = []
    saved = load_team(run, cell)
    gates = gate_probability(cell, saved, {})
    with prepare(cell, saved, cell.episodes) as (world, policy, comms):
        episodes = run_cell(cell, world, policy, comms, gates, watch=traces.append)
    length = int(episodes.length[episode])
    exchanges = [(step, record) for step, trace in enumerate(traces[:length]) for record in trace]
    return _joined([entry for step, record in exchanges for entry in _entries(record, step, episode)])


def _joined(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry per message: the entries of a delayed message's departure and arrival become one."""
    waiting: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    out: list[dict[str, Any]] = []
    for entry in entries:
        place = entry["exchange"], entry["receiver"], entry.pop("slot"), entry["sender"], entry["sequence"]
        if entry["fate"] == str(Fate.DELAYED):
            waiting.setdefault(place, []).append(entry)
        elif sent := waiting.get(place):
            known = sent.pop(0)
            known |= {name: entry[name] for name in ("arrived_at", "hops", "fate", "accepted", "refused_by")}
            continue
        out.append(entry)
    for entry in (entry for sent in waiting.values() for entry in sent):
        entry["fate"] = "late"
    return out


def _entries(record: ExchangeRecord, step: int, world: int) -> list[dict[str, Any]]:
    """The messages of one exchange in one world."""
    out = []
    fate = record.fields["fate"][world]
    for receiver, slot in zip(*fate.nonzero(), strict=True):
        at = (world, receiver, slot)
        entry: dict[str, Any] = {"step": step, "exchange": record.round, "receiver": int(receiver), "slot": int(slot)}
        entry["arrived_at"] = step if fate[receiver, slot] in ARRIVED else None
        entry |= {
            name: record.fields[name][at].item() for name in ("sender", "origin", "sequence", "sent_at", "expiry")
        }
        entry |= {"hops": int(record.fields["hops"][at]), "bytes": int(record.fields["size"][at])}
        entry |= {"length": round(float(record.fields["length"][at]), 4), "fate": str(Fate(fate[receiver, slot]))}
        entry |= {"accepted": bool(record.fields["accepted"][at])}
        entry["refused_by"] = next((by for by, where in record.refused.items() if where[at]), None)
        out.append(entry)
    return out
