"""Deciding and evaluating again: the ratio is one before the first step, whatever happened to the messages."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from builders import comms, known_attack, known_defenses, sampler, team, team_shape_of
from forms import IN_TURNS, PAIRS
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import CREW, rows_of
from thinning import thinned
from torch import Tensor

from agentcomm.conformance.conversations import conversation
from agentcomm.contracts.policy import CommPolicy
from agentcomm.contracts.topology import Graph
from agentcomm.step.decide import decide
from agentcomm.step.replay import reevaluate
from agentcomm.training.rollout import Fragment

GATES: dict[str, dict[str, float] | None] = {"open": None, "gated": {"initial_logit": 0.3, "cost": 0.01}}


def ratio_error(policy: CommPolicy, rows: dict[str, Tensor], graph_gradient: bool = False) -> float:
    with torch.no_grad():
        now = reevaluate(policy, rows, graph_gradient)
    log_ratio = now.log_probability - rows["log_probability"]
    log_ratio = log_ratio + now.gate_log_probability - rows["gate_log_probability"]
    return float((log_ratio.exp() - 1).abs().max())


def steps(fragment: Fragment, worlds: int) -> list[dict[str, Tensor]]:
    """The rows of each step: the shapes of the rollout."""
    count = fragment.env_steps // worlds
    return [{n: v[t * worlds : (t + 1) * worlds] for n, v in fragment.columns.items()} for t in range(count)]


ATTACKED = [(form, defenses, "gated") for form, defenses in PAIRS]
OTHERS = [
    (None, "none", "gated"),
    *((form, "none", "open") for form in (None, "noise", "impersonate stale", "delay")),
]


@pytest.mark.parametrize(("form", "defenses", "gate"), thinned([*ATTACKED, *OTHERS], [*ATTACKED[::2], *OTHERS]))
def test_ratio_is_one_under_each_kind_of_attack_and_each_defense(form: str | None, defenses: str, gate: str) -> None:
    world, policy = team(5, gate=GATES[gate], world={"perception_agents": 3})
    s = sampler(world, policy, form, defenses)
    s.collect(9)
    fragment = s.collect(10)
    assert fragment.episodes > 0, "episodes ended and worlds started anew"
    assert ratio_error(policy, fragment.columns) < 1e-5
    assert ratio_error(policy, fragment.columns, graph_gradient=True) < 1e-5
    # With the rollout's own shapes not even rounding differs.
    if form is None or not s.comms.network.spare:
        assert max(ratio_error(policy, rows) for rows in steps(fragment, 5)[::3]) == 0
    if gate == "gated":
        assert 0 < fragment.gate_open < 1


@pytest.mark.parametrize("environment", [{"observation": "indices"}, {"max_steps": 2}, {"size": 3}])
@pytest.mark.parametrize("topology", [{"name": "none"}, {"name": "full"}, {"name": "learned", "exact_after": 0.1}])
def test_ratio_is_one_for_other_parts(environment: dict[str, Any], topology: dict[str, Any]) -> None:
    world, policy = team(5, world=environment, topology=topology)
    if topology["name"] == "learned":
        policy.topology.anneal(0.5)
    s = sampler(world, policy, "impersonate" if topology["name"] != "none" else None, "clip")
    assert ratio_error(policy, s.collect(9).columns) < 1e-5


@pytest.mark.parametrize("form", thinned([None, *IN_TURNS], [None, *IN_TURNS[::2]]))
@given(seed=st.integers(0, 2**31), blocks=st.integers(1, 2), density=st.sampled_from([0.1, 0.4, 1.0]))
@settings(max_examples=3, deadline=None)
def test_teacher_forced_probabilities_are_those_of_deciding_in_turns(
    form: str | None, seed: int, blocks: int, density: float
) -> None:
    """On any graph, whatever happened to the messages."""
    arguments = {"topology": {"name": "full"}, "decoder": "autoregressive", "blocks": blocks, "heads": 2}
    world, policy = team(4, world=CREW, gate={"initial_logit": 1.0}, **arguments)
    source = policy.topology.graph(None, 4).source
    g = torch.Generator().manual_seed(seed)
    graph = Graph(source, torch.rand(source.shape, generator=g) < density)
    s = team_shape_of(world, policy)
    network = comms(s, [] if form is None else [known_attack(form, s)], known_defenses("clip", s), seed)
    observation = world.reset(seed=seed)
    for _ in range(4):  # so that there is something to replay
        d = decide(policy, observation, graph, network, world.length.clone(), g)
        assert len(d.inboxes) == policy.rounds
        with torch.no_grad():
            now = reevaluate(policy, rows_of(d, observation))
        torch.testing.assert_close(now.log_probability, d.log_probability, rtol=0, atol=1e-5)
        torch.testing.assert_close(now.gate_log_probability, d.gate_log_probability, rtol=0, atol=1e-5)
        observation = world.step(d.action, auto_reset=False).observation


def test_other_told_actions_give_other_probabilities() -> None:
    """Otherwise the test above would not say that an agent's action is known to those that hear of it."""
    world, policy = team(4, world=CREW, topology={"name": "full"}, decoder="autoregressive")
    seen, generator = world.reset(seed=0), torch.Generator().manual_seed(0)
    d = decide(policy, seen, policy.topology.graph(None, 4), None, world.length, generator)
    rows = rows_of(d, seen)
    rows["action"] = rows["action"].clone()
    rows["action"][:, 2] = (rows["action"][:, 2] + 1) % world.num_actions
    with torch.no_grad():
        moved = (reevaluate(policy, rows).log_probability - d.log_probability).abs() > 1e-5
    assert moved[:, 2:].all()
    assert not moved[:, :2].any(), "who comes before is not told"


