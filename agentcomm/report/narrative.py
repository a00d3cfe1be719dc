"""The summary of a report in sentences, generated from its results.

Labels of attacks and defenses are untrusted text: they enter sentences only through ``Markup.format``, which escapes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from agentcomm.evaluation.statistics import Estimate
from agentcomm.report.caveats import caveats
from agentcomm.report.phrases import amount, brief, complement, in_brackets, percent_interval
from agentcomm.report.results import NONE, Results
from agentcomm.report.text import fixed, named, percent, signed
from agentcomm.report.verdicts import (
    below_floor,
    best_defense,
    harmful,
    helpful,
    judged,
    silence,
    undefended,
    unheard,
    unlearned,
    worthless,
)

ANSWERED = 0.9  # a defense counters an attack if at least this fraction is retained


@dataclass(frozen=True)
class Answer:
    """The summary at the top of the page.

    Attributes:
        headline: One sentence.
        paragraphs: The results, most important first.
        caveats: Limits of the conclusions.
    """

    headline: Markup
    paragraphs: list[Markup]
    caveats: list[Markup]


def answer(results: Results, notes: Iterable[str] = ()) -> Answer:
    """The summary of a run's results.

    Args:
        results: All cells of the run.
        notes: Further caveats, such as unreadable files.
    """
    voc = results.value_of_communication()
    paragraphs = [*_learned(results), _worth(results, voc)]
    if judged(results):
        paragraphs += _attacks(results, voc)
        paragraphs += _defenses(results, voc)
        paragraphs += _tax(results)
    return Answer(
        _headline(results, voc), paragraphs, [*caveats(results, voc), *(Markup("{}").format(n) for n in notes)]
    )


def _learned(results: Results) -> list[Markup]:
    """Whether the teams have learned their task."""
    known, left = results.learned(), unlearned(results)
    if not known:
        return []
    before = results.estimate(results.reference("untrained"))
    after = results.estimate(results.reference("sampled"))
    scores = Markup("{} before training, {} after it, with sampled actions").format(
        amount(before.value, results.primary), amount(after.value, results.primary)
    )
    if not left:
        return [Markup("The team has learned: {}.").format(scores)]
    if len(left) == len(known):
        return [Markup("<strong>The team has not learned its task</strong>: {}. No verdicts are given.").format(scores)]
    names = ", ".join(map(str, left))
    return [
        Markup("<strong>{} of {} teams have not learned</strong> (seed {}): {}.").format(
            len(left), len(known), names, scores
        )
    ]


def _headline(results: Results, voc: Estimate) -> Markup:
    if not judged(results):
        return Markup("The team has not learned its task, so nothing can be said about its messages.")
    unit, digits = results.primary.unit, results.primary.digits
    clean = results.estimate(results.clean)
    if not voc.known:
        if not clean.known:
            return Markup("There is no score without attacks, so nothing can be compared.")
        return Markup("The team {} {}&nbsp;{}; the value of its messages was not measured.").format(
            "needs" if results.primary.better == "lower" else "reaches", fixed(clean.value, digits), unit
        )
    if unheard(results):
        return Markup("The team does as well when all of its messages are dropped.")
    if worthless(results, voc):
        return Markup("The team does no better than the same team retrained without messages.")
    first = Markup("Communication is worth {}&nbsp;{} to this team.").format(fixed(voc.value, digits), unit)
    order = [a for a in undefended(results) if harmful(results, a)]
    if not order:
        return first + (Markup(" No evaluated attack measurably reduces it.") if results.attacks else Markup(""))
    lost = 1 - results.retained(results.scores(order[0])).value
    if not math.isfinite(lost):
        return first
    if _smaller_elsewhere(results, voc):  # a share would be one of another difference
        loss = results.gain(results.clean, results.scores(order[0])).value
        takes = Markup("costs {}&nbsp;{}").format(fixed(loss, digits), unit)
    elif lost > 1:
        takes = Markup("takes {} of that").format(
            "more than all" if below_floor(results, results.scores(order[0])) else "all"
        )
    else:
        takes = Markup("takes {} of that").format(percent(lost))
    second = Markup(" {} {}").format(brief(results, order[0]), takes)
    best = best_defense(results, order[0])
    back = results.recovered(order[0], best[0]) if best else None
    if best is None or back is None or not helpful(results, order[0], best[0]):
        return first + second + Markup(".")
    return first + second + Markup("; {} recovers {}.").format(named([best[0]]), percent(min(back.value, 1.0)))


def _smaller_elsewhere(results: Results, voc: Estimate) -> bool:
    """Whether the value of communication is smaller with the decisions that the main grid does not use."""
    least: float = 0.5 * 10**-results.primary.digits
    return results.gain(results.clean, results.floor).value - voc.value > least


def _worth(results: Results, voc: Estimate) -> Markup:
    m = results.primary
    clean, floor = results.estimate(results.clean), results.estimate(results.floor)
    if not clean.known:
        return Markup("The cell without attack and defense has no score, so there is no baseline for comparison.")
    verb = "finishes an episode in" if m.key == "mean_steps" else "reaches"
    text = Markup("Without attacks, the team {} {}{}.").format(
        verb, amount(clean.value, m), in_brackets(clean, m.digits, results.clean, first=True)
    )
    if not floor.known:
        return text + Markup(
            " It was not retrained without messages, so there is no floor: neither the value of communication nor "
            "the fraction that is retained under attack can be computed."
        )
    text += Markup(" The same team retrained without messages {} {}{}.").format(
        "needs" if m.key == "mean_steps" else "reaches",
        amount(floor.value, m),
        in_brackets(floor, m.digits, results.floor),
    )
    if unheard(results):
        return text + Markup(
            " <strong>Dropping all of its messages does not measurably hurt</strong>: the difference is {}&nbsp;{}{}. "
            "There is nothing that attacks on messages could reduce, so this run has no retained fractions."
        ).format(signed(silence(results).value, m.digits), m.unit, in_brackets(silence(results), m.digits))
    if worthless(results, voc):
        return text + Markup(
            " <strong>Communication has no measurable value here</strong>: the difference is {}&nbsp;{}{}. "
            "Attacks on messages cannot reduce it further, so this run has no retained fractions."
        ).format(signed(voc.value, m.digits), m.unit, in_brackets(voc, m.digits))
    if _smaller_elsewhere(results, voc):
        other = "greedy" if results.decisions == "sampled" else "sampled"
        return text + Markup(
            " The difference is {}. With {} decisions of both it is {}{}; the smaller one counts as the value of "
            "communication. Shares below are of the larger one."
        ).format(
            amount(results.gain(results.clean, results.floor).value, m),
            other,
            amount(voc.value, m),
            in_brackets(voc, m.digits),
        )
    return text + Markup(" The value of communication is the difference, {}{}.").format(
        amount(voc.value, m), in_brackets(voc, m.digits)
    )


def _attacks(results: Results, voc: Estimate) -> list[Markup]:
    m, order = results.primary, undefended(results)
    if not order:
        return [Markup("No attack was evaluated.")]
    hurting = [a for a in order if harmful(results, a)]
    if not hurting:
        return [Markup("None of the {} attacks measurably harms the undefended team.").format(len(order))]
    worst = results.estimate(results.scores(hurting[0]))
    text = Markup("Without defenses, {} is the most harmful attack: {}{}").format(
        brief(results, hurting[0]), amount(worst.value, m), in_brackets(worst, m.digits, results.scores(hurting[0]))
    )
    lost = complement(results.retained(results.scores(hurting[0])))
    if worthless(results, voc) or not lost.known:
        text += Markup(".")
    elif below_floor(results, results.scores(hurting[0])):
        text += Markup(", <strong>worse than without any messages</strong>.")
    elif lost.value > 1:
        text += Markup(", the same as without any messages.")
    else:
        text += Markup(", a loss of <b>{}</b>{} of the value of communication.").format(
            percent(lost.value), percent_interval(lost)
        )
    for attack in hurting[1:4]:
        share = complement(results.retained(results.scores(attack)))
        if not worthless(results, voc) and share.known:
            text += Markup(" {} costs <b>{}</b>{}.").format(
                brief(results, attack), percent(share.value), percent_interval(share)
            )
    noop_control = [a for a in order if a not in hurting]
    if noop_control:
        text += Markup(" {} of {} attacks have no measurable effect: {}.").format(
            len(noop_control), len(order), named(noop_control)
        )
    return [text]


def _defenses(results: Results, voc: Estimate) -> list[Markup]:
    m, order = results.primary, undefended(results)
    defenses = [d for d in results.defenses if d != NONE]
    hurting = [a for a in order if harmful(results, a)]
    if not defenses or not hurting:
        return [] if defenses else [Markup("No defense was evaluated.")]
    text = Markup("")
    best = best_defense(results, hurting[0])
    if best is not None:
        back = results.recovered(hurting[0], best[0])
        if back.known and helpful(results, hurting[0], best[0]):
            text += Markup("Against {}, {} recovers <b>{}</b>{} of the damage.").format(
                brief(results, hurting[0]), named([best[0]]), percent(back.value), percent_interval(back)
            )
        else:
            text += Markup("Against {}, no evaluated defense measurably helps.").format(brief(results, hurting[0]))
    worst = {d: results.estimate(results.over_attacks(d, "worst")) for d in results.defenses}
    worst = {d: e for d, e in worst.items() if e.known}
    if len(worst) > 1 and len(order) > 1:
        pick = (min if m.better == "lower" else max)(worst, key=lambda d: worst[d].value)
        text += _worst_case(results, voc, pick, worst[pick])
    return [p for p in (text + _backfires(results), _unanswered(results, voc, hurting)) if p]


def _worst_case(results: Results, voc: Estimate, pick: str, score: Estimate) -> Markup:
    """The score of the defense that is best in the worst case."""
    m, scores = results.primary, results.over_attacks(pick, "worst")
    alone = results.over_attacks(NONE, "worst")
    gain = results.gain(scores, alone)
    if pick == NONE or (gain.known and results.negligible(gain)):
        pick, scores, score = NONE, alone or scores, results.estimate(alone) if alone else score
    text = Markup(" In the worst case over {} attacks, {} {}{}").format(
        len(undefended(results)),
        Markup("{} is best with").format(named([pick]))
        if pick != NONE
        else "no defense is measurably better than none:",
        amount(score.value, m),
        in_brackets(score, m.digits, scores),
    )
    kept = results.retained(scores)
    if worthless(results, voc) or not kept.known:
        return text + Markup(".")
    return text + Markup(", <b>{}</b> retained.").format(percent(kept.value))


def _backfires(results: Results) -> Markup:
    """Defenses under which an attack does more harm."""
    m, found = results.primary, []
    for attack in undefended(results):
        for defense in results.defenses:
            ours, alone = results.scores(attack, defense), results.scores(attack)
            loss = results.gain(alone, ours)
            if defense != NONE and loss.value > 0 and not results.negligible(loss):
                score = fixed(results.estimate(ours).value, m.digits)
                found.append(
                    (
                        loss.value,
                        Markup("{} under {} ({} instead of {})").format(
                            named([defense]),
                            brief(results, attack),
                            score,
                            fixed(results.estimate(alone).value, m.digits),
                        ),
                    )
                )
    worst = [words for _, words in sorted(found, key=lambda pair: -pair[0])]
    if not worst:
        return Markup("")
    more = Markup(" and {} more").format(len(worst) - 2) if len(worst) > 2 else Markup("")
    return Markup(" <strong>Some defenses backfire:</strong> {}{}.").format(Markup(", ").join(worst[:2]), more)


def _unanswered(results: Results, voc: Estimate, hurting: Sequence[str]) -> Markup:
    if worthless(results, voc) or not voc.known:
        return Markup("")
    left = []
    for attack in hurting:
        best = best_defense(results, attack)
        kept = results.retained(results.scores(attack, best[0])) if best else results.retained(results.scores(attack))
        if kept.known and kept.value < ANSWERED:
            if best and helpful(results, attack, best[0]):
                how = Markup("at best {} retained, with {}").format(percent(kept.value), named([best[0]]))
            else:
                how = Markup("{} retained, no defense measurably helps").format(percent(kept.value))
            left.append(Markup("{} ({})").format(brief(results, attack), how))
    if left:
        return Markup("<strong>Not countered by any evaluated defense:</strong> {}.").format(Markup(", ").join(left))
    return Markup(
        "For every harmful attack, some defense retains at least {} of the value of communication. This says nothing "
        "about attacks that are not in the table."
    ).format(percent(ANSWERED))


def _tax(results: Results) -> list[Markup]:
    parts = []
    clean_bytes = results.estimate(results.scores(None, key="bytes_per_step")).value
    for defense in results.defenses:
        if defense == NONE:
            continue
        gain = results.gain(results.scores(None, defense), results.clean)
        if not gain.known:
            continue
        if results.negligible(gain):
            cost = Markup("nothing measurable")
        else:
            worse = gain.value < 0
            cost = Markup("{}&nbsp;{}{}").format(
                fixed(abs(gain.value), max(results.primary.digits, 2)),
                results.primary.unit,
                "" if worse else " less than none",
            )
        size = results.estimate(results.scores(None, defense, "bytes_per_step")).value
        more = size / clean_bytes - 1 if clean_bytes and math.isfinite(clean_bytes) else math.nan
        wire = Markup(" and {}% more bytes").format(fixed(100 * more, 0)) if more > 0.005 else Markup("")
        parts.append(Markup("{} costs {}{}").format(named([defense]), cost, wire))
    if not parts:
        return []
    return [Markup("Without attacks, {}.").format(Markup("; ").join(parts))]
