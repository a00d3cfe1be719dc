"""What an audit concludes: verdicts, rows and the report."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What a probe concludes."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"  # the control did not succeed, or the answer says nothing
    SKIPPED = "skipped"  # not applicable to this endpoint, or not allowed


# Who is served: without a conclusion on one of these, an audit does not succeed.
ACCESS = frozenset({"a2a-anonymous", "a2a-context", "a2a-owner-open", "mcp-anonymous", "mcp-session"})


@dataclass(frozen=True)
class Row:
    """The verdict of one probe on one operation."""

    probe: str
    title: str  # what holds if the probe passes
    where: str  # operation, header or caller
    verdict: Verdict
    evidence: str
    fix: str = ""  # how to make it pass; empty unless it failed


@dataclass(frozen=True)
class Report:
    """The rows of an audit."""

    url: str
    protocol: str
    rows: tuple[Row, ...]

    @property
    def counts(self) -> dict[Verdict, int]:
        """Number of rows per verdict."""
        counted = Counter(row.verdict for row in self.rows)
        return {verdict: counted[verdict] for verdict in Verdict}

    @property
    def exit_code(self) -> int:
        """0: something passed and nothing failed; 1: something failed; 2: it could not be concluded.

        That an endpoint was found is no conclusion about its security, and while it is
        unknown which callers the server answers, other rows make no success.
        """
        concluded = {row.verdict for row in self.rows if not row.probe.endswith("-discovery")}
        is_open = any(row.probe in ACCESS and row.verdict is Verdict.INCONCLUSIVE for row in self.rows)
        return 1 if Verdict.FAIL in concluded else 0 if Verdict.PASS in concluded and not is_open else 2
