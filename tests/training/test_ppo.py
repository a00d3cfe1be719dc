"""The update: advantages, who is stepped on what, and that it learns."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from builders import comms, sampler, team, team_shape_of
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from agentcomm.contracts.policy import CommPolicy
from agentcomm.runs.ppo_settings import PPOSettings
from agentcomm.training.ppo import Rows, Update, advantages, ppo_loss
from agentcomm.training.rollout import Sampler


def naive(
    reward: Tensor, value: Tensor, ends: Tensor, bootstrap: Tensor, last: Tensor, gamma: float, lam: float
) -> Tensor:
    """One world and agent at a time, episode by episode: sum of (gamma * lambda)^l delta up to the end of its stay."""
    steps, worlds, agents = reward.shape
    out = torch.zeros_like(reward)
    for b in range(worlds):
        for n in range(agents):
            for t in range(steps):
                total, weight = 0.0, 1.0
                for u in range(t, steps):
                    following = value[u + 1, b, n] if u + 1 < steps else last[b, n]
                    after = bootstrap[u, b, n] if ends[u, b, n] else following
                    total = total + weight * (reward[u, b, n] + gamma * after - value[u, b, n])
                    weight *= gamma * lam
                    if ends[u, b, n]:
                        break
                out[t, b, n] = total
    return out


@given(seed=st.integers(0, 999), gamma=st.sampled_from([0.0, 0.9, 1.0]), lam=st.sampled_from([0.0, 0.5, 0.95, 1.0]))
@settings(max_examples=30, deadline=None)
def test_advantages_equal_a_plain_loop(seed: int, gamma: float, lam: float) -> None:
    g = torch.Generator().manual_seed(seed)
    reward, value, final = torch.randn(3, 7, 2, 2, generator=g)
    ends = torch.rand(7, 2, 2, generator=g) < 0.3
    truncated = ends & (torch.rand(7, 2, 2, generator=g) < 0.5)
    bootstrap = final * truncated
    last = torch.randn(2, 2, generator=g)
    expected = naive(reward, value, ends, bootstrap, last, gamma, lam)
    got = advantages(reward, value, ends, bootstrap, last, gamma, lam)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def test_lambda_one_gives_discounted_returns_and_nothing_crosses_an_end() -> None:
    reward = torch.tensor([1.0, 2.0, 4.0, 8.0]).view(4, 1, 1)
    value = torch.tensor([0.5, 0.25, 3.0, 1.0]).view(4, 1, 1)
    ends, none = torch.tensor([False, True, False, False]).view(4, 1, 1), torch.zeros(4, 1, 1)
    last = torch.full((1, 1), 16.0)
    terminated = advantages(reward, value, ends, none, last, 0.5, 1.0).flatten()
    assert terminated.tolist() == [1 + 1 - 0.5, 2 - 0.25, 4 + 4 + 4 - 3, 8 + 8 - 1]
    cut = none.clone()
    cut[1] = 10.0
    truncated = advantages(reward, value, ends, cut, last, 0.5, 1.0).flatten()
    assert truncated.tolist() == [1 + 0.5 * (2 + 5) - 0.5, 2 + 5 - 0.25, *terminated[2:].tolist()]


# ---- who is stepped on what

STRAIGHT_THROUGH = {"name": "learned", "estimator": "straight_through"}  # learns from held-out worlds


def updating(policy: CommPolicy, **arguments: Any) -> Update:
    made = PPOSettings(**{"held_out": 0.25, **arguments})
    graph = policy.graph_parameters()
    own = {id(p) for p in graph}
    model = torch.optim.Adam([p for p in policy.parameters() if id(p) not in own], made.learning_rate)
    edges = torch.optim.Adam(graph, 0.05) if graph else None
    return Update(policy, made, model, edges, torch.Generator().manual_seed(0))


def snapshot(policy: CommPolicy) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in policy.named_parameters()}


def moved(before: dict[str, Tensor], policy: CommPolicy) -> set[str]:
    return {name for name, p in policy.named_parameters() if not torch.equal(p, before[name])}


def test_the_models_loss_leaves_the_graph_alone_and_reaches_all_else() -> None:
    world, policy = team(8, gate={"initial_logit": 0.0})
    columns = sampler(world, policy, "noise").collect(10).columns
    for graph_gradient in (False, True):
        policy.zero_grad()
        loss, _ = ppo_loss(policy, columns, PPOSettings(), 0.01, graph_gradient)
        torch.autograd.backward(loss)
        touched = {name for name, p in policy.named_parameters() if p.grad is not None and p.grad.any()}
        everything = {name for name, _ in policy.named_parameters()}
        assert touched == everything - (set() if graph_gradient else {"topology.edges"})


def test_model_and_graph_step_on_their_own_worlds() -> None:
    """The model never sees the held-out worlds, the graph sees nothing else."""
    outcomes: dict[str, list[dict[str, Tensor]]] = {"held": [], "trained": []}
    for part, results in outcomes.items():
        for factor in (1.0, -3.0):
            world, policy = team(8, topology=STRAIGHT_THROUGH)
            columns = sampler(world, policy).collect(10).columns
            update = updating(policy, epochs=1)
            original = update.minibatches(columns)
            rows = next(original)
            chosen = rows if part == "trained" else update._held_out
            chosen["advantage"] = chosen["advantage"] * factor
            before = snapshot(policy)
            update.step(rows)
            assert "topology.edges" in moved(before, policy)
            results.append(snapshot(policy))
    held, trained = outcomes["held"], outcomes["trained"]
    changed_by_held = {n for n in held[0] if not torch.equal(held[0][n], held[1][n])}
    assert changed_by_held == {"topology.edges"}
    assert "actor.2.weight" in {n for n in trained[0] if not torch.equal(trained[0][n], trained[1][n])}


@pytest.mark.parametrize("estimator", ["score", "straight_through"])
def test_the_graph_rests_in_its_last_phase_and_without_its_optimizer(estimator: str) -> None:
    topology = {"name": "learned", "estimator": estimator}
    for exact in (False, True):
        world, policy = team(8, topology=topology)
        policy.anneal(1.0 if exact else 0.0)
        columns = sampler(world, policy).collect(8).columns
        before = snapshot(policy)
        updating(policy).run(columns)
        assert ("topology.edges" in moved(before, policy)) != exact
    world, policy = team(8, topology=topology)
    columns = sampler(world, policy).collect(8).columns
    update = updating(policy)
    update.graph = None
    before = snapshot(policy)
    assert sum(len(rows["action"]) for rows in update.minibatches(columns)) == 3 * 64, "nobody is held out"
    update.run(columns)
    assert "topology.edges" not in moved(before, policy)


@pytest.mark.parametrize("size", [None, 1, 7, 16, 48, 1000])
def test_minibatches_cover_the_training_rows(size: int | None) -> None:
    world, policy = team(8, topology=STRAIGHT_THROUGH)
    columns: Rows = sampler(world, policy).collect(8).columns | {"number": torch.arange(64)}
    update = updating(policy, minibatch=size, epochs=3)
    batches = list(update.minibatches(columns))
    held = columns["held_out"]
    training = columns["number"][~held].tolist()
    assert held.sum() == 16
    assert len(training) == 48
    assert torch.equal(update._held_out["number"], columns["number"][held])
    per_epoch = len(batches) // 3
    assert len(batches) == 3 * per_epoch == 3 * (48 // min(size or 48, 48))
    for epoch in range(3):
        numbers = torch.cat([b["number"] for b in batches[epoch * per_epoch : (epoch + 1) * per_epoch]]).tolist()
        assert len(set(numbers)) == len(numbers) == 48 // (batches[0]["number"].numel()) * batches[0]["number"].numel()
        assert set(numbers) <= set(training)
    for batch in batches:
        assert torch.equal(batch["action"], columns["action"][batch["number"]]), "columns stay together"
    assert "draw" not in batches[0], "a minibatch does not carry what its graph was sampled with"
    assert "draw" in update._held_out


def test_advantages_are_normalized_over_agents_that_acted() -> None:
    world, policy = team(8)
    columns = sampler(world, policy).collect(8).columns
    columns["active"][::2, 0] = False
    columns["advantage"] = torch.where(columns["active"], columns["advantage"], 1e6)
    rows = next(updating(policy, held_out=0.0).minibatches(columns))
    everyone = {**rows, **updating(policy)._held_out}
    chosen = everyone["advantage"][everyone["active"]]
    assert chosen.abs().max() < 100, "what did not count does not distort the scale"


def test_inactive_agents_do_not_enter_the_policys_loss() -> None:
    world, policy = team(8)
    columns = sampler(world, policy).collect(8).columns
    columns["active"][:, 1] = False
    gradients = []
    for value in (1.0, -5.0):
        columns["advantage"][:, 1] = value
        loss, _ = ppo_loss(policy, columns, PPOSettings(), 0.01, False)
        gradients.append(torch.autograd.grad(loss, policy.get_submodule("actor").parameters()))
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_clipping_stops_the_gradient_of_what_moved_too_far() -> None:
    world, policy = team(8)
    columns = sampler(world, policy).collect(8).columns
    plain = PPOSettings(value_weight=0, gate_entropy=0)
    columns["advantage"] = torch.ones_like(columns["advantage"])
    columns["log_probability"] = columns["log_probability"] - 1.0  # ratio e: beyond the clip, and still wanted
    actor = list(policy.get_submodule("actor").parameters())
    loss, stats = ppo_loss(policy, columns, plain, 0.0, False)
    assert not any(g.any() for g in torch.autograd.grad(loss, actor, retain_graph=True))
    assert float(loss.detach()) == pytest.approx(-1.2)
    assert float(stats["clip_fraction"]) == pytest.approx(1)
    columns["advantage"] = -columns["advantage"]  # as far out on the wrong side it must come back
    loss, _ = ppo_loss(policy, columns, plain, 0.0, False)
    assert any(g.any() for g in torch.autograd.grad(loss, actor))


def test_the_first_ratio_is_one_and_returns_are_followed() -> None:
    world, policy = team(8)
    columns = sampler(world, policy, "replay").collect(12).columns
    target = columns["target"]
    stats = updating(policy).run(columns)
    assert stats["first_ratio_error"] < 1e-5
    assert stats["ratio_error"] > 1e-4, "the parameters moved"
    torch.testing.assert_close(policy.return_mean, target.mean())
    torch.testing.assert_close(policy.return_scale, target.std())
    updating(policy)._track_returns(target + 1)
    torch.testing.assert_close(policy.return_mean, target.mean() + 0.05)


def test_rates_fall_linearly() -> None:
    _, policy = team(8)
    update = updating(policy, learning_rate=1e-3, final_learning_rate=1e-4, entropy=0.02, final_entropy=0.0)
    for progress, rate, entropy in ((0.0, 1e-3, 0.02), (0.5, 5.5e-4, 0.01), (1.0, 1e-4, 0.0), (1.5, 1e-4, 0.0)):
        update.anneal_rates(progress)
        assert update.optimizer.param_groups[0]["lr"] == pytest.approx(rate)
        assert update.entropy == pytest.approx(entropy)


def test_updates_are_reproducible_and_use_no_other_randomness() -> None:
    results = []
    for _ in range(2):
        world, policy = team(8)
        columns = sampler(world, policy).collect(8).columns
        ambient = torch.get_rng_state()
        updating(policy, minibatch=16).run(columns)
        assert torch.equal(ambient, torch.get_rng_state())
        results.append(snapshot(policy))
    assert all(torch.equal(results[0][n], results[1][n]) for n in results[0])


def test_a_tiny_run_learns() -> None:
    """Predator-Capture-Prey on 3x3: from about the cap of 12 steps to a few, within seconds."""
    arguments = {"size": 3, "max_steps": 12, "observation": "indices"}
    world, policy = team(96, world=arguments, width=32)
    with torch.no_grad():
        policy.get_submodule("actor").get_submodule("2").weight.mul_(0.01)
    learning = PPOSettings(learning_rate=3e-3, final_learning_rate=1e-3, entropy=0.01, final_entropy=0.0)
    s = Sampler(world, policy, comms(team_shape_of(world, policy)), learning, seed=1)
    update = updating(policy, **learning.model_dump(exclude={"held_out"}))
    lengths = []
    count = 35
    for iteration in range(count):
        update.anneal_rates(iteration / count)
        fragment = s.collect(12)
        lengths.append(fragment.recent.get("length", 0.0))
        stats = update.run(fragment.columns)
        update.anneal_policy(iteration / count)
        assert stats["first_ratio_error"] < 1e-4
    start, end = sum(lengths[1:4]) / 3, sum(lengths[-3:]) / 3
    assert start > 9
    assert end < 0.75 * start, f"from {start:.1f} to {end:.1f} steps"
