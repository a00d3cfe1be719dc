"""Numbers and claims of a page, each recorded with how it was made, so that others can make it again.

A claim is a difference between two things that were measured on the same teams. Its words are chosen by an exact paired
test over teams, corrected for all claims of the page (Holm), never by its author: each claim has words for every
outcome. With fewer than ten teams nothing is claimed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from answers import Answer
from answers import value as value_of
from cells import Cells, Series, Spec

from agentcomm.statistics.comparison import CLAIM_SEEDS
from agentcomm.statistics.estimates import REAL, SHARE, Estimate, Scale, estimate, retained_fraction
from agentcomm.statistics.selection import select_and_report
from agentcomm.statistics.tests import equivalent, holm, sign_flip

DOCS = Path(__file__).parents[1] / "docs"
NONE = "\N{EM DASH}"
LEVEL = 0.05
REWARD = "the environment's reward"
LEDGER = "the ledger of messages"
PREDICATE = "the attack's own predicate"
PROBE = "a probe that we trained"
REFERENCE = "the reference implementation"
SUCCESS = Scale(-1.0, 1.0)  # of differences between shares


class Claim(NamedTuple):
    """A claim, with words for each outcome of its test.

    Attributes:
        difference: By team. The test is whether its mean is zero, or within the margin of zero.
        above: The sentence if it is above zero; of an equivalence claim, if it is within the margin. ``{d}`` stands for
            the difference.
        below: The sentence if it is below zero.
        neither: The sentence otherwise.
        oracle: Who decided what counts as good, or as success.
        margin: Of an equivalence claim.
        digits: Of the difference.
        kind: The class of evidence, if it is more than a comparison of teams, such as a single known answer.
    """

    difference: Series
    above: str
    below: str
    neither: str
    oracle: str = REWARD
    margin: float | None = None
    digits: int = 2
    kind: str = ""


@dataclass(frozen=True)
class Judged:
    """A claim after its test.

    Attributes:
        sentence: The words that the test allows.
        outcome: ``above``, ``below`` or ``neither``.
        evidence: How strong it is, and who made its oracle.
    """

    sentence: str
    outcome: str
    evidence: str

    @property
    def supported(self) -> bool:
        """Whether anything is claimed."""
        return self.outcome != "neither"


class Book:
    """The numbers of one page.

    Args:
        study: Name of the study.
        cells: Where they come from.
        docs: Folder of the pages.
    """

    def __init__(self, study: str, cells: Cells, docs: Path = DOCS) -> None:
        self.study, self.cells, self.docs = study, cells, docs
        self.records: list[dict[str, Any]] = []  # of numbers
        self.claims: list[dict[str, Any]] = []

    def mean(self, series: Series, digits: int = 2, scale: Scale = REAL, percent: bool = False) -> str:
        """``0.41 (0.30 to 0.52)``: mean over teams with its 95% interval, if there are enough teams."""
        scale = SUCCESS if series.spec.get("field") == "effect.success" else scale
        e, spec = estimate(series.values, scale), self._stat("mean", series, scale)
        return self._noted(interval(e, digits, percent), spec, digits, percent, True)

    def value(self, series: Series, digits: int = 2, percent: bool = False) -> str:
        """``0.41``: mean over teams."""
        e, spec = estimate(series.values, REAL), self._stat("mean", series, REAL)
        return self._noted(number(e.value, digits, percent) if e.known else NONE, spec, digits, percent, False)

    def each(self, series: Series, digits: int = 2) -> str:
        """The value of every team, in the order of seeds."""
        spec = {"stat": "each", "of": series.spec}
        text = ", ".join(number(v, digits) for _, v in sorted(series.values.items())) or NONE
        return self._noted(text, spec, digits, False, False)

    def share(self, series: Series, digits: int = 0) -> str:
        """A share as a percentage, with its interval."""
        return self.mean(series, digits, SHARE, True)

    def answer(self, answer: Answer | None, digits: int = 3) -> str:
        """A known answer or a goal; a dash if there is none."""
        if answer is None:
            return NONE
        return self._noted(number(value_of(answer), digits), {"stat": "answer", "of": answer}, digits, False, False)

    def seeds(self, series: Series) -> str:
        """Number of teams that were scored."""
        return self._noted(str(len(series.values)), {"stat": "seeds", "of": series.spec}, 0, False, False)

    def retained(self, attacked: Series, clean: Series, floor: Series, digits: int = 0) -> str:
        """What is left of the worth of messages, in percent, with Fieller's interval."""
        spec = {"stat": "retained", "attacked": attacked.spec, "clean": clean.spec, "floor": floor.spec}
        e = retained_fraction(attacked.values, clean.values, floor.values)
        return self._noted(interval(e, digits, True), spec, digits, True, True)

    def count(self, series: Sequence[Series], how: str) -> tuple[int, str]:
        """How many of several series are ``above`` or ``below`` zero by an uncorrected exact test at 5%."""
        found = sum(direction(one) == how for one in series)
        spec = {"stat": "count", "how": how, "of": [one.spec for one in series]}
        return found, self._noted(str(found), spec, 0, False, False)

    def chosen(
        self, options: Mapping[str, Series], prefer: Literal["higher", "lower"], digits: int = 2
    ) -> tuple[str, str]:
        """The highest or lowest of several, chosen on half of the teams, with its estimate on the other half."""
        usable = {name: series for name, series in options.items() if len(series.values) >= CLAIM_SEEDS}
        if not usable:
            return NONE, NONE
        found = select_and_report({name: series.values for name, series in usable.items()}, prefer)
        spec = {"stat": "chosen", "prefer": prefer, "of": {name: series.spec for name, series in usable.items()}}
        text = self._noted(interval(found.reported, digits), spec, digits, False, True)
        return found.name, text

    def judge(self, claims: Mapping[str, Claim]) -> dict[str, Judged]:
        """Test all claims of the page together."""
        able = {name: claim for name, claim in claims.items() if len(claim.difference.values) >= CLAIM_SEEDS}
        tests = [self._test(claim) for claim in able.values()]
        raw = [_p(claim) for claim in able.values()]
        adjusted = dict(zip(able, holm(raw), strict=True)) if raw else {}
        out, at = {}, 0
        for name, claim in claims.items():
            d = self.mean(claim.difference, claim.digits)
            if name not in able:
                seeds = len(claim.difference.values)
                evidence = f"{seeds} team{'s' * (seeds > 1)}, so nothing is claimed" if seeds else "not measured"
                out[name] = Judged(claim.neither.replace("{d}", d), "neither", evidence)
                continue
            told = self._noted(pvalue(raw[at]), tests[at], 3, False, False)
            corrected = self._noted(pvalue(adjusted[name]), {"stat": "holm", "at": at}, 3, False, False)
            words = {word: getattr(claim, word).replace("{d}", d) for word in ("above", "below", "neither")}
            self.claims.append({"test": tests[at]} | words)
            kind = "exact paired test" if claim.margin is None else f"equivalence test, margin {claim.margin:g},"
            kind = f"{claim.kind}; {kind}" if claim.kind else kind
            seeds = self.seeds(claim.difference)
            evidence = f"{kind} over {seeds} teams, p {told}, corrected {corrected}; judged by {claim.oracle}"
            outcome = _outcome(claim, adjusted[name])
            out[name] = Judged(words[outcome], outcome, evidence)
            at += 1
        return out

    def listed(self, judged: Mapping[str, Judged]) -> str:
        """The claims of a page as a list, each with its evidence."""
        lines = [f"- {claim.sentence} *({claim.evidence}.)*" for claim in judged.values()]
        return "\n".join(lines) + "\n"

    def _test(self, claim: Claim) -> Spec:
        if claim.margin is None:
            return {"stat": "p", "of": claim.difference.spec}
        return {"stat": "tost", "of": claim.difference.spec, "margin": claim.margin}

    def _stat(self, name: str, series: Series, scale: Scale) -> Spec:
        bounds = [None if abs(end) == float("inf") else end for end in (scale.low, scale.high)]
        return {"stat": name, "of": series.spec, "scale": bounds}

    def _noted(self, text: str, spec: Spec, digits: int, percent: bool, ends: bool) -> str:
        if text != NONE:
            self.records.append({"text": text, "number": spec, "digits": digits, "percent": percent, "ends": ends})
        return text


