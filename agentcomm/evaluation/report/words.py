"""The answer in words, written from the numbers.

Labels of attacks and defenses are untrusted text: they enter sentences only through ``Markup.format``, which escapes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from agentcomm.evaluation.report.grid import NONE, Grid, Measure, Scores
from agentcomm.evaluation.report.text import fixed, named, percent, signed, span
from agentcomm.evaluation.statistics import MIN_SEEDS, Estimate, coverage_of_range

ANSWERED = 0.9  # a defense answers an attack when at least this fraction is retained


@dataclass(frozen=True)
class Answer:
    """What the page says first.

    Attributes:
        headline: One sentence.
        paragraphs: The answer, most important first.
        caveats: What to keep in mind.
    """

    headline: Markup
    paragraphs: list[Markup]
    caveats: list[Markup]


def answer(grid: Grid, notes: Iterable[str] = ()) -> Answer:
    """The question's answer from the grid's numbers."""
    voc = grid.value_of_communication()
    paragraphs = [_worth(grid, voc)]
    paragraphs += _attacks(grid, voc)
    paragraphs += _defenses(grid, voc)
    paragraphs += _tax(grid)
    return Answer(_headline(grid, voc), paragraphs, [*_caveats(grid, voc), *(Markup("{}").format(n) for n in notes)])


def worthless(grid: Grid, voc: Estimate) -> bool:
    """Whether messages give this team nothing that an attack could take."""
    return voc.known and (grid.negligible(voc) or voc.value <= 0)


def undefended(grid: Grid) -> list[str]:
    """Attacks with a score without defenses, the worst first."""
    scored = {a: grid.estimate(grid.scores(a)).value for a in grid.attacks}
    known = [a for a, score in scored.items() if math.isfinite(score)]
    return sorted(known, key=lambda a: scored[a], reverse=grid.primary.better == "lower")


def best_defense(grid: Grid, attack: str) -> tuple[str, Estimate] | None:
    """The defense under which an attack does least harm, with the score there."""
    found = [(d, grid.estimate(grid.scores(attack, d))) for d in grid.defenses if d != NONE]
    found = [(d, score) for d, score in found if score.known]
    if not found:
        return None
    return (min if grid.primary.better == "lower" else max)(found, key=lambda pair: pair[1].value)


def harmful(grid: Grid, attack: str) -> bool:
    """Whether an undefended attack measurably worsens the score."""
    loss = grid.gain(grid.clean, grid.scores(attack))
    return not grid.negligible(loss) and loss.value > 0


def _brief(grid: Grid, label: str) -> Markup:
    """An attack's bare name where that is unambiguous, else its whole label."""
    record = grid.records.get(label) or {}
    name = str(record.get("name") or label)
    namesakes = [r for r in grid.records.values() if r.get("name") == name]
    return named([name if len(namesakes) == 1 else label])


def _amount(value: float, measure: Measure, digits: int | None = None) -> Markup:
    return Markup("<b>{}&nbsp;{}</b>").format(fixed(value, measure.digits if digits is None else digits), measure.unit)


def _in_brackets(estimate: Estimate, digits: int, scores: Scores | None = None) -> Markup:
    """The interval, or with too few seeds the single values."""
    text = span(estimate, digits)
    if text:
        return Markup(" <small>(95% interval {} over {}&nbsp;seeds)</small>").format(text, estimate.seeds)
    if scores and estimate.seeds > 1:
        values = ", ".join(fixed(v, digits) for v in scores.values() if math.isfinite(v))
        return Markup(" <small>(seeds: {})</small>").format(values)
    return Markup(" <small>(one seed)</small>") if estimate.seeds == 1 else Markup("")


def _percent_interval(estimate: Estimate) -> Markup:
    text = span(estimate, 0, 100.0, "%")
    return Markup(" <small>({})</small>").format(text) if text else Markup("")


def _complement(estimate: Estimate) -> Estimate:
    """One minus an estimate."""
    ends = estimate.interval and (1 - estimate.interval[1], 1 - estimate.interval[0])
    return Estimate(1 - estimate.value, ends, estimate.seeds, estimate.excluded, estimate.reason)


