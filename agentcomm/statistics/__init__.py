"""Statistics over training seeds: estimates with intervals, exact tests, aggregates, selection, detection.

The unit of replication is the training seed; episodes are nested in it. A score per seed goes in, as a mapping from
seed to score, and no function resamples episodes. A failed seed is NaN or absent: it is excluded and counted, never
scored as zero. Randomness comes from a ``numpy.random.Generator`` that the caller gives.

With fewer than ``MIN_SEEDS`` seeds there is no interval: show a dot per seed. With fewer than ``CLAIM_SEEDS`` there is
no claim in words. No interval covers a kind of outcome that none of the seeds has reached (:func:`unseen_share`).

``scipy.stats`` is imported where it is used: it takes as long as torch, and most commands need none of it.
"""

from agentcomm.statistics.aggregates import (
    bootstrap,
    iqm,
    iqms,
    optimality_gap,
    performance_profile,
    probability_of_improvement,
)
from agentcomm.statistics.comparison import CLAIM_SEEDS, SIGNIFICANT, Comparison, compare, family
from agentcomm.statistics.detection import (
    Roc,
    auprc,
    auroc,
    corrected_count,
    corrected_rate,
    roc,
    tpr_at_fpr,
)
from agentcomm.statistics.estimates import (
    LEVEL,
    MIN_SEEDS,
    POSITIVE,
    REAL,
    SHARE,
    Estimate,
    Scale,
    estimate,
    ratio,
    retained_fraction,
    unseen_share,
)
from agentcomm.statistics.selection import Selected, select_and_report
from agentcomm.statistics.tests import equivalent, holm, permutation, sign_flip, sign_test

__all__ = [
    "CLAIM_SEEDS",
    "LEVEL",
    "MIN_SEEDS",
    "POSITIVE",
    "REAL",
    "SHARE",
    "SIGNIFICANT",
    "Comparison",
    "Estimate",
    "Roc",
    "Scale",
    "Selected",
    "auprc",
    "auroc",
    "bootstrap",
    "compare",
    "corrected_count",
    "corrected_rate",
    "equivalent",
    "estimate",
    "family",
    "holm",
    "iqm",
    "iqms",
    "optimality_gap",
    "performance_profile",
    "permutation",
    "probability_of_improvement",
    "ratio",
    "retained_fraction",
    "roc",
    "select_and_report",
    "sign_flip",
    "sign_test",
    "tpr_at_fpr",
    "unseen_share",
]
