"""Certificates of a vote over subsets of links (AME; Sun et al., ICLR 2023; defense ``ensemble``).

A receiver has n links, of which an attacker controls C; every member of the vote hears k of them. Of the C(n, k)
subsets C(n - C, k) touch no attacked link, so at most K = C(n, k) - C(n - C, k) votes are the attacker's.

- An action with more than K votes is *benign*: at least one honest subset leads to it, so the clean policy could take
  it.
- An action that leads the second by more than 2 K votes without an attack is *unchanged* under any.
- With D subsets drawn at random the number of attacked ones is hypergeometric, and both hold with a probability.
- No k is admissible for n = 2 (three agents): one attacked link can always break the unanimity that it takes there.
- Continuous actions, coordinate-wise median: benign in every coordinate if C(n - C, k) > C(n, k) / 2.
"""

from __future__ import annotations

from fractions import Fraction
from math import comb


def attacked_subsets(links: int, heard: int, attacked: int) -> int:
    """K, the number of subsets of ``heard`` of ``links`` links that touch one of the ``attacked``."""
    return comb(links, heard) - comb(links - attacked, heard)


def median_holds(links: int, heard: int, attacked: int) -> bool:
    """Whether more than half of the subsets touch no attacked link: the condition for continuous actions."""
    return attacked <= links and 2 * comb(links - attacked, heard) > comb(links, heard)


def largest_heard(links: int, attacked: int) -> int | None:
    """The largest admissible k, links that each member hears; None if the certificate is vacuous for every k."""
    return next((heard for heard in range(links - 1, 0, -1) if median_holds(links, heard, attacked)), None)


def benign(votes: int, links: int, heard: int, attacked: int) -> bool:
    """Whether an action with that many votes of all subsets is one that the clean policy could take."""
    return votes > attacked_subsets(links, heard, attacked)


def unchanged(votes: int, second: int, links: int, heard: int, attacked: int) -> bool:
    """Whether an action keeps winning under any attack.

    Args:
        votes: Its votes without an attack, of all subsets.
        second: Most votes of any other action.
        links: n.
        heard: k.
        attacked: C.
    """
    return votes - second > 2 * attacked_subsets(links, heard, attacked)


def confidence(votes: int, samples: int, links: int, heard: int, attacked: int) -> float:
    """Probability that an action with that many votes of D sampled subsets is benign.

    The attacker chooses its links without knowing which subsets will be drawn. The action is benign unless all of its
    votes are from attacked subsets, and there are fewer of these than ``votes`` with this probability.

    Args:
        votes: Votes of the action.
        samples: D, subsets drawn without replacement.
        links: n.
        heard: k.
        attacked: C.
    """
    number = attacked_subsets(links, heard, attacked)
    return _at_most(votes - 1, comb(links, heard), number, samples)


def confidence_unchanged(votes: int, second: int, samples: int, links: int, heard: int, attacked: int) -> float:
    """Probability that an action keeps winning under any attack: 2 K is less than its lead, K attacked samples."""
    number = attacked_subsets(links, heard, attacked)
    return _at_most((votes - second - 1) // 2, comb(links, heard), number, samples)


def _at_most(most: int, subsets: int, attacked: int, samples: int) -> float:
    """Probability that at most ``most`` of the samples are attacked: the hypergeometric distribution, in whole numbers.

    Importing the one of scipy.stats takes longer than certifying a team.
    """
    ways = sum(comb(attacked, hit) * comb(subsets - attacked, samples - hit) for hit in range(min(most, samples) + 1))
    return float(Fraction(ways, comb(subsets, samples)))