def direction(series: Series) -> str:
    """``above`` or ``below`` zero by an uncorrected exact test at 5%, or ``neither``."""
    differences = list(series.values.values())
    if len(differences) < CLAIM_SEEDS or sign_flip(differences) > LEVEL:
        return "neither"
    return "above" if sum(differences) > 0 else "below"


def _p(claim: Claim) -> float:
    differences = list(claim.difference.values.values())
    return sign_flip(differences) if claim.margin is None else equivalent(differences, claim.margin)


def _outcome(claim: Claim, p: float) -> str:
    if p > LEVEL:
        return "neither"
    return "above" if claim.margin is not None or sum(claim.difference.values.values()) > 0 else "below"


def interval(e: Estimate, digits: int, percent: bool = False) -> str:
    """``0.41 (0.30 to 0.52)``."""
    if not e.known:
        return NONE
    if e.interval is None:
        return number(e.value, digits, percent)
    low, high = (number(end, digits, percent) for end in e.interval)
    return f"{number(e.value, digits, percent)} ({low} to {high})"


def number(value: float, digits: int, percent: bool = False) -> str:
    """A number without a negative zero."""
    text = f"{100 * value if percent else value:.{digits}f}"
    text = text.lstrip("-") if float(text) == 0 else text
    return f"{text}%" if percent else text


def pvalue(p: float) -> str:
    """``= 0.012``, or ``< 0.001``."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"
