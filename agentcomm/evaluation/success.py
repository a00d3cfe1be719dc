"""The effect of an attack, held against the same episodes without it, under its matched control, and in silence.

The control spends what the attack spends on random content (:mod:`agentcomm.guards.matched`); in silence, the team's
messages that the attack touches are dropped. So damage = silence + lie: what is lost with these messages, and what
goes beyond. Success is held against the control, in which other decision noise is the same: for attacks with an own
predicate, the difference between both rates; for others, the share of episodes worse than under the control minus the
share of better ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from scipy.special import bdtrc
from torch import Tensor

from agentcomm.contracts.attack import RunAs, hooks
from agentcomm.contracts.metric import Metric
from agentcomm.contracts.outcome import Episodes, Guesses
from agentcomm.evaluation.cells import Cell
from agentcomm.evaluation.exfiltration import Exfiltrated, exfiltrated, exfiltrates, reads
from agentcomm.evaluation.metrics import measure
from agentcomm.evaluation.progress import CellProgress
from agentcomm.evaluation.reasons import TOUCHED
from agentcomm.evaluation.setup import Episodic, episodes_of, prepare, run_cell
from agentcomm.guards.base import GuardBase
from agentcomm.runs.policy_file import SavedPolicy
from agentcomm.step.adversary import Adversary

LEVEL = 0.05  # of the sign test that decides a cell's outcome
TOLERANCE = 1e-6  # differences between scores that are rounding errors


class Judged(NamedTuple):
    """What a cell's row says about its attack.

    Attributes:
        fields: ``counterparts``, ``spent`` and ``effect`` of the row.
        counterparts: The episodes of the counterparts, by name.
        guesses: Guesses of an attack that exfiltrates; None without one.
        won: Whether it beats its control by a sign test over episodes.
    """

    fields: dict[str, Any]
    counterparts: dict[str, Episodes]
    guesses: Guesses | None
    won: bool


class Attacked(NamedTuple):
    """Episodes, and the adversary after them; None without an attack."""

    episodes: Episodes
    adversary: Adversary | None = None

    def summary(self) -> dict[str, Any]:
        """What a row records of them."""
        return {"metrics": measure(self.episodes), "ledger": self.episodes.totals(), "spent": spent(self)}


@dataclass(frozen=True)
class Held:
    """Which episodes an attack wins against its control.

    Attributes:
        predicate: What counts as success.
        won: [E] bool, episodes that count for the attack.
        control: [E] bool, episodes that count for the control.
        clean: Share of clean episodes that count.
    """

    predicate: str
    won: Tensor
    control: Tensor
    clean: float

    @property
    def significant(self) -> bool:
        """Whether the attack wins more of the episodes that only one of both wins, by an exact sign test."""
        ahead, behind = int((self.won & ~self.control).sum()), int((self.control & ~self.won).sum())
        return ahead > behind and bool(2 * bdtrc(ahead - 1, ahead + behind, 0.5) <= LEVEL)


def judge(
    cell: Cell,
    saved: SavedPolicy,
    attacked: Attacked,
    score: Metric,
    gates: float | None,
    clean_twins: Episodic,
    progress: CellProgress | None = None,
) -> Judged:
    """Run an attacked cell's episodes without its attack, under its control and in silence, and compare.

    Args:
        cell: The attacked cell.
        saved: Its team.
        attacked: Its episodes.
        score: The world's score.
        gates: Probability that controlled gates are open; None if the policy controls the gates.
        clean_twins: Episodes of cells without attack; this cell's are added if they are missing.
        progress: Told about each step.
    """
    assert attacked.adversary is not None
    guard = attacked.adversary.guards[0]
    clean = Attacked(episodes_of(replace(cell, attack=None), saved, clean_twins, gates, progress))
    sent = attacked.adversary.directory_guards

    def run(run_as: RunAs) -> Attacked:
        with prepare(cell, saved, cell.episodes, run_as) as (world, policy, comms):
            for other, matched in zip(sent, comms.adversary.directory_guards, strict=True):
                matched.pace = list(other.sent or ())
            return Attacked(run_cell(cell, world, policy, comms, gates, progress=progress), comms.adversary)

    found = {"clean": clean, "control": clean if reads(guard.attack) else run("control")}
    if needs_silence(guard):
        found["silence"] = run("silence")
    elif touches(guard):
        found["silence"] = attacked
    told = exfiltrated(cell, saved, guard.attack, gates) if exfiltrates(guard.attack) else None
    held = _held(attacked, found, score, told)
    fields = {
        "counterparts": {name: played.summary() for name, played in found.items()},
        "spent": spent(attacked),
        "effect": _effect(attacked, found, score, held),
    }
    episodes = {name: played.episodes for name, played in found.items()}
    return Judged(fields, episodes, None if told is None else told.guesses, held.significant)


def begin_record(adversary: Adversary) -> None:
    """Record what the control of an attack is to send as often as the attack does; call before its episodes."""
    for guard in adversary.directory_guards:
        guard.sent = []


def touches(guard: GuardBase) -> bool:
    """Whether an attack can drop, change or delay the team's messages."""
    can = guard.threat.powers & {"drop", "modify", "delay", "reorder"}
    return "on_messages" in hooks(type(guard.attack)) and guard.threat.position.kind in ("edge", "node") and bool(can)