def test_values_are_recorded_in_units_of_reward() -> None:
    world, policy = team(5)
    policy.return_mean.fill_(-3.0)
    policy.return_scale.fill_(2.0)
    graph = policy.topology.graph(None, 5)
    d = decide(policy, world.reset(seed=0), graph, None, world.length, None)
    columns = sampler(world, policy).collect(4).columns
    value = columns["target"] - columns["advantage"]
    now = reevaluate(policy, columns)
    torch.testing.assert_close(value, policy.expected_return(now.value), rtol=1e-5, atol=1e-5)
    assert (d.value < -1).all()


def test_evaluating_under_other_parameters_gives_another_ratio() -> None:
    """Otherwise a ratio of one would say nothing."""
    for part in ("encoder", "blocks.0", "blocks.1", "actor", "gate"):
        world, policy = team(5, gate={"initial_logit": 0.3})
        columns = sampler(world, policy, "noise").collect(6).columns
        with torch.no_grad():
            for parameter in policy.get_submodule(part).parameters():
                parameter.add_(0.05 * torch.randn(parameter.shape))
        assert ratio_error(policy, columns) > 1e-4, part


def test_forgetting_what_the_network_did_gives_another_ratio() -> None:
    world, policy = team(5)
    for form, column in (("noise", "delta"), ("drop", "mask"), ("impersonate", "source")):
        columns = sampler(world, policy, form).collect(6).columns
        assert ratio_error(policy, columns) < 1e-5
        changed = columns[column] ^ True if column == "mask" else columns[column] * 0
        assert ratio_error(policy, columns | {column: changed}) > 1e-6, form


def test_gate_log_probability_is_that_of_a_coin() -> None:
    world, policy = team(64, gate={"initial_logit": 0.4})
    s = sampler(world, policy)
    columns = s.collect(3).columns
    assert policy.gate is not None
    with torch.no_grad():
        logit = policy.gate(policy.encode(columns["observation"]))
        p = logit.sigmoid()
        coin = torch.distributions.Bernoulli(probs=p)
        now = reevaluate(policy, columns)
        graph = Graph(columns["links"][:64].long())
        silent = decide(policy, columns["observation"][:64], graph, None, torch.zeros(64), None)
    torch.testing.assert_close(
        columns["gate_log_probability"], coin.log_prob(columns["gate"].float()), rtol=1e-4, atol=1e-5
    )
    assert torch.equal(now.gate_log_probability, columns["gate_log_probability"])
    torch.testing.assert_close(now.gate_entropy, coin.entropy(), rtol=1e-4, atol=1e-5)
    assert abs(float(columns["gate"].float().mean() - p.mean())) < 4 * (0.25 / columns["gate"].numel()) ** 0.5
    assert torch.equal(silent.gate, logit[:64] > 0), "greedy gates are open where that is likelier"


def test_action_frequencies_follow_the_logits() -> None:
    world, policy = team(2000)
    seen = world.reset(seed=0)[:1].expand(2000, -1, -1)
    graph = policy.topology.graph(None, 2000)
    d = decide(policy, seen, graph, None, torch.zeros(2000), torch.Generator().manual_seed(0))
    p = d.logits[0].softmax(-1)
    frequency = torch.nn.functional.one_hot(d.action, world.num_actions).float().mean(0)
    torch.testing.assert_close(frequency, p, rtol=0, atol=4 * (0.25 / 2000) ** 0.5)
    torch.testing.assert_close(d.log_probability, d.logits.log_softmax(-1).gather(-1, d.action.unsqueeze(-1))[..., 0])
    greedy = decide(policy, seen, graph, None, torch.zeros(2000), None)
    assert torch.equal(greedy.action, d.logits.argmax(-1))


def test_decisions_are_reproducible_and_use_no_other_randomness() -> None:
    world, policy = team(6, gate={"initial_logit": 0.0})
    seen, graph = world.reset(seed=0), policy.topology.graph(None, 6)
    ambient = torch.get_rng_state()
    runs = [
        decide(policy, seen, graph, None, torch.zeros(6), torch.Generator().manual_seed(seed)) for seed in (3, 3, 4)
    ]
    assert torch.equal(ambient, torch.get_rng_state())
    assert torch.equal(runs[0].action, runs[1].action)
    assert torch.equal(runs[0].gate, runs[1].gate)
    assert not torch.equal(runs[0].action, runs[2].action)


def test_a_network_without_stages_is_like_none() -> None:
    world, policy = team(6)
    seen, graph = world.reset(seed=0), policy.topology.graph(None, 6)
    network = comms(team_shape_of(world, policy))
    a = decide(policy, seen, graph, network, world.length, None)
    b = decide(policy, seen, graph, None, world.length, None)
    assert torch.equal(a.logits, b.logits)
    assert network.ledger["sent"].tolist() == [2 * graph.source[0].numel()] * 6


def test_conversations_used_in_tests_are_reproducible() -> None:
    s = team_shape_of(*team(3))
    a, b = conversation(s, 3, seed=4), conversation(s, 3, seed=4)
    assert all(
        torch.equal(x.spoken, y.spoken) and torch.equal(x.links.open, y.links.open) for x, y in zip(a, b, strict=True)
    )
