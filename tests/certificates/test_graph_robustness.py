"""r-robustness of graphs: the definition by brute force, known graphs, bounds; and what W-MSR makes of it."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from torch import Tensor

from agentcomm.certificates.robustness import adjacency, robustness, robustness_bounds, tolerated


def by_definition(hears: Tensor) -> int:
    agents = range(len(hears))
    sets = [set(s) for size in agents for s in combinations(agents, size + 1)]

    def reach(group: set[int]) -> int:
        return max(sum(bool(hears[i, j]) for j in agents if j not in group) for i in group)

    return min(max(reach(one), reach(two)) for one in sets for two in sets if not one & two)


def test_the_definition() -> None:
    g = torch.Generator().manual_seed(0)
    seen = set()
    for density in (0.3, 0.5, 0.7, 0.9):
        for _ in range(2):
            hears = (torch.rand(5, 5, generator=g) < density) & ~torch.eye(5, dtype=torch.bool)
            assert robustness(hears) == by_definition(hears)
            seen.add(robustness(hears))
    assert len(seen) > 2


@pytest.mark.parametrize("agents", [2, 3, 8, 9, 12])
def test_complete_graphs_are_as_robust_as_can_be(agents: int) -> None:
    hears = ~torch.eye(agents, dtype=torch.bool)
    assert robustness(hears) == (agents + 1) // 2
    assert tolerated(robustness(hears)) == ((agents + 1) // 2 - 1) // 2


def test_large_graphs_have_bounds() -> None:
    with pytest.raises(ValueError, match="robustness_bounds for 13"):
        robustness(torch.ones(13, 13, dtype=torch.bool))
    assert robustness_bounds(~torch.eye(16, dtype=torch.bool)) == (8, 8)
    g = torch.Generator().manual_seed(0)
    for density in (0.5, 0.8, 0.95):
        hears = (torch.rand(10, 10, generator=g) < density) & ~torch.eye(10, dtype=torch.bool)
        exact = robustness(hears)
        senders = hears.sum(1).sort().values
        assert max(0, int(senders[0]) - 5 + 1) <= exact <= min(5, int(senders[1]))


def test_links_make_a_graph() -> None:
    source = torch.tensor([[1, 2], [0, 2], [0, 1]])
    kept = torch.tensor([[True, False], [True, True], [False, False]])
    expected = torch.tensor([[False, True, False], [True, False, True], [False, False, False]])
    assert torch.equal(adjacency(source, kept), expected)


@pytest.mark.parametrize("agents", [7, 4])
def test_w_msr_agrees_where_the_condition_holds(agents: int) -> None:
    """Under one liar honest agents agree on a 3-robust graph, and stay within their first values on any."""
    from builders import comms, defense, team_shape

    from agentcomm.contracts.traffic import Links

    s = team_shape(worlds=1, agents=agents, degree=agents - 1, width=1, rounds=1)
    hears = ~torch.eye(agents, dtype=torch.bool)
    assert (tolerated(robustness(hears)) >= 1) == (agents == 7)
    source = torch.tensor([[j for j in range(agents) if j != i] for i in range(agents)]).unsqueeze(0)
    links = Links(source, torch.ones(1, agents, dtype=torch.bool))
    network = comms(s, [], [defense("w_msr", s, f=1)])
    value = torch.linspace(-1, 1, agents).view(1, agents, 1)
    low, high = value[:, 1:].min(), value[:, 1:].max()
    for step in range(40):
        value = value.clone()
        value[:, 0] = 100.0 * (-1) ** step
        heard = network.exchange(value, links, torch.full((1,), step), 0).payload()
        value = heard[:, :, 0]  # every slot holds the mean
    honest = value[:, 1:]
    if agents == 7:
        assert honest.max() - honest.min() < 1e-3
    assert ((honest >= low - 1e-5) & (honest <= high + 1e-5)).all()