def needs_silence(guard: GuardBase) -> bool:
    """Whether silence is another thing than the attack, as it is unless it only drops messages."""
    return touches(guard) and not guard.threat.powers <= {"read", "drop"}


def spent(played: Attacked) -> dict[str, float | None]:
    """What an attack spent: edits, messages touched or injected, bytes injected, and the mean L2 norm of changes."""
    if played.adversary is None or not played.adversary.guards:
        return {"edits": 0, "messages": 0, "bytes": 0, "norm": None}
    edits, norm = played.adversary.guards[0].spending.totals()
    totals = played.episodes.totals()
    messages = sum(totals[fate] for fate in TOUCHED)
    return {"edits": edits, "messages": messages, "bytes": totals["injected_bytes"], "norm": norm}


def outcome(status: str, judged: Judged | None) -> str | None:
    """The outcome of a cell with that status; None without an attack."""
    if judged is None:
        return None
    if status != "ok":
        return {"failed": "unscored"}.get(status, status)
    return "success" if judged.won else "resisted"


def _held(attacked: Attacked, found: Mapping[str, Attacked], score: Metric, told: Exfiltrated | None) -> Held:
    """Hold the attack against its control, by its own predicate or by the score."""
    clean, control = found["clean"], found["control"]
    assert attacked.adversary is not None
    guard = attacked.adversary.guards[0]
    if told is not None:
        return Held(told.predicate, told.won, told.control, 0.0)
    if control.adversary is not None and guard.attack.secrets() > 1 and attacked.adversary.action_guards:
        mine, theirs = (played.adversary.action_guards[0] for played in (attacked, control) if played.adversary)
        return Held("an observer's best guess is the secret", mine.told, theirs.told, 0.0)
    predicate = guard.predicate()
    if predicate is None:
        worse, better, level = _versus(score, attacked, control), _versus(score, control, attacked), clean
        text = "the team's score is worse than under the matched control"
        return Held(text, worse, better, float(_versus(score, level, control).float().mean()))
    judge_of_control = guard if control.adversary is None else control.adversary.guards[0]
    won = guard.succeeded(attacked.episodes, clean.episodes)
    matched = judge_of_control.succeeded(control.episodes, clean.episodes)
    plain = judge_of_control.succeeded(clean.episodes, clean.episodes)
    return Held(predicate, won, matched, float(plain.float().mean()))


def _versus(score: Metric, first: Attacked, second: Attacked) -> Tensor:
    """[B] bool, episodes in which the first score is worse than the second."""
    one, other = score.by_episode(first.episodes), score.by_episode(second.episodes)
    assert one is not None
    assert other is not None
    return _sign(score) * (one.double() - other.double()) > TOLERANCE


def _sign(score: Metric) -> int:
    """1 if a larger score is worse for the team, else -1."""
    return 1 if score.better == "lower" else -1


def _effect(attacked: Attacked, found: Mapping[str, Attacked], score: Metric, held: Held) -> dict[str, Any]:
    """The field ``effect`` of the row."""
    level = {name: score.value(played.episodes) for name, played in found.items()} | {
        "attack": score.value(attacked.episodes)
    }

    def harm(name: str) -> float | None:
        now, before = level.get(name), level["clean"]
        return None if now is None or before is None else _sign(score) * (now - before)

    damage, silence = harm("attack"), harm("silence")
    rates = [float(where.float().mean()) for where in (held.won, held.control)]
    control = found["control"]
    return {
        "damage": damage,
        "control_damage": harm("control"),
        "silence": silence,
        "lie": None if damage is None or silence is None else damage - silence,
        "worse": float(_versus(score, attacked, control).float().mean()),
        "better": float(_versus(score, control, attacked).float().mean()),
        "predicate": held.predicate,
        "rate": rates[0],
        "control_rate": rates[1],
        "clean_rate": held.clean,
        "success": rates[0] - rates[1],
    }
