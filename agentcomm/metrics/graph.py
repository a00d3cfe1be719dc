"""Graph: how traffic is spread over the edges, and how much of the graph an attacker must hold to divide the team.

Edges are those over which messages were accepted; an agent is connected to itself by none. A graph of a cell joins the
edges of all its episodes, so a graph that changes from step to step counts with every edge that it used.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from agentcomm.contracts.metric import Group, Metric
from agentcomm.contracts.outcome import Episodes

MOST_AGENTS = 12  # for the exact robustness, whose cost doubles with each agent
MOST_DENSE = 512  # agents up to which all eigenvalues are computed, in a time that grows with the third power


class TrafficGini(Metric):
    """Gini coefficient of traffic over all ordered pairs of agents: 0 if all carry the same, 1 if one carries all."""

    group: ClassVar[Group] = "graph"
    source = "Sen, On economic inequality, 1973, section 2.7"

    def value(self, episodes: Episodes) -> float | None:
        """The coefficient; None without traffic."""
        share = _shares(episodes)
        if share is None:
            return None
        share, number = share.sort().values, len(share)
        rank = torch.arange(1, number + 1, dtype=share.dtype, device=share.device)
        return float(((2 * rank - number - 1) * share).sum() / number)


class TrafficSd(Metric):
    """Standard deviation of the shares of traffic of all ordered pairs of agents."""

    group: ClassVar[Group] = "graph"
    source = "Newman, Networks, 2nd edition, 2018, section 7.1"

    def value(self, episodes: Episodes) -> float | None:
        """The standard deviation; None without traffic."""
        share = _shares(episodes)
        return None if share is None else float(share.std(correction=0))


class AlgebraicConnectivity(Metric):
    """Second smallest eigenvalue of the Laplacian of the graph without directions: 0 if it is not connected."""

    better, source = "higher", "Fiedler, Algebraic connectivity of graphs, Czechoslovak Math. J. 23, 1973"
    group: ClassVar[Group] = "graph"

    def value(self, episodes: Episodes) -> float | None:
        """The eigenvalue; None if there are fewer than two agents."""
        links = adjacency(episodes)
        if links is None:
            return None
        return connectivity(links | links.T)


class RRobustness(Metric):
    """Largest r for which the graph is r-robust: of any two disjoint groups, one has a member with r senders outside.

    A (2F + 1)-robust team reaches consensus whatever up to F neighbors of each member say, if members ignore the F
    largest and the F smallest values that they hear. Exact, for teams of at most ``MOST_AGENTS``.
    """

    better, source = "higher", "LeBlanc et al., Resilient asymptotic consensus in robust networks, IEEE JSAC 31, 2013"
    group: ClassVar[Group] = "graph"

    def value(self, episodes: Episodes) -> float | None:
        """r; None if there are fewer than two agents, or too many."""
        links = adjacency(episodes)
        return None if links is None or len(links) > MOST_AGENTS else float(robustness(links))


def adjacency(episodes: Episodes) -> np.ndarray | None:
    """[N, N] bool, whether receiver i accepted messages from agent j in any episode; None for fewer than two agents."""
    counts = episodes.links
    if counts is None or counts.agents < 2:
        return None
    links: np.ndarray = (counts.total() > 0).cpu().numpy()
    return links & ~np.eye(len(links), dtype=bool)


def connectivity(either: np.ndarray) -> float:
    """Second smallest eigenvalue of the Laplacian of a graph [N, N] bool without directions and loops, N >= 2.

    In large graphs by the Lanczos method, on the sparse matrix.
    """
    number = either.sum(1).astype(float)
    if len(either) <= MOST_DENSE:
        return max(0.0, float(np.linalg.eigvalsh(np.diag(number) - either)[1]))
    # Importing these takes longer than most cells.
    from scipy.sparse import csr_array, diags_array
    from scipy.sparse.csgraph import connected_components
    from scipy.sparse.linalg import eigsh

    links = csr_array(either, dtype=float)
    if connected_components(links, directed=False)[0] > 1:
        return 0.0
    start = np.random.default_rng(0).standard_normal(len(either))
    # Shifted a little below 0, where the matrix can be inverted: its inverse has the wanted values at the end.
    values = eigsh((diags_array(number) - links).tocsc(), k=2, sigma=-1e-3, v0=start, return_eigenvectors=False)
    return max(0.0, float(values.max()))


def robustness(links: np.ndarray) -> int:
    """Largest r for which a directed graph is r-robust (LeBlanc et al. 2013, definitions 4 and 5).

    A group reaches as far as that of its members with the most senders outside of it. The groups are two disjoint ones
    that both reach least, so for each group the least of all groups in its complement is what counts.

    Args:
        links: [N, N] bool, whether receiver i hears agent j, without loops; N >= 2.
    """
    agents = len(links)
    group = np.arange(2**agents)
    member = (group[:, None] >> np.arange(agents)) & 1
    outside = (1 - member) @ links.T.astype(np.int64)
    reach = np.where(member == 1, outside, -1).max(1)
    least = reach.copy()
    least[0] = agents  # the empty group is none
    for agent in range(agents):  # the least of all groups within each
        within = group[(group >> agent) & 1 == 1]
        least[within] = np.minimum(least[within], least[within ^ (1 << agent)])
    proper = group[1:-1]
    return int(np.maximum(reach[proper], least[group[-1] ^ proper]).min())


def _shares(episodes: Episodes) -> Tensor | None:
    """[N * (N - 1)] float64, share of the traffic on each ordered pair of agents; None without traffic."""
    if episodes.links is None or episodes.links.agents < 2:
        return None
    agents = episodes.links.agents
    traffic = episodes.links.total().double()
    apart = traffic[~torch.eye(agents, dtype=torch.bool, device=traffic.device)]
    return apart / apart.sum() if bool(apart.any()) else None
