"""Metrics of the graph, of the propagation of attacks, and over all attacks on a team, against known answers."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from agentcomm.conformance.metrics import some_episodes
from agentcomm.contracts.link_counts import LinkCounts
from agentcomm.contracts.outcome import Contact
from agentcomm.evaluation.metrics import measure, measure_suites, suites
from agentcomm.metrics import graph
from agentcomm.metrics.graph import robustness


def by_definition(links: np.ndarray) -> int:
    """The definition of r-robustness, over all pairs of disjoint groups."""
    agents, found = len(links), len(links)
    for sides in product((0, 1, 2), repeat=agents):
        groups = [[i for i in range(agents) if sides[i] == side] for side in (1, 2)]
        if all(groups):
            reach = [max(sum(links[i, j] for j in range(agents) if j not in group) for i in group) for group in groups]
            found = min(found, max(reach))
    return found


def test_robustness_is_that_of_the_definition() -> None:
    rng = np.random.default_rng(0)
    for agents in (2, 3, 4, 5, 6):
        for density in (0.2, 0.5, 0.9):
            links = (rng.random((agents, agents)) < density) & ~np.eye(agents, dtype=bool)
            assert robustness(links) == by_definition(links)
    for agents in (3, 6, 12):
        assert robustness(~np.eye(agents, dtype=bool)) == (agents + 1) // 2  # complete graphs: ceil(N / 2)


def test_graph_metrics_have_closed_forms() -> None:
    e = some_episodes(3)
    full = replace(e, links=LinkCounts.of(torch.ones(3, 4, 4).long() - torch.eye(4).long()))
    found = measure(full)
    assert (found["traffic_gini"], found["traffic_sd"], found["density"]) == (pytest.approx(0, abs=1e-12), 0, 1)
    assert found["algebraic_connectivity"] == pytest.approx(4)
    one = torch.zeros(3, 4, 4).long()
    one[:, 0, 1] = 7
    found = measure(replace(e, links=LinkCounts.of(one)))
    assert found["traffic_gini"] == pytest.approx(11 / 12)
    assert (found["algebraic_connectivity"], found["r_robustness"], found["density"]) == (0, 0, pytest.approx(1 / 12))


def test_propagation_follows_the_graph_from_the_first_contact() -> None:
    clean = some_episodes(2)
    still = torch.zeros(9, 2, 4).short()
    chain = torch.zeros(2, 4, 4).long()  # 1 hears 0, 2 hears 1, 3 hears 2
    for receiver in (1, 2, 3):
        chain[:, receiver, receiver - 1] = 1
    clean = replace(clean, action_by_step=still, links=LinkCounts.of(chain), length=torch.tensor([9, 9]))
    contact = Contact(torch.tensor([2, -1]), torch.tensor([[True, False, False, False], [False] * 4]))
    action = still.clone()
    action[2, 0, 0] = action[3, 0, 1] = 1  # agent 0 at contact, agent 1 a step later; agent 2 never
    action[:, 1] = 1  # the second episode is never touched
    action[0, 0, 3] = 1  # before the contact
    attacked = replace(clean, action_by_step=action, contact=contact)
    found = measure(attacked, {"clean": clean})
    assert [found[f"propagation_{hop}"] for hop in (0, 1, 2)] == [1, 1, 0]
    assert found["blast_radius"] == 2 / 8  # two of four agents in one of two episodes
    short = measure(replace(attacked, length=torch.tensor([3, 9])), {"clean": clean})
    assert "propagation_1" not in short
    assert short["blast_radius"] == 1 / 8


def row(score: float, attack: str | None = None, **other: Any) -> dict[str, Any]:
    about = None if attack is None else {"label": attack, "threat": {"knowledge": other.pop("knowledge", "protocol")}}
    plain = {"variant": "team", "seed": 0, "defense_label": "none", "conditions_label": "", "status": "ok"}
    plain |= {"decisions": "greedy", "environment": {"name": "grid"}, "attack": about, "metrics": {"mean_steps": score}}
    return plain | {"score": {"metric": "mean_steps", "better": "lower"}} | other


def test_suites_hold_attacks_against_the_floor() -> None:
    rows = [
        row(5, references={"silent": {"mean_steps": 17}}),
        row(15, variant="control"),
        row(3, variant="control", decisions="sampled"),  # decoded otherwise
        row(99, variant="control", seed=1),
        row(10, "noise", effect={"success": 0.5}),
        row(20, "gradient", effect={"success": 0.75}),
        row(5, "drop", status="inconclusive"),
        row(6, defense_label="clip"),
        row(8, "noise", defense_label="clip"),
        row(9, "evade", defense_label="clip", knowledge="defense"),
        row(0, "noise", stale="code has changed"),
    ]
    plain, clip = measure_suites(rows)
    assert plain.by_attack["retained_fraction"] == {"noise": 0.5, "gradient": -0.5}
    assert plain.over == {
        "retained_fraction": 0.0,
        "worst_retained_fraction": -0.5,
        "worst_damage": 15.0,
        "value_of_communication": 10.0,
        "value_of_messages": 12.0,
        "attack_success": 0.625,
        "worst_attack_success": 0.75,
    }
    assert plain.suite.unscored == ("drop",)
    assert (clip.over["defense_tax"], clip.over["adaptive_gain"]) == (1.0, 1.0)
    assert clip.over["worst_retained_fraction"] == pytest.approx(6 / 9)


def test_a_team_below_its_floor_retains_nothing() -> None:
    rows = [row(16), row(15, variant="control"), row(18, "noise")]
    assert "retained_fraction" not in measure_suites(rows)[0].over
    assert [suite.seed for suite in suites(rows)] == [0]


def test_counts_of_links_are_the_same_in_both_forms() -> None:
    g = torch.Generator().manual_seed(0)
    dense = torch.randint(0, 3, (5, 4, 4), generator=g)
    links = LinkCounts.of(dense)
    assert torch.equal(links.dense(), dense)
    assert torch.equal(links.total(), dense.sum(0))
    assert torch.equal(links.used(), (dense > 0).sum((1, 2)))
    at = (links.world, links.receiver, links.sender)
    assert torch.equal(dense[at], links.count)
    twice = LinkCounts.joined(5, 4, [links.place, links.place.flip(0)], [links.count, links.count.flip(0)])
    assert torch.equal(twice.dense(), 2 * dense)


@pytest.mark.parametrize("connected", [True, False])
def test_connectivity_of_a_large_graph_is_that_of_all_its_eigenvalues(
    connected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = np.random.default_rng(0).random((60, 60)) < 0.06
    either = np.triu(drawn, 1) | np.triu(drawn, 1).T
    ring = np.arange(60)
    either[ring, (ring + 1) % 60] = either[(ring + 1) % 60, ring] = True
    if not connected:
        either[:30, 30:] = either[30:, :30] = False
    whole = graph.connectivity(either)
    monkeypatch.setattr(graph, "MOST_DENSE", 10)
    assert graph.connectivity(either) == pytest.approx(whole, abs=1e-9)
    assert (whole > 0.01) == connected
