"""Certified radius of a vote over noisy copies (Cohen, Rosenfeld and Kolter, ICML 2019; defense ``smoothing``).

If the noisy policy takes an action with a probability of at least p > 1/2, it is its likeliest action for every change
of what the agent hears that is shorter than sigma times the p-quantile of the standard normal distribution (Theorem 1
with p_B = 1 - p_A). The length is that of all payloads of the inbox together. p is bounded from the votes by Clopper
and Pearson's interval, for all actions at once (Bonferroni), since the same votes choose the action and certify it.
"""

from __future__ import annotations

from math import sqrt

from scipy.special import betaincinv, ndtri


def lower_bound(votes: int, samples: int, alpha: float) -> float:
    """One-sided lower Clopper-Pearson bound, at confidence 1 - alpha, of a probability seen ``votes`` times."""
    return 0.0 if votes == 0 else float(betaincinv(votes, samples - votes + 1, alpha))


def radius(votes: int, samples: int, sigma: float, actions: int, alpha: float = 0.001) -> float:
    """Largest length of a change that provably leaves the likeliest action alone; 0 if nothing is certified.

    Args:
        votes: Votes of the winning action.
        samples: Copies that voted.
        sigma: Standard deviation of the noise.
        actions: Number of actions.
        alpha: Probability with which a certificate may be wrong.
    """
    likely = lower_bound(votes, samples, alpha / actions)
    return sigma * float(ndtri(likely)) if likely > 0.5 else 0.0


def message_radius(total: float, attacked: int) -> float:
    """Length that each of ``attacked`` messages may be changed by if all changes together are at most ``total``."""
    return total / sqrt(attacked)
