"""An update stops before a number that is not finite changes a parameter; batches without spread are no reason to."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from builders import sampler, team
from small import small

from agentcomm.base.errors import ConfigError, NumberError
from agentcomm.contracts.policy import CommPolicy
from agentcomm.runs.config import RunConfig
from agentcomm.runs.ppo_settings import PPOSettings
from agentcomm.training.ppo import Rows, Update


def updating(policy: CommPolicy, **arguments: Any) -> Update:
    graph = policy.graph_parameters()
    own = {id(p) for p in graph}
    model = torch.optim.Adam([p for p in policy.parameters() if id(p) not in own], 0.01)
    edges = torch.optim.Adam(graph, 0.05) if graph else None
    return Update(policy, PPOSettings(**arguments), model, edges, torch.Generator().manual_seed(0))


def batch(worlds: int = 4, steps: int = 6, **policy: Any) -> tuple[CommPolicy, Rows]:
    world, made = team(worlds, **policy)
    return made, sampler(world, made).collect(steps).columns


def bad_advantage(policy: CommPolicy, rows: Rows) -> None:
    rows["advantage"][5, 1] = math.nan


def impossible_action(policy: CommPolicy, rows: Rows) -> None:
    rows["log_probability"] -= 200.0  # exp(200) is no float32


def huge_target(policy: CommPolicy, rows: Rows) -> None:
    rows["target"][:] = 3e38


def bad_gradient(policy: CommPolicy, rows: Rows) -> None:
    policy.get_parameter("actor.2.weight").register_hook(lambda gradient: gradient * math.inf)


def bad_graph_gradient(policy: CommPolicy, rows: Rows) -> None:
    policy.get_parameter("topology.edges").register_hook(lambda gradient: gradient * math.nan)


SPOILED: list[tuple[Callable[[CommPolicy, Rows], None], str]] = [
    (bad_advantage, "PPO: the advantage of the batch is not finite; .*learning_rate"),
    (impossible_action, r"PPO, epoch 1 of 3: the policy loss is (-infinite|infinite|NaN)"),
    (huge_target, "PPO: mean or spread of the returns is infinite; scale down the rewards"),
    (bad_gradient, r"PPO, epoch 1 of 3: the gradient is not finite \(actor.2.weight\)"),
    (bad_graph_gradient, "topology 'learned': the gradient of the graph is not finite"),
]


@pytest.mark.parametrize(("spoil", "text"), SPOILED)
def test_no_parameter_is_changed_by_it(spoil: Callable[[CommPolicy, Rows], None], text: str) -> None:
    policy, rows = batch(8, topology={"name": "learned"})
    spoil(policy, rows)
    before = {name: value.clone() for name, value in policy.named_parameters()}
    with pytest.raises(NumberError, match=text):
        updating(policy).run(rows)
    parameters = policy.state_dict()
    # The graph is updated first, from what is finite.
    assert all(torch.equal(parameters[name], value) for name, value in before.items() if name != "topology.edges")
    assert all(value.isfinite().all() for value in parameters.values())


def test_weights_that_are_not_finite_are_named() -> None:
    policy, _ = batch()
    with torch.no_grad():
        policy.get_parameter("actor.2.bias")[0] = math.inf
    with pytest.raises(NumberError, match=r"'actor.2.bias' of policy 'commformer' is not finite"):
        updating(policy).check_weights()


def none_active(rows: Rows) -> None:
    rows["active"][:] = False


def one_active(rows: Rows) -> None:
    rows["active"][:] = False
    rows["active"][3, 1] = True


@pytest.mark.parametrize("change", [none_active, one_active])
@pytest.mark.parametrize("gate", [None, {"initial_logit": 0.0}, {"kind": "straight_through", "initial_logit": 0.0}])
def test_agents_that_hardly_act_leave_finite_weights(
    change: Callable[[Rows], None], gate: dict[str, Any] | None
) -> None:
    policy, rows = batch(gate=gate)
    change(rows)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = updating(policy).run(rows)
    assert all(math.isfinite(value) for value in found.values())


@pytest.mark.parametrize("arguments", [{"minibatch": 1}, {"minibatch": None}, {"minibatch": 2, "epochs": 1}])
@pytest.mark.parametrize(("worlds", "steps"), [(1, 2), (2, 1), (1, 1)])
def test_the_smallest_batches_leave_finite_weights(worlds: int, steps: int, arguments: dict[str, Any]) -> None:
    policy, rows = batch(worlds, steps)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = updating(policy, **arguments).run(rows)
    assert all(math.isfinite(value) for value in found.values())


def test_a_batch_of_one_step_is_refused() -> None:
    one = ("training.worlds=1", "training.fragment=1")
    with pytest.raises(ConfigError, match=r"training.worlds \* training.fragment is too small \(1 \* 1\)"):
        small(*one)
    assert isinstance(small(*one, "training.runners=2"), RunConfig)
    assert isinstance(small("training.worlds=1", "training.fragment=2"), RunConfig)
