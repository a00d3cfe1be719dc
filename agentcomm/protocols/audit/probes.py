"""How a probe concludes: a control by the owner first, then the stranger's attempt."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from agentcomm.protocols.audit.target import Caller, Target
from agentcomm.protocols.audit.verdicts import Row, Verdict
from agentcomm.protocols.audit.wire import Answer
from agentcomm.protocols.findings import FINDINGS


class Found(NamedTuple):
    """What a probe found on one operation."""

    where: str
    verdict: Verdict
    evidence: str


@dataclass(frozen=True)
class Probe:
    """A question about an endpoint."""

    id: str  # of the finding it looks for, if there is one
    title: str  # what holds if it passes
    run: Callable[[Any], AsyncIterator[Found]]
    changes: bool = False  # runs the agent or a tool
    how: str = ""  # the fix, where no finding has one

    @property
    def fix(self) -> str:
        """How to make it pass."""
        return self.how or (FINDINGS[self.id].fix if self.id in FINDINGS else "")

    def row(self, found: Found) -> Row:
        """What was found, as a row of the report."""
        return Row(
            self.id, self.title, found.where, found.verdict, found.evidence,
            self.fix if found.verdict is Verdict.FAIL else "",
        )  # fmt: skip


def passed(where: str, evidence: str) -> Found:
    """The probe passes."""
    return Found(where, Verdict.PASS, evidence)


def failed(where: str, evidence: str) -> Found:
    """The probe fails."""
    return Found(where, Verdict.FAIL, evidence)


def unclear(where: str, evidence: str) -> Found:
    """The probe concludes nothing."""
    return Found(where, Verdict.INCONCLUSIVE, evidence)


def skipped(where: str, evidence: str) -> Found:
    """The probe does not apply."""
    return Found(where, Verdict.SKIPPED, evidence)


def compared(where: str, control: Answer, held: bool, attempt: Answer, reached: bool) -> Found:
    """The verdict on an attempt that must be refused.

    Args:
        where: Operation or header.
        control: The same call as it should be.
        held: Whether the control succeeded.
        attempt: What the attempt was answered.
        reached: Whether the attempt succeeded.
    """
    if reached:
        return failed(where, f"processed ({attempt.short})")
    if not held:
        return unclear(where, f"the control did not succeed: {control.short}")
    if attempt.refused:
        return passed(where, f"refused ({attempt.short}); the control succeeded")
    return unclear(where, f"neither processed nor refused: {attempt.short}")


@dataclass(frozen=True)
class Trial:
    """What the owner may do and strangers may not."""

    where: str
    attempt: Callable[[Caller], Awaitable[Answer]]
    reached: Callable[[Answer], bool]  # whether the caller got what is the owner's
    denied: Callable[[Answer], bool] = lambda answer: answer.refused
    control_last: bool = False  # the owner's call ends what the strangers try to reach


async def tried(trial: Trial, target: Target, admitted: Callable[[Caller], Awaitable[bool]]) -> Found:
    """The verdict of a trial: strangers must be denied what the owner gets.

    Args:
        trial: The call.
        target: Who owner and strangers are.
        admitted: Whether the server answers calls that a stranger may make. A token that is refused everywhere
            shows nothing about owners.
    """
    where = trial.where
    control = Answer() if trial.control_last else await trial.attempt(target.owner)
    if not trial.control_last and not trial.reached(control):
        return unclear(where, f"the control did not succeed: the owner got {control.short}")
    answers = [(caller, await trial.attempt(caller)) for caller in target.strangers]
    for caller, answer in answers:
        if trial.reached(answer):
            who = "another token" if caller.token else "a caller without a token"
            return failed(where, f"{who} reached what is the owner's ({answer.short})")
    if trial.control_last:
        control = await trial.attempt(target.owner)
        if not trial.reached(control):
            return unclear(where, f"the control did not succeed: the owner got {control.short}")
    for caller, answer in answers:
        if not trial.denied(answer):
            return unclear(where, f"the {caller.name} caller was neither served nor refused: {answer.short}")
    if not target.stranger_token:
        return unclear(where, "callers without a token are refused; give --stranger-token to try another account")
    if not await admitted(target.strangers[0]):
        return unclear(where, "the stranger's token is refused everywhere, so that this shows nothing about owners")
    return passed(where, f"the owner was served, others were not ({answers[0][1].short})")