def _headline(grid: Grid, voc: Estimate) -> Markup:
    unit, digits = grid.primary.unit, grid.primary.digits
    clean = grid.estimate(grid.clean)
    if not voc.known:
        if not clean.known:
            return Markup("The undisturbed team has no score yet, so nothing can be compared.")
        return Markup("The team scores {} {}; what its messages are worth was not measured.").format(
            fixed(clean.value, digits), unit
        )
    if worthless(grid, voc):
        return Markup("Messages give this team nothing measurable, so attacks on them have nothing to take.")
    first = Markup("Talking is worth {}&nbsp;{} to this team.").format(fixed(voc.value, digits), unit)
    order = [a for a in undefended(grid) if harmful(grid, a)]
    if not order:
        return first + (Markup(" No attack here takes a measurable part of it.") if grid.attacks else Markup(""))
    lost = 1 - grid.retained(grid.scores(order[0])).value
    takes = Markup("more than all") if lost > 1 else Markup("{}").format(percent(lost))
    second = Markup(" {} takes {} of that").format(_brief(grid, order[0]), takes)
    best = best_defense(grid, order[0])
    back = grid.recovered(order[0], best[0]) if best else None
    if best is None or back is None or not back.known or back.value <= 0.05:
        return first + second + Markup(".")
    return first + second + Markup("; {} gives {} back.").format(named([best[0]]), percent(min(back.value, 1.0)))


def _worth(grid: Grid, voc: Estimate) -> Markup:
    m = grid.primary
    clean, floor = grid.estimate(grid.clean), grid.estimate(grid.floor)
    if not clean.known:
        return Markup("The team has no working cell without attack and defense: there is nothing to compare with.")
    verb = "finishes an episode in" if m.key == "mean_steps" else "reaches"
    text = Markup("Undisturbed, the team {} {}{}.").format(
        verb, _amount(clean.value, m), _in_brackets(clean, m.digits, grid.clean)
    )
    if not floor.known:
        return text + Markup(
            " It was not retrained without messages, so there is no floor: what communication is worth, and what "
            "fraction of it survives an attack, cannot be said."
        )
    text += Markup(" The same team retrained without messages {} {}{}.").format(
        "needs" if m.key == "mean_steps" else "reaches",
        _amount(floor.value, m),
        _in_brackets(floor, m.digits, grid.floor),
    )
    if worthless(grid, voc):
        return text + Markup(
            " <strong>Communication is worth nothing measurable here</strong> (difference {}{}). An attack on messages "
            "cannot take what they do not give, so no retained fraction is meaningful in this run."
        ).format(signed(voc.value, m.digits), _in_brackets(voc, m.digits))
    return text + Markup(" Communication is worth the difference, {}{}.").format(
        _amount(voc.value, m), _in_brackets(voc, m.digits)
    )


def _attacks(grid: Grid, voc: Estimate) -> list[Markup]:
    m, order = grid.primary, undefended(grid)
    if not order:
        return [Markup("No attack was evaluated.")]
    hurting = [a for a in order if harmful(grid, a)]
    if not hurting:
        return [Markup("None of the {} attacks measurably harms the undefended team.").format(len(order))]
    worst = grid.estimate(grid.scores(hurting[0]))
    text = Markup("Undefended, {} hurts most: {}{}").format(
        _brief(grid, hurting[0]), _amount(worst.value, m), _in_brackets(worst, m.digits, grid.scores(hurting[0]))
    )
    lost = _complement(grid.retained(grid.scores(hurting[0])))
    if worthless(grid, voc) or not lost.known:
        text += Markup(".")
    elif lost.value > 1:
        text += Markup(
            ", <strong>worse than having no messages at all</strong>: it turns the channel against the team."
        )
    else:
        text += Markup(", which costs <b>{}</b>{} of what communication is worth.").format(
            percent(lost.value), _percent_interval(lost)
        )
    for attack in hurting[1:4]:
        share = _complement(grid.retained(grid.scores(attack)))
        if not worthless(grid, voc) and share.known:
            text += Markup(" {} costs <b>{}</b>{}.").format(
                _brief(grid, attack), percent(share.value), _percent_interval(share)
            )
    harmless = [a for a in order if a not in hurting]
    if harmless:
        text += Markup(" {} of {} attacks cost nothing measurable: {}.").format(
            len(harmless), len(order), named(harmless)
        )
    return [text]


