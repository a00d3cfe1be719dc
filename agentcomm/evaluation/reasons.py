"""Reasons why a cell says nothing about its attack or its defenses: the attack had no effect, or could have none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from agentcomm.contracts.attack import hooks
from agentcomm.contracts.defense import Defense
from agentcomm.contracts.deployment import Deployment
from agentcomm.contracts.outcome import Episodes
from agentcomm.guards.base import GuardBase
from agentcomm.runs.fitting import moot
from agentcomm.step.adversary import Adversary

# Ledger counts of the effects of attacks on messages.
TOUCHED = ("dropped", "delayed", "tampered", "forged", "replayed", "fragments")


class Played(NamedTuple):
    """What a cell's episodes came to.

    Attributes:
        adversary: The attacks, after the episodes.
        deployment: The team, its transport and its environment.
        graph: Adjacency of the executed graph, [i][j] = 1 if receiver i listens to sender j; empty if it changes.
        episodes: The outcome.
    """

    adversary: Adversary
    deployment: Deployment
    graph: list[list[int]]
    episodes: Episodes


def inconclusive(played: Played, defenses: Sequence[Defense]) -> str | None:
    """Why the cell says nothing about its attack, or without one about its defenses; None if it does."""
    if not played.adversary.guards:
        return moot(defenses, played.deployment)
    guard = played.adversary.guards[0]
    reason = guard.attack.idle(played.deployment)
    if reason is not None or _touched(played):
        return reason
    reason = _nothing_in_reach(played, guard)
    if reason is not None or guard.threat.powers <= {"read"}:
        return reason
    return _nothing_done(played, guard)


def refuses_everything(episodes: Episodes, defenses: Sequence[Defense]) -> str | None:
    """The defense that refused every message of unattacked episodes, as an error; None if there is none."""
    sent, accepted = (int(episodes.messages[name].sum()) for name in ("sent", "accepted"))
    if not sent or accepted:
        return None
    for defense in defenses:
        count = int(episodes.refused_by[defense.name].sum()) if defense.name in episodes.refused_by else 0
        if count and count == int(episodes.messages["refused"].sum()):
            return (
                f"defense {defense.name!r} refused all {count:,} messages that arrived, although nothing attacked them:"
                " it cannot work with this team and transport"
            )
    return None


def _touched(played: Played) -> int:
    """Number of effects of an attack on messages, actions, sensors and the directory."""
    totals, adversary = played.episodes.totals(), played.adversary
    touched = sum(totals[fate] for fate in TOUCHED)
    touched += sum(int(guard.changed.sum()) for guard in adversary.action_guards)
    touched += sum(int(guard.base.total.sum()) for guard in adversary.observation_guards)
    return touched + sum(int(guard.base.total.sum()) for guard in adversary.directory_guards)


def _nothing_in_reach(played: Played, guard: GuardBase) -> str | None:
    """Why no message came by its position; None if some did, or it is not about messages."""
    position, graph = guard.threat.position, played.graph
    if hooks(type(guard.attack)) != {"on_messages"} or position.kind == "newcomer":
        return None
    if played.deployment.silent:
        return "this team sends no messages"
    if not int(played.episodes.messages["sent"].sum()):
        return "the team sent no messages in these episodes: all gates were closed"
    if position.kind in ("hub", "sensor"):
        return f"no messages pass position {position.kind!r}"
    if position.links == ():
        return "its position names no links (links: [])"
    if graph and position.links is not None and not any(graph[receiver][sender] for sender, receiver in position.links):
        links = ", ".join(f"[{sender}, {receiver}]" for sender, receiver in position.links)
        return f"no messages pass its links: of {links} (sender, receiver), the team's graph has none"
    if graph and position.node is not None and not any(row[position.node] for row in graph):
        return f"no messages pass it: no agent listens to node {position.node}"
    return None


def _nothing_done(played: Played, guard: GuardBase) -> str:
    """Why it changed nothing, although there was something to change."""
    budget, longest = guard.threat.budget, int(played.episodes.length.max())
    spent = [f"{name}=0" for name in ("per_step", "per_episode") if getattr(budget, name) == 0]
    if guard.threat.powers <= {"read", "modify"}:
        spent += [f"{name}=0" for name in ("norm", "length") if getattr(budget, name) == 0]
    if spent:
        return f"its budget permits no edit: {', '.join(spent)}"
    if budget.start_step >= longest:
        return f"its budget begins at start_step={budget.start_step}, but the longest episode has {longest} steps"
    if guard.violations:
        broken = ", ".join(f"{rule} ({count})" for rule, count in sorted(guard.violations.items()))
        return f"all its edits broke its threat model, and were undone: {broken}"
    return f"it made no edit in {len(played.episodes.length)} episodes: its arguments leave it no occasion"
