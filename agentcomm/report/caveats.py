"""Caveats: what limits the conclusions of a report, such as few seeds, failed cells and attacks that never acted."""

from __future__ import annotations

from markupsafe import Markup

from agentcomm.report.claims import Claims
from agentcomm.report.phrases import briefly
from agentcomm.report.results import Results
from agentcomm.report.text import named, several
from agentcomm.statistics import CLAIM_SEEDS, MIN_SEEDS


def caveats(results: Results, claims: Claims) -> list[Markup]:
    """Sentences on what limits the conclusions; empty if nothing does."""
    out = [*_seeds(results, claims), *_excluded(results)]
    assumed = [attack for attack in results.attacks if results.assumes(attack)]
    if assumed:
        out.append(
            Markup("What {} would do rests on an assumption about the victims, and shows no risk by itself.").format(
                briefly(results, assumed)
            )
        )
    return out


def _seeds(results: Results, claims: Claims) -> list[Markup]:
    seeds = len(results.seeds)
    if not seeds:
        return [Markup("No team was evaluated, only its control.")]
    if seeds < CLAIM_SEEDS:
        shown = "each seed is a dot" if seeds < MIN_SEEDS else "intervals are Student's t"
        return [
            Markup("{}: {}, and nothing is claimed in words, which takes {} seeds.").format(
                several(seeds, "training seed"), shown, CLAIM_SEEDS
            )
        ]
    if not claims.possible:
        return [
            Markup(
                "{} possible claims about attacks and defenses are too many for {} seeds: even the surest has an "
                "adjusted p above 5%. Evaluate more seeds, or fewer attacks and defenses."
            ).format(len(claims.tested.keys() - {"worth"}), seeds)
        ]
    return []


def _excluded(results: Results) -> list[Markup]:
    out = []
    if results.failed:
        count = len(results.failed)
        out.append(
            Markup("{} failed: {} excluded, not scored as zero.").format(
                several(count, "cell"), "it is" if count == 1 else "they are"
            )
        )
    if results.inconclusive:
        idle = list(dict.fromkeys(str(row["attack"]["label"]) for row in results.inconclusive))
        count = len(results.inconclusive)
        reasons = dict.fromkeys(str(row["reason"]) for row in results.inconclusive if row.get("reason"))
        why = Markup(": {}").format("; ".join(list(reasons)[:2])) if reasons else Markup("")
        out.append(
            Markup("{} of {} {} inconclusive and not scored{}.").format(
                several(count, "cell"), named(idle), "is" if count == 1 else "are", why
            )
        )
    excluded = results.compare(results.clean, results.floor).difference.excluded
    one_sided = set(results.clean) ^ set(results.floor)
    if results.floor and (excluded or one_sided):
        out.append(
            Markup("{} without a score of both the team and its control excluded from comparisons.").format(
                several(excluded + len(one_sided), "seed") + (" is" if excluded + len(one_sided) == 1 else " are")
            )
        )
    return out
