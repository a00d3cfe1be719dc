"""The answer at the top of a report: two sentences, the evidence behind them, and what limits them.

Labels of attacks and defenses are untrusted text: they enter sentences only through ``Markup.format``, which escapes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from markupsafe import Markup

from agentcomm.report.caveats import caveats
from agentcomm.report.claims import Claims
from agentcomm.report.effects import Part, effect, undefended
from agentcomm.report.phrases import amount, brief, part, score
from agentcomm.report.results import NONE, Results
from agentcomm.report.text import between, fixed, named, several, small
from agentcomm.statistics import CLAIM_SEEDS


@dataclass(frozen=True)
class Answer:
    """The summary at the top of the page.

    Attributes:
        headline: What messages are worth.
        second: What attacks do, and what defenses avert.
        evidence: Seeds, episodes, cells and claims.
        caveats: Limits of the conclusions.
    """

    headline: Markup
    second: Markup
    evidence: Markup
    caveats: list[Markup]


def answer(results: Results, claims: Claims, notes: Iterable[str] = ()) -> Answer:
    """The summary of a run's results.

    Args:
        results: All cells of the run.
        claims: What may be stated in words.
        notes: Further caveats, such as unreadable files.
    """
    second = _second(results, claims) if results.judged else Markup("No conclusions are drawn from its attacked cells.")
    limits = [*caveats(results, claims), *(Markup("{}").format(note) for note in notes)]
    return Answer(_headline(results, claims), second, _evidence(results, claims), limits)


def _headline(results: Results, claims: Claims) -> Markup:
    m = results.primary
    if not results.judged and results.foreign:
        return Markup("The team does no better than at random, so nothing can be said about its messages.")
    if not results.judged:
        return Markup("The team has not learned its task, so nothing can be said about its messages.")
    clean = results.estimate(results.clean)
    if not clean.known:
        return Markup("There is no score without attacks, so nothing can be compared.")
    ours, theirs, rule = results.worth()
    gain = results.compare(ours, theirs).difference
    if not gain.known:
        return Markup("The team {} {} with {} actions{}; what its messages are worth was not measured.").format(
            m.verb, amount(clean.value, m), results.decisions, small(between(clean, m.digits, results.clean))
        )
    both = Markup(" <small>(both with {} actions)</small>").format(rule)
    if claims.worth:
        return Markup("Messages are worth {} to this team{}{}.").format(
            amount(gain.value, m), small(between(gain, m.digits, first=True)), both
        )
    told = Markup(": no difference is supported") if len(results.seeds) >= CLAIM_SEEDS else Markup("")
    return Markup("The team {} {} with messages and {} when retrained without them{}{}.").format(
        m.verb, amount(results.estimate(ours).value, m), amount(results.estimate(theirs).value, m), both, told
    )


def _second(results: Results, claims: Claims) -> Markup:
    order = undefended(results)
    if not results.attacks:
        return Markup("No attack was evaluated.")
    if not order:
        return Markup("None of the evaluated attacks has a score, so nothing is said about attacks.")
    shown = [attack for attack in order if attack in results.shown]
    if not shown:
        return Markup("All evaluated attacks assume something of their victims, so none counts as a shown risk.")
    worst = claims.worst_attack()
    return _measured(results, shown[0]) if worst is None else _selected(results, claims)


def _measured(results: Results, attack: str) -> Markup:
    """The largest damage, where there are too few seeds to call an attack the worst."""
    found = effect(results, attack)
    text = Markup("The largest measured damage of an attack is {}, under {}{}").format(
        part(results, found["damage"]), brief(results, attack), _control(results, found["control_damage"])
    )
    return text + Markup("; {} are too few to call an attack the worst or a defense the best.").format(
        several(len(results.seeds), "seed")
    )


def _selected(results: Results, claims: Claims) -> Markup:
    """The worst attack and the best defense against it, chosen on half of the seeds and measured on the others."""
    worst, m = claims.worst_attack(), results.primary
    assert worst is not None
    found = effect(results, worst.name)
    seeds = worst.reported.seeds
    text = Markup("Of {}, {} was chosen as the worst on half of the seeds; on the other {}, {} {}{}").format(
        several(len(results.shown), "attack"),
        brief(results, worst.name),
        seeds,
        Markup("it costs") if claims.costs(worst.name) else Markup("its damage is"),
        amount(worst.reported.value, m) + small(between(worst.reported, m.digits)),
        _control(results, found["control_damage"]),
    )
    best = claims.best_defense(worst.name)
    if best is None:
        return text + Markup(".")
    return text + Markup(" without defenses, and {}{} with {}, the defense chosen against it.").format(
        amount(best.reported.value, m), small(between(best.reported, m.digits)), named([best.name])
    )


def _control(results: Results, damage: Part) -> Markup:
    if not damage.known:
        return Markup("")
    return Markup(" (its matched control: {})").format(fixed(damage.value, results.primary.digits))


def _evidence(results: Results, claims: Claims) -> Markup:
    teams = results.seeds
    floor = [row["seed"] for row in results.rows(None, NONE, "control")]
    rows = [row for a in (None, *results.attacks) for d in results.defenses for row in results.rows(a, d)]
    episodes = sorted({int(row["episodes"]) for row in rows if row.get("episodes")})
    parts = [
        several(len(teams), "team" if results.foreign else "trained team")
        + (f" (seeds {_ranges(teams)})" if teams else ""),
        f"{several(len(floor), 'team')} retrained without messages" if floor else "no team retrained without messages",
        *([f"{' or '.join(f'{n:,}' for n in episodes)} episodes per cell"] if episodes else []),
        f"{several(len(rows), 'cell')} with {results.decisions} actions",
        f"{claims.supported} of {several(len(claims.tested), 'possible claim')} supported",
    ]
    return Markup("Evidence: {}.").format("; ".join(parts))


def _ranges(seeds: list[int]) -> str:
    """``0 to 9`` for consecutive seeds, otherwise all of them."""
    if len(seeds) > 2 and seeds == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds))


def team(results: Results, claims: Claims) -> list[Markup]:
    """Sentences on what the team has learned and what its messages are worth."""
    out, m = _learned(results), results.primary
    if not results.estimate(results.clean).known:
        return out
    text = Markup("Without attacks, with {} actions, the team {} {}.").format(
        results.decisions, m.verb, score(results, results.clean, first=True)
    )
    if not results.estimate(results.floor).known:
        return [*out, text + Markup(" It was not retrained without messages, so there is no floor.")]
    text += Markup(" The same team retrained without messages {} {}.").format(m.verb, score(results, results.floor))
    ours, theirs, rule = results.worth()
    if rule != results.decisions:
        text += Markup(
            " With {} actions, the two reach {} and {}; this smaller difference counts as the worth of messages."
        ).format(rule, score(results, ours), score(results, theirs))
    silent = results.reference("silent")
    if results.estimate(silent).known:
        text += Markup(" With all of its messages dropped, the team {} {}.").format(m.verb, score(results, silent))
    if not claims.worth:
        text += Markup(" No share of the worth of messages is given, since that worth is not supported.")
    return [*out, text]


def _learned(results: Results) -> list[Markup]:
    """Whether the teams have learned their task."""
    known = results.learned()
    left = [seed for seed, learned in known.items() if not learned]
    if not known:
        return []
    if results.foreign:
        return _better_than_chance(results, left, len(known))
    scores = Markup("{} before training, {} after it, with sampled actions").format(
        score(results, results.reference("untrained")), score(results, results.reference("sampled"))
    )
    if not left:
        return [Markup("The team has learned: {}.").format(scores)]
    if len(left) == len(known):
        return [Markup("<strong>The team has not learned its task</strong>: {}.").format(scores)]
    return [
        Markup("<strong>{} of {} teams have not learned</strong> (seed {}): {}.").format(
            len(left), len(known), ", ".join(map(str, left)), scores
        )
    ]


def _better_than_chance(results: Results, left: list[int], teams: int) -> list[Markup]:
    """Whether callables do better than random actions: what they were before any training is not known here."""
    scores = Markup("{} with random actions, {} with its own, sampled").format(
        score(results, results.reference("untrained")), score(results, results.reference("sampled"))
    )
    if not left:
        return [Markup("The team does better than at random: {}.").format(scores)]
    if len(left) == teams:
        return [Markup("<strong>The team does no better than at random</strong>: {}.").format(scores)]
    return [
        Markup("<strong>{} of {} teams do no better than at random</strong> (seed {}): {}.").format(
            len(left), teams, ", ".join(map(str, left)), scores
        )
    ]
