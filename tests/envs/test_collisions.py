"""Oracle-Hint under ``collisions``: listening to more agents drowns the source (channel and task together)."""

from __future__ import annotations

import pytest
import torch
from builders import channel, team_shape
from talk import Talk, full_graph, random_graph, within_error
from torch import Tensor

from agentcomm.contracts.channel import ChannelInput
from envs.oracle_hint import OracleHint, OracleHintConfig

RHO, SYMBOLS = 0.2, 4


def value(informed: Tensor) -> Tensor:
    """[B], expected reward of an agent per step: informed agents [B, N] are right, others guess."""
    return 1 / SYMBOLS + (1 - 1 / SYMBOLS) * informed.float().mean(1)


def with_source(world: OracleHint, links: int, seed: int) -> Tensor:
    """[B, N, k] a random graph in which every receiver listens to its source."""
    keys = torch.rand(
        world.num_worlds, world.num_agents, world.num_agents, generator=torch.Generator().manual_seed(seed)
    )
    agents = torch.arange(world.num_agents)
    keys[:, agents, agents] = -1.0
    keys[:, agents, world.informative] = 2.0
    return keys.topk(links, dim=2).indices


@pytest.mark.parametrize("rho", [0.0, 0.3, 1.0])
def test_each_message_is_disturbed_by_each_other(rho: float) -> None:
    """m messages: each lost with 1 - (1 - rho)^(m - 1), independently; a single one never."""
    shape = (4_000, 4, 3)
    c = channel("collisions", team_shape(4_000, 4, 3, rounds=1), 3, rho=rho)
    slots = torch.arange(3)
    present = slots < torch.arange(4).unsqueeze(1)  # receiver m gets m messages
    zero = torch.zeros(shape, dtype=torch.int64)
    entering = ChannelInput(
        present.expand(shape), zero, zero, zero, zero[:, 0, 0], 0.1, 0, torch.Generator().manual_seed(0)
    )
    lost = c.carry(entering, {}).lost
    assert lost is not None
    assert not (lost & ~present).any()
    assert not lost[:, 1].any()
    for m in (2, 3):
        within_error(lost[:, m, :m], 1 - (1 - rho) ** (m - 1))
    together = (lost[:, 3, 0] & lost[:, 3, 1]).float()
    within_error(together, (1 - (1 - rho) ** 2) ** 2)


@pytest.mark.parametrize(
    ("members", "graph", "links", "known"),
    [
        (16, "right", 1, 1.0),
        (64, "right", 1, 1.0),
        (16, "with source", 6, 0.496),
        (64, "with source", 25, 0.254),
        (16, "full", 15, 0.283),
        (64, "full", 63, 0.250),
        (16, "random", 4, 0.352),
        (64, "random", 4, 0.274),
    ],
)
def test_values_of_one_round(members: int, graph: str, links: int, known: float) -> None:
    world = OracleHint(OracleHintConfig(members=members), 3_200 // members)
    talk = Talk(world, links, collisions={"rho": RHO})
    kept = links / (members - 1) if graph == "random" else 1.0
    expected = 1 / SYMBOLS + (1 - 1 / SYMBOLS) * kept * (1 - RHO) ** (links - 1)
    assert expected == pytest.approx(known, abs=6e-4)
    found = []
    for step in range(6):
        source = {
            "right": lambda: world.informative.unsqueeze(1),
            "full": lambda: full_graph(members),
            "with source": lambda step=step: with_source(world, links, step),
            "random": lambda step=step: random_graph(world.num_worlds, members, links, step),
        }[graph]()
        found.append(value(talk.heard(source)[:, torch.arange(members), world.informative]))
    within_error(torch.stack(found), expected)


@pytest.mark.parametrize(("members", "links", "known"), [(16, 5, 0.564), (64, 5, 0.331)])
def test_values_of_the_best_random_graph_in_two_rounds(members: int, links: int, known: float) -> None:
    """Simulated, too, in the reference: whoever heard a secret in the first round passes it on in the second."""
    world = OracleHint(OracleHintConfig(members=members), 6_400 // members)
    talk, self_ = Talk(world, links, collisions={"rho": RHO}), torch.eye(members, dtype=torch.bool)
    found = []
    for step in range(8):
        source = random_graph(world.num_worlds, members, links, step)
        first = (talk.heard(source) | self_).float()
        second = (talk.heard(source) | self_).float()
        found.append(value((second @ first)[:, torch.arange(members), world.informative] > 0))
    assert float(torch.cat(found).mean()) == pytest.approx(known, abs=0.01)
