"""Learned graphs that start dense: all links at first, then the best k, with a new message layer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from agentcomm.base.errors import AgentcommError
from agentcomm.runs.config import RunConfig, parse
from agentcomm.training import checkpoint
from agentcomm.training.algorithm import CommPPOConfig
from benchmarks.plain_loop import PlainLoop


def dense(name: str = "learned", **arguments: object) -> RunConfig:
    """Four updates of 64 steps, the first two dense; late messages, so that the message layer has a state."""
    topology = {"name": name, "degree": 2, "estimator": "straight_through", "dense_until": 0.5, "exact_after": 0.75}
    training = {"env_steps": 256, "worlds": 8, "fragment": 8, "evaluate_every": 0, "threads": 1}
    data = {
        "name": "dense",
        "environment": {"name": "cliques", "members": 9, "group": 3, "wiring": 0, "max_steps": 5},
        "policy": {"name": "commformer", "width": 8, "topology": topology | arguments},
        "transport": {"channels": [{"name": "delay", "jitter": 0.1}]},
        "training": training | {"ppo": {"minibatch": 32, "held_out": 0.25}},
        "seeds": [0],
    }
    return parse(data, "test config")


@pytest.mark.parametrize("name", ["learned", "embedded"])
def test_the_graph_is_cut_to_its_best_links(name: str) -> None:
    loop = PlainLoop(dense(name))
    topology = loop.policy.topology
    degrees, kept = [], []
    for _ in range(4):
        before = [p.detach().clone() for p in topology.parameters()]
        loop.sampler.follow_schedule(0.0)
        fragment = loop.sampler.collect(8)
        degrees.append(
            (topology.degree, loop.sampler.comms.network.team_shape.degree, fragment.columns["links"].shape[2])
        )
        kept.append(fragment.columns["links"])
        assert loop.update.run(fragment.columns)["first_ratio_error"] < 1e-5
        assert any(not torch.equal(a, b) for a, b in zip(before, topology.parameters(), strict=True)) == (len(kept) < 4)
        loop.env_steps += fragment.env_steps
        loop.update.anneal_policy(loop.env_steps / 256)
    assert degrees == [(8, 8, 8)] * 2 + [(2, 2, 2)] * 2
    best = topology.graph(None, 1).source[0]
    assert torch.equal(kept[3][0].long(), best)
    others = torch.stack([torch.tensor([j for j in range(9) if j != i]) for i in range(9)])
    assert torch.equal(kept[0][0].long(), others)
    assert loop.sampler.world.length.max() <= 5
    assert len(loop.evaluate(16)) > 0


def test_only_straight_through_learns_from_a_dense_graph() -> None:
    with pytest.raises(AgentcommError, match=r"dense_until=0\.5 needs estimator='straight_through'"):
        dense(estimator="score")
    assert "topology.dense" not in PlainLoop(dense(dense_until=0.0)).policy.state_dict(), "older weights still fit"


@pytest.mark.ray
@pytest.mark.usefixtures("ray_running")
@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_resumed_team_equals_an_uninterrupted_one(tmp_path: Path, at: int) -> None:
    """Interrupted while the graph is dense, where it is cut, and after that."""
    run = dense()
    plain, algorithm = PlainLoop(run), CommPPOConfig().team(run, "team", 0).build_algo()
    for _ in range(at):
        plain.iterate()
        algorithm.train()
    path = checkpoint.save(algorithm, tmp_path, keep=1)
    algorithm.stop()
    resumed = CommPPOConfig().team(run, "team", 0).build_algo()
    checkpoint.restore(resumed, path)
    for _ in range(4 - at):
        plain.iterate()
        resumed.train()
    found = resumed.env_runner.module.policy.state_dict()
    resumed.stop()
    assert all(torch.equal(value, found[name]) for name, value in plain.policy.state_dict().items())