def _defenses(grid: Grid, voc: Estimate) -> list[Markup]:
    m, order = grid.primary, undefended(grid)
    defenses = [d for d in grid.defenses if d != NONE]
    hurting = [a for a in order if harmful(grid, a)]
    if not defenses or not hurting:
        return [] if defenses else [Markup("No defense was evaluated.")]
    text = Markup("")
    best = best_defense(grid, hurting[0])
    if best is not None:
        back = grid.recovered(hurting[0], best[0])
        gain = grid.gain(grid.scores(hurting[0], best[0]), grid.scores(hurting[0]))
        if back.known and not grid.negligible(gain) and back.value > 0:
            text += Markup("Against {}, {} gives back <b>{}</b>{} of the damage.").format(
                _brief(grid, hurting[0]), named([best[0]]), percent(back.value), _percent_interval(back)
            )
        else:
            text += Markup("Against {}, no defense here measurably helps.").format(_brief(grid, hurting[0]))
    worst = {d: grid.estimate(grid.over_attacks(d, "worst")) for d in grid.defenses}
    worst = {d: e for d, e in worst.items() if e.known}
    if len(worst) > 1 and len(order) > 1:
        pick = (min if m.better == "lower" else max)(worst, key=lambda d: worst[d].value)
        kept = grid.retained(grid.over_attacks(pick, "worst"))
        text += Markup(" In the worst case over all {} attacks, {} holds best with {}{}").format(
            len(grid.attacks),
            named([pick]) if pick != NONE else Markup("no defense"),
            _amount(worst[pick].value, m),
            _in_brackets(worst[pick], m.digits, grid.over_attacks(pick, "worst")),
        )
        retained = not worthless(grid, voc) and kept.known
        text += Markup(", <b>{}</b> retained.").format(percent(kept.value)) if retained else Markup(".")
    return [p for p in (text, _unanswered(grid, voc, hurting)) if p]


def _unanswered(grid: Grid, voc: Estimate, hurting: Sequence[str]) -> Markup:
    if worthless(grid, voc) or not voc.known:
        return Markup("")
    left = []
    for attack in hurting:
        best = best_defense(grid, attack)
        kept = grid.retained(grid.scores(attack, best[0])) if best else grid.retained(grid.scores(attack))
        if kept.known and kept.value < ANSWERED:
            how = (
                Markup("at best {} retained, with {}").format(percent(kept.value), named([best[0]]))
                if best
                else Markup("undefended")
            )
            left.append(Markup("{} ({})").format(_brief(grid, attack), how))
    if left:
        return Markup("<strong>What no defense here answers:</strong> {}.").format(Markup(", ").join(left))
    return Markup(
        "For every attack that hurts, some defense here retains at least {} of what communication is worth. That says "
        "nothing about attacks that are not in the table."
    ).format(percent(ANSWERED))


def _tax(grid: Grid) -> list[Markup]:
    parts = []
    clean_bytes = grid.estimate(grid.scores(None, key="bytes_per_step")).value
    for defense in grid.defenses:
        if defense == NONE:
            continue
        gain = grid.gain(grid.scores(None, defense), grid.clean)
        if not gain.known:
            continue
        if grid.negligible(gain):
            cost = Markup("nothing measurable")
        else:
            worse = gain.value < 0
            cost = Markup("{}&nbsp;{}{}").format(
                fixed(abs(gain.value), max(grid.primary.digits, 2)),
                grid.primary.unit,
                "" if worse else " less than none",
            )
        size = grid.estimate(grid.scores(None, defense, "bytes_per_step")).value
        more = size / clean_bytes - 1 if clean_bytes and math.isfinite(clean_bytes) else math.nan
        wire = Markup(" and {}% more bytes").format(fixed(100 * more, 0)) if more > 0.005 else Markup("")
        parts.append(Markup("{} costs {}{}").format(named([defense]), cost, wire))
    if not parts:
        return []
    return [Markup("When nobody attacks, {}.").format(Markup("; ").join(parts))]


def _caveats(grid: Grid, voc: Estimate) -> list[Markup]:
    out = []
    seeds = len(grid.seeds)
    if not seeds:
        out.append(Markup("No team was evaluated, only its control."))
    elif seeds < MIN_SEEDS:
        out.append(
            Markup(
                "{} training {}: intervals over seeds are not meaningful and none are shown. Single values are printed "
                "instead; a difference here may be luck of the seed."
            ).format("One" if seeds == 1 else "Two", "seed" if seeds == 1 else "seeds")
        )
    elif seeds == MIN_SEEDS:
        out.append(
            Markup(
                "With {} training seeds a 95% interval over seeds is about the range of their values; it covers the "
                "truth in roughly {} of experiments, not 95%. Published claims use 10 seeds."
            ).format(seeds, percent(coverage_of_range(seeds)))
        )
    elif seeds < 10:
        out.append(Markup("Intervals rest on {} training seeds. Published claims use 10.").format(seeds))
    if grid.failed:
        out.append(
            Markup("{} failed: {} left out and counted, never scored as zero.").format(
                "1 cell" if len(grid.failed) == 1 else f"{len(grid.failed)} cells",
                "it is" if len(grid.failed) == 1 else "they are",
            )
        )
    partial = voc.excluded
    if voc.known and partial:
        out.append(
            Markup("{} of the seeds lack the team or its control and are missing from comparisons.").format(partial)
        )
    return out
