"""Dynamic graphs whose choices of senders are actions: their law, and their place in PPO's ratio."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch

from agentcomm.base.errors import AgentcommError
from agentcomm.base.registry import build_config
from agentcomm.runs.config import parse
from benchmarks.plain_loop import PlainLoop
from policies.graphs.dynamic import DynamicConfig, DynamicGraph


def choosing(agents: int = 4, degree: int = 2) -> DynamicGraph:
    torch.manual_seed(0)
    made = DynamicGraph(DynamicConfig(degree=degree, estimator="action", warmup=0.0), agents, 8)
    with torch.no_grad():
        made.keep.weight.normal_()
    return made


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_probabilities_of_all_choices_are_those_with_which_they_are_sampled(degree: int) -> None:
    topology, hidden = choosing(degree=degree), torch.randn(1, 4, 8)
    orders = torch.tensor(list(permutations(range(1, 4), degree)))  # all that agent 0 can choose, in order
    source = torch.arange(3).expand(len(orders), 4, 3)[..., :degree].clone()
    for receiver in range(1, 4):
        source[:, receiver] = torch.tensor([j for j in range(4) if j != receiver])[:degree]
    source[:, 0] = orders
    log, entropy = topology.choice(source, hidden.expand(len(orders), -1, -1))
    probability = log[:, 0].exp()
    assert float(probability.sum().detach()) == pytest.approx(1.0, abs=1e-5)
    if degree == 1:
        assert float(entropy[0, 0].detach()) == pytest.approx(
            float(-(probability * log[:, 0]).sum().detach()), abs=1e-5
        )
    many = 20_000
    drawn = topology.graph(topology.draw(many, torch.Generator().manual_seed(1)), many, hidden.expand(many, -1, -1))
    assert drawn.kept is None
    share = (drawn.source[:, 0].unsqueeze(1) == orders).all(-1).float().mean(0)
    torch.testing.assert_close(share, probability.detach(), atol=0.015, rtol=0)


def test_nothing_is_learned_during_the_warm_up() -> None:
    topology = DynamicGraph(DynamicConfig(degree=1, estimator="action", warmup=0.5), 4, 8)
    hidden = torch.randn(3, 4, 8)
    source = topology.graph(topology.draw(3, torch.Generator().manual_seed(0)), 3, hidden).source
    for progress, learns in ((0.4, False), (0.5, True)):
        topology.anneal(progress)
        (found,) = torch.autograd.grad(topology.choice(source, hidden)[0].sum(), topology.keep.weight)
        assert bool(found.any()) == learns


def test_a_choice_needs_a_number_of_senders() -> None:
    for wrong in ({}, {"degree": 1, "rounds": 2}):
        with pytest.raises(AgentcommError, match=r"estimator='action' needs a degree"):
            build_config("topology", "dynamic", {"estimator": "action", **wrong})


@pytest.mark.parametrize("gate", [None, {"initial_logit": 0.0}, {"kind": "straight_through", "initial_logit": 0.0}])
def test_the_ratio_is_one_and_the_advantage_of_a_choice_moves_it(gate: dict[str, object] | None) -> None:
    topology = {"name": "dynamic", "degree": 2, "estimator": "action", "warmup": 0.0}
    training = {"env_steps": 256, "worlds": 16, "fragment": 8, "evaluate_every": 0}
    data = {
        "name": "choice",
        "environment": {"name": "whisper", "members": 5, "max_steps": 5, "observation": "indices"},
        "policy": {"name": "commformer", "width": 8, "topology": topology, "gate": gate},
        "transport": {"channels": ["airtime"]},
        "training": training | {"ppo": {"minibatch": None, "epochs": 1, "gate_entropy": 0.01}},
    }
    loop = PlainLoop(parse(data, "test config"))
    before = loop.policy.topology.keep.weight.detach().clone()
    fragment = loop.sampler.collect(8)
    assert "draw" not in fragment.columns
    assert bool((fragment.columns["gate_log_probability"] < 0).all())
    assert loop.update.run(fragment.columns)["first_ratio_error"] < 1e-5
    assert not torch.equal(before, loop.policy.topology.keep.weight)
    assert len(loop.evaluate(8)) > 0
