"""References of a team without attacks: has it learned, do its messages matter, and how does it act otherwise?

They are evaluated on the same episodes as the team itself. A verdict on attacks says nothing about a team that has not
learned, or that does as well when all of its messages are dropped.
"""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import replace
from typing import Any

from agentcomm.contracts.metric import Metric
from agentcomm.contracts.outcome import Episodes
from agentcomm.evaluation.cells import Cell
from agentcomm.evaluation.metrics import measure
from agentcomm.evaluation.progress import CellProgress
from agentcomm.evaluation.setup import prepare, run_cell
from agentcomm.runs.assembly import make_policy, make_world
from agentcomm.runs.choices import Choice, TransportConfig
from agentcomm.runs.conditions import Decisions
from agentcomm.runs.policy_file import SavedPolicy

SILENT = TransportConfig(channels=(Choice(name="loss", probability=1),))
STANDARD_ERRORS = 3.0  # a team has learned if its score is this much better than before training


def references(
    cell: Cell, saved: SavedPolicy, episodes: Episodes, score: Metric, progress: CellProgress | None = None
) -> dict[str, Any]:
    """References of a cell without attack and defenses.

    Args:
        cell: The cell.
        saved: Its team.
        episodes: Its episodes.
        score: The metric by which teams are compared.
        progress: Told about each step.

    Returns:
        Metrics of the team with greedy (``greedy``) and with sampled decisions (``sampled``), of the same policy before
        training (``untrained``, sampled), of a team that loses all of its messages (``silent``; only if it sends some),
        and ``learned``: whether sampled decisions are better than before training, with the ``gain`` in score and its
        ``standard_error`` over episodes.
    """
    decisions = cell.conditions.decisions
    other: Decisions = "sampled" if decisions == "greedy" else "greedy"
    by_rule = {decisions: episodes, other: _run(_with(cell, decisions=other), saved, progress)}
    with closing(make_world(saved.environment, 1)) as world:
        fresh = make_policy(saved.choice, world, saved.variant, saved.seed)
    device = next((value.device for value in saved.policy.state_dict().values()), None)
    untrained = _run(_with(cell, decisions="sampled"), replace(saved, policy=fresh.to(device)), progress)
    found: dict[str, Any] = {rule: measure(of) for rule, of in by_rule.items()}
    found |= {"untrained": measure(untrained), "learned": _learned(score, by_rule["sampled"], untrained)}
    if int(episodes.messages["sent"].sum()):
        found["silent"] = measure(_run(_with(cell, transport=SILENT), saved, progress))
    return found


def _with(cell: Cell, **changes: Any) -> Cell:
    return replace(cell, conditions=cell.conditions.model_copy(update=changes))


def _run(cell: Cell, saved: SavedPolicy, progress: CellProgress | None) -> Episodes:
    with prepare(cell, saved, cell.episodes) as parts:
        return run_cell(cell, *parts, progress=progress)


def _learned(score: Metric, trained: Episodes, untrained: Episodes) -> dict[str, Any]:
    """Whether the score has become better, episode by episode."""
    ours, theirs = score.by_episode(trained), score.by_episode(untrained)
    assert ours is not None
    assert theirs is not None
    gain = ours.double() - theirs.double()
    if score.better == "lower":
        gain = -gain
    mean, error = float(gain.mean()), float(gain.std(correction=0)) / math.sqrt(len(gain))
    return {"learned": mean > STANDARD_ERRORS * error, "gain": mean, "standard_error": error}
