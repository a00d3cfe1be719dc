"""r-robustness of a communication graph, the condition of W-MSR (LeBlanc et al., IEEE JSAC 2013).

A directed graph is r-robust if of any two disjoint, nonempty sets of agents at least one contains an agent with r or
more senders outside of its set. With at most F attackers in every inbox, agents that average by W-MSR agree within the
range of honest values if the graph is (2 F + 1)-robust. To decide r-robustness is co-NP-complete (Zhang, Fata and
Sundaram, 2015): it is computed exactly for up to 12 agents here, by a minimum over subsets, and bounded for more.
"""

from __future__ import annotations

import torch
from torch import Tensor

EXACT = 12  # agents


def adjacency(source: Tensor, kept: Tensor | None = None) -> Tensor:
    """[N, N] bool, whether receiver i hears sender j.

    Args:
        source: [N, k] int64, senders per receiver.
        kept: [N, k] bool, edges that exist; None for all.
    """
    agents = len(source)
    edge = torch.ones_like(source, dtype=torch.bool) if kept is None else kept
    hears = torch.zeros(agents, agents, dtype=torch.int64, device=source.device)
    found: Tensor = hears.scatter_add_(1, source, edge.long()) > 0
    return found & ~torch.eye(agents, dtype=torch.bool, device=source.device)


def robustness(hears: Tensor) -> int:
    """The largest r for which a graph is r-robust.

    Args:
        hears: [N, N] bool, whether receiver i hears sender j.

    Raises:
        ValueError: If there are more than 12 agents; use :func:`robustness_bounds`.
    """
    agents = len(hears)
    if agents > EXACT:
        raise ValueError(
            f"r-robustness is computed exactly for up to {EXACT} agents, and is co-NP-complete: use robustness_bounds"
            f" for {agents}"
        )
    if agents < 2:
        return 0  # by convention: there are no two sets
    reach = _reach(hears)
    best = reach.clone()  # the smallest reach of any nonempty subset
    for agent in range(agents):
        with_it = (torch.arange(len(best)) >> agent & 1).bool()
        place = with_it.nonzero().squeeze(1)
        best[place] = torch.minimum(best[place], best[place ^ 1 << agent])
    others = len(reach) - 1 - torch.arange(len(reach))
    pairs = torch.maximum(reach, best[others])[1:-1]  # both sets must be nonempty
    return int(pairs.min())


def robustness_bounds(hears: Tensor) -> tuple[int, int]:
    """Bounds of the largest r for which a graph is r-robust; equal for up to 12 agents.

    The smaller of two disjoint sets has at most N // 2 members, so each of them hears at least d - N // 2 + 1 others,
    with d the fewest senders of any agent. No graph is more than ceil(N / 2)-robust, nor more than the second fewest
    senders: take two sets of one agent each.
    """
    agents = len(hears)
    if agents <= EXACT:
        exact = robustness(hears)
        return exact, exact
    senders = hears.sum(1).sort().values
    upper = min((agents + 1) // 2, int(senders[1]))
    return max(0, min(upper, int(senders[0]) - agents // 2 + 1)), upper


def tolerated(r: int) -> int:
    """F, attackers in every inbox that W-MSR withstands on an r-robust graph: the largest with 2 F + 1 <= r."""
    return max(0, (r - 1) // 2)


def _reach(hears: Tensor) -> Tensor:
    """[2^N] int64, of each set of agents (a bit each) the most senders outside of it that one of its agents hears.

    The empty set, of which there is none, has more than any other.
    """
    agents = len(hears)
    sets = torch.arange(2**agents)
    inside = (sets.unsqueeze(1) >> torch.arange(agents) & 1).bool()
    outside = (~inside).long() @ hears.long().cpu().T  # [2^N, N] senders of each agent that are outside
    reach = outside.masked_fill(~inside, -1).amax(1)
    reach[0] = agents
    return reach
