"""Reselection: receivers hear the next best sender of their graph in place of one that they have given up."""

from __future__ import annotations

import pytest
import torch
from builders import attack, comms, defense, team_shape

from agentcomm.base import registry
from agentcomm.contracts.topology import Graph, TopologyChoice
from agentcomm.runs.assembly import make_policy, make_world
from agentcomm.runs.choices import Choice
from agentcomm.step.comms import Comms
from agentcomm.step.decide import decide
from agentcomm.step.reselect import reselect

RING = torch.tensor([[[1, 4], [0, 2], [1, 3], [2, 4], [0, 3]]])


def given_up(*pairs: tuple[int, int]) -> torch.Tensor:
    gone = torch.zeros(1, 5, 5, dtype=torch.bool)
    for receiver, sender in pairs:
        gone[0, receiver, sender] = True
    return gone


def test_the_best_other_senders_take_the_places_of_those_given_up() -> None:
    ranking = torch.zeros(5, 5)
    ranking[0, 3] = 1.0
    gone = given_up((0, 1), (0, 4), (2, 3), (2, 0), (2, 4))
    new = reselect(Graph(RING), gone, ranking).source
    assert new[0, 0].tolist() == [3, 2], "the best first, then the only one left"
    assert new[0, 2].tolist() == [1, 3], "nobody else is left, so the closed link stays"
    assert torch.equal(new[0, [1, 3, 4]], RING[0, [1, 3, 4]])
    follows = reselect(Graph(RING), given_up((1, 0)), None).source
    assert follows[0, 1].tolist() == [3, 2], "without a preference, who follows in the team's order"


def test_only_kept_edges_and_present_members_count() -> None:
    kept = torch.ones(1, 5, 2, dtype=torch.bool)
    kept[0, 0, 0] = False
    assert torch.equal(reselect(Graph(RING, kept), given_up((0, 1)), None).source, RING)
    alive = torch.ones(1, 5, dtype=torch.bool)
    alive[0, 3] = False
    assert reselect(Graph(RING), given_up((1, 0)), None, alive).source[0, 1].tolist() == [4, 2]


@pytest.mark.parametrize("topology", ["learned", "ring"])
def test_a_team_hears_somebody_else_while_a_link_is_closed(topology: str) -> None:
    arguments = {"learned": {"degree": 2}}.get(topology, {})
    registry.find("topology", topology)
    world = make_world(Choice(name="agreement"), 2)
    graph = TopologyChoice.model_validate({"name": topology, **arguments})
    policy = make_policy(Choice.model_validate({"name": "commformer", "topology": graph.model_dump()}), world, seed=0)
    s = team_shape(2, world.num_agents, policy.topology.degree, policy.width, policy.exchanges)
    observation, step = world.reset(0), torch.zeros(2, dtype=torch.int64)
    plain = policy.topology.graph(None, 2)
    sender = int(plain.source[0, 0, 0])
    noise = attack("noise", s, links=[[sender, 0]], epsilon=9.0)
    group = [defense("authenticate", s), defense("quarantine", s, limit=1, reselect=True)]
    team = Comms.between(s, [noise], group, seed=0)
    first = decide(policy, observation, plain, team, step, None)
    second = decide(policy, observation, plain, team, step + 1, None)
    assert torch.equal(first.links, plain.source)
    changed = second.links != plain.source
    assert changed.nonzero().tolist() == [[0, 0, 0], [1, 0, 0]]
    ranking = policy.topology.ranking()
    if ranking is not None:
        others = [j for j in range(s.num_agents) if j not in (0, *plain.source[0, 0].tolist())]
        assert int(second.links[0, 0, 0]) == max(others, key=lambda j: float(ranking[0, j]))
    assert second.inboxes[-1].mask[:, 0].all(), "all of its senders are heard again"
    assert comms(s, defenses=group[:1]).network.given_up(step) is None
