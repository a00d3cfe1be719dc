"""Trace of one episode of a cell: the episodes are replayed, and their messages listed one by one.

A cell's row determines its episodes, so nothing needs to be stored during evaluation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import numpy as np
from torch import Tensor

from agentcomm.base.errors import RunError
from agentcomm.contracts.inbox import Inbox
from agentcomm.contracts.policy import CommPolicy
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
        the payload, ``fate``, ``accepted``, ``refused_by``; where messages are symbols, also ``symbol``, as its
        receiver reads it (None for messages that did not arrive). The fate of delayed messages that never arrived is
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
    with prepare(cell, saved, cell.episodes) as (world, policy, comms), _reading(policy, episode) as symbols:
        episodes = run_cell(cell, world, policy, comms, gates, watch=traces.append)
    length = int(episodes.length[episode])
    found: list[dict[str, Any]] = []
    for step, trace in enumerate(traces[:length]):
        for number, record in enumerate(trace):
            # Of an exchange that has two records, the first has what arrived.
            arrived = number == 0 or trace[number - 1].round != record.round
            found += _entries(record, step, episode, symbols.get((step, record.round)) if arrived else None)
    for entry in found if symbols else ():
        entry.setdefault("symbol", None)
    return _joined(found)


@contextmanager
def _reading(policy: CommPolicy, world: int) -> Iterator[dict[tuple[int, int], np.ndarray]]:
    """Collects the symbols [N, M] in one world's inboxes by step and round, while a policy hears them.

    Empty for policies whose messages are no symbols.
    """
    found: dict[tuple[int, int], np.ndarray] = {}
    heard: Counter[int] = Counter()
    hear = policy.hear

    @wraps(hear)
    def listen(hidden: Tensor, inbox: Inbox, round_: int) -> Tensor:
        if (symbols := policy.symbols(inbox)) is not None:
            found[heard[round_], round_] = symbols[world].cpu().numpy()
            heard[round_] += 1
        return hear(hidden, inbox, round_)

    policy.hear = listen  # type: ignore[method-assign]
    try:
        yield found
    finally:
        del policy.hear


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
            later = ("arrived_at", "hops", "fate", "accepted", "refused_by", "symbol")
            known |= {name: entry[name] for name in later if name in entry}
            continue
        out.append(entry)
    for entry in (entry for sent in waiting.values() for entry in sent):
        entry["fate"] = "late"
    return out


def _entries(record: ExchangeRecord, step: int, world: int, symbols: np.ndarray | None) -> list[dict[str, Any]]:
    """The messages of one exchange in one world; with the symbols [N, M] of those that arrived, if they are symbols."""
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
        if symbols is not None and entry["arrived_at"] is not None:
            entry["symbol"] = int(symbols[receiver, slot])
        out.append(entry)
    return out
