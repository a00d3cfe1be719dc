"""Verdicts: which attacks measurably harm the team, and which defenses measurably help against them."""

from __future__ import annotations

import math

from agentcomm.evaluation.statistics import Estimate
from agentcomm.report.results import NONE, Results, Scores

HELPFUL = 0.1  # a defense helps against an attack if it recovers at least this share of the damage


def worthless(results: Results, voc: Estimate) -> bool:
    """Whether communication has no measurable value for the team: it does as well without messages."""
    return voc.known and (results.negligible(voc) or voc.value <= 0 or unheard(results))


def unheard(results: Results) -> bool:
    """Whether dropping all messages measurably changes nothing for the better or worse."""
    loss = silence(results)
    return loss.known and (results.negligible(loss) or loss.value <= 0)


def silence(results: Results) -> Estimate:
    """What the team loses if all of its messages are dropped."""
    return results.gain(results.clean, results.reference("silent"))


def unlearned(results: Results) -> list[int]:
    """Seeds of teams that do no better than before training."""
    return [seed for seed, learned in results.learned().items() if not learned]


def judged(results: Results) -> bool:
    """Whether verdicts are given: not if no team has learned."""
    return not results.learned() or len(unlearned(results)) < len(results.learned())


def undefended(results: Results) -> list[str]:
    """Attacks that have a score without defenses, most harmful first."""
    scored = {a: results.estimate(results.scores(a)).value for a in results.attacks}
    known = [a for a, score in scored.items() if math.isfinite(score)]
    return sorted(known, key=lambda a: scored[a], reverse=results.primary.better == "lower")


def best_defense(results: Results, attack: str) -> tuple[str, Estimate] | None:
    """The defense under which an attack does the least harm, and the score under it; None without a score."""
    found = [(d, results.estimate(results.scores(attack, d))) for d in results.defenses if d != NONE]
    found = [(d, score) for d, score in found if score.known]
    if not found:
        return None
    return (min if results.primary.better == "lower" else max)(found, key=lambda pair: pair[1].value)


def harmful(results: Results, attack: str) -> bool:
    """Whether an undefended attack measurably worsens the score."""
    loss = results.gain(results.clean, results.scores(attack))
    return not results.negligible(loss) and loss.value > 0


def helpful(results: Results, attack: str, defense: str) -> bool:
    """Whether a defense measurably improves the score under an attack, by a relevant share of the damage."""
    gain = results.gain(results.scores(attack, defense), results.scores(attack))
    back = results.recovered(attack, defense)
    return not results.negligible(gain) and gain.value > 0 and back.value >= HELPFUL


def below_floor(results: Results, scores: Scores) -> bool:
    """Whether the scores are measurably worse than those of the team without messages."""
    loss = results.gain(results.floor, scores)
    return not results.negligible(loss) and loss.value > 0
