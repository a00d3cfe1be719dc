"""Caveats: what limits the conclusions of a report, such as few seeds, failed cells and attacks that never acted."""

from __future__ import annotations

from markupsafe import Markup

from agentcomm.evaluation.statistics import MIN_SEEDS, Estimate, coverage_of_range
from agentcomm.report.results import Results
from agentcomm.report.text import named, percent


def caveats(results: Results, voc: Estimate) -> list[Markup]:
    """Sentences on what limits the conclusions; empty if nothing does.

    Args:
        results: All cells of the run.
        voc: Value of communication.
    """
    out = []
    seeds = len(results.seeds)
    if not seeds:
        out.append(Markup("No team was evaluated, only its control."))
    elif seeds < MIN_SEEDS:
        out.append(
            Markup(
                "{} training {}: intervals over seeds are not meaningful, so single values are shown instead. "
                "Differences may be due to the choice of the seed."
            ).format("One" if seeds == 1 else "Two", "seed" if seeds == 1 else "seeds")
        )
    elif seeds == MIN_SEEDS:
        out.append(
            Markup(
                "With {} training seeds, a 95% interval over seeds is approximately the range of their values and "
                "covers the true value in about {} of experiments, not 95%. Use 10 seeds for published results."
            ).format(seeds, percent(coverage_of_range(seeds)))
        )
    elif seeds < 10:
        out.append(Markup("Intervals are based on {} training seeds. Use 10 for published results.").format(seeds))
    if results.failed:
        many = len(results.failed) > 1
        out.append(
            Markup("{} failed: {} excluded, not scored as zero.").format(
                f"{len(results.failed)} cells" if many else "1 cell", "they are" if many else "it is"
            )
        )
    if results.inconclusive:
        idle = list(dict.fromkeys(str(row["attack"]["label"]) for row in results.inconclusive))
        out.append(
            Markup(
                "In {}, the attack had no effect on any message ({}); this says nothing about robustness and is "
                "not scored."
            ).format("1 cell" if len(results.inconclusive) == 1 else f"{len(results.inconclusive)} cells", named(idle))
        )
    partial = voc.excluded
    if voc.known and partial:
        out.append(
            Markup("{} of the seeds lack the team or its control and are excluded from comparisons.").format(partial)
        )
    return out
