"""Members that come and go: ``failure`` and ``fewest``, in the worlds and in their PettingZoo views."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from grids import actions_of, make, reconstruct, worlds
from hypothesis import given, settings
from hypothesis import strategies as st
from pettingzoo.test import parallel_api_test, parallel_seed_test

from agentcomm.base.errors import ConfigError
from agentcomm.base.registry import build_config
from agentcomm.pettingzoo.adapter import ParallelWorld, ParallelWorldConfig
from agentcomm.pettingzoo.view import ParallelView, view
from envs.gridworld.grid import GridWorld
from envs.gridworld.predator_capture_prey import CAPTURE_ACTION
from envs.gridworld.sight import Sight

GRIDS = ["predator_prey", "predator_capture_prey"]
STAY = 4


def team(name: str, size: int) -> dict[str, Any]:
    """Arguments for that many agents."""
    return {"predators": size} if name == "predator_prey" else {"perception_agents": size - 2, "capture_agents": 2}


@st.composite
def losing(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    name, arguments = draw(worlds())
    n = arguments.get("predators") or arguments["perception_agents"] + arguments["capture_agents"]
    members: dict[str, Any] = {
        "failure": draw(st.sampled_from([0.0, 0.1, 0.5, 0.99])),
        "fewest": draw(st.integers(1, n)),
    }
    return name, arguments | members


def play(world: GridWorld, seed: int, steps: int = 15) -> Any:
    """Who was there, and the step: of random episodes."""
    generator = torch.Generator().manual_seed(seed)
    world.reset(seed)
    for _ in range(steps):
        alive = world.alive.clone()
        yield alive, world.step(actions_of(world, generator))


@given(losing(), st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_members_leave_for_good_but_never_all(case: tuple[str, dict[str, Any]], seed: int) -> None:
    name, arguments = case
    world = make(name, 6, **arguments)
    for alive, step in play(world, seed):
        assert alive.any(1).all()
        assert (alive.sum(1) >= arguments["fewest"])[step.length == 1].all()
        left = world.alive.clone()
        left[step.finished] = step.final_alive
        assert not (left & ~alive).any(), "nobody comes back within an episode"
        if arguments["failure"] == 0:
            assert torch.equal(left, alive)
        assert step.reward.isfinite().all()
        assert (step.reward[~alive] == 0).all()
        assert not step.active[~alive].any()
        if arguments.get("mode", "mixed") == "mixed":
            assert torch.equal(step.terminated, step.success)


@given(losing(), st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_those_left_see_what_a_team_of_only_them_would(case: tuple[str, dict[str, Any]], seed: int) -> None:
    name, arguments = case
    dense, compact = make(name, 6, **arguments), make(name, 6, observation="indices", **arguments)
    dense.reset(seed)
    # Random cells, not a random start: agents may share cells with each other and with the prey.
    generator = torch.Generator().manual_seed(seed)
    dense.state["cells"] = torch.randint(dense.size**2, dense.state["cells"].shape, generator=generator)
    compact.state = dense.state
    seen, indices, alive = dense.observe(), compact.observe(), dense.alive
    assert (seen[~alive] == 0).all()
    assert (indices[~alive] == -1).all()
    rebuilt = torch.as_tensor(reconstruct(compact, indices.numpy()))
    assert torch.equal(rebuilt[alive], seen[alive]), "both layouts say the same"
    for b in range(6):
        there = alive[b].nonzero().flatten().tolist()
        codes, blind = [dense.team[i].code for i in there], [dense.team[i].blind for i in there]
        sight = Sight(dense.size, dense.vision, codes, blind, "dense", dense.device)
        alone = sight.look(dense.state["cells"][b : b + 1, there], dense.state["prey"][b : b + 1])
        assert torch.equal(seen[b, there], alone[0])


@given(losing(), st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_both_layouts_lose_the_same_members(case: tuple[str, dict[str, Any]], seed: int) -> None:
    name, arguments = case
    dense, compact = make(name, 4, **arguments), make(name, 4, observation="indices", **arguments)
    for (there, step), (also_there, other) in zip(play(dense, seed), play(compact, seed), strict=True):
        assert torch.equal(there, also_there)
        assert torch.equal(step.reward, other.reward)
        assert torch.equal(step.final_alive, other.final_alive)
        for ours, theirs, alive in (
            (step.observation, other.observation, dense.alive),
            (step.final_observation, other.final_observation, step.final_alive),
        ):
            rebuilt = torch.as_tensor(reconstruct(compact, theirs.numpy()))
            assert torch.equal(rebuilt[alive], ours[alive])
            assert (ours[~alive] == 0).all()
            assert (theirs[~alive] == -1).all()


@given(losing(), st.integers(0, 2**31), st.integers(0, 8))
@settings(max_examples=40, deadline=None)
def test_saved_state_continues_with_the_same_members(case: tuple[str, dict[str, Any]], seed: int, played: int) -> None:
    name, arguments = case
    world, other = make(name, 4, **arguments), make(name, 4, **arguments)
    for _ in play(world, seed, played):
        pass
    saved = world.snapshot()
    other.restore(saved)
    assert torch.equal(other.alive, world.alive)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(10):
        actions = actions_of(world, generator)
        ours, theirs = world.step(actions), other.step(actions)
        assert torch.equal(ours.observation, theirs.observation)
        assert torch.equal(ours.final_alive, theirs.final_alive)
        assert torch.equal(world.alive, other.alive)


@pytest.mark.parametrize("name", GRIDS)
def test_every_number_from_fewest_up_and_every_member_is_equally_likely(name: str) -> None:
    count = 20_000
    world = make(name, count, fewest=2, **team(name, 5))
    world.reset(seed=0)
    present = torch.bincount(world.alive.sum(1), minlength=6)
    assert (present[:2] == 0).all()
    assert ((present[2:] - count / 4) ** 2 / (count / 4)).sum() < 16.3, "0.1% point of chi-square, 3 degrees of freedom"
    share = world.alive.float().mean(0)
    assert share.tolist() == pytest.approx([0.7] * 5, abs=4 * (0.7 * 0.3 / count) ** 0.5)


def test_later_episodes_draw_their_members_anew() -> None:
    world = make("predator_prey", 500, fewest=1, predators=4, max_steps=1)
    world.reset(seed=0)
    first = world.alive.clone()
    step = world.step(torch.full((500, 4), STAY))
    assert torch.equal(step.final_alive, first[step.finished])
    assert not torch.equal(world.alive, first)
    assert torch.bincount(world.alive.sum(1), minlength=5)[1:].min() > 80


def test_members_fail_at_the_given_rate_from_the_first_step_on() -> None:
    world = make("predator_prey", 10_000, size=20, failure=0.1, predators=8, vision=0)
    world.reset(seed=0)
    assert world.alive.all(), "without fewest all begin"
    for steps in (1, 2, 3):
        world.step(torch.full((10_000, 8), STAY))
        share = world.alive.float().mean().item()
        assert share == pytest.approx(0.9**steps, abs=0.006), "four standard errors"


def test_where_all_would_fail_any_one_of_them_is_left() -> None:
    world = make("predator_prey", 10_000, size=20, failure=0.999, predators=4)
    world.reset(seed=0)
    world.state["alive"][:, 0] = False
    world.step(torch.full((10_000, 4), STAY), auto_reset=False)
    assert (world.alive.sum(1) == 1).float().mean() > 0.98
    share = world.alive.float().mean(0).tolist()
    assert share == pytest.approx([0.0, 1 / 3, 1 / 3, 1 / 3], abs=0.02)


@pytest.mark.parametrize("name", GRIDS)
def test_without_these_arguments_nothing_else_is_drawn(name: str) -> None:
    world = make(name, 4, size=6)
    world.reset(seed=3)
    expected = torch.Generator().manual_seed(3)
    torch.rand(4, 36, generator=expected)
    assert torch.equal(world.generator.get_state(), expected.get_state())
    world.step(torch.full((4, world.num_agents), STAY))
    assert torch.equal(world.generator.get_state(), expected.get_state())
    assert "alive" not in world.state
    assert world.alive.shape == (4, world.num_agents)
    assert world.alive.all()


@pytest.mark.parametrize("name", GRIDS)
def test_a_seed_starts_the_same_episodes_with_and_without_all_members(name: str) -> None:
    whole, part = make(name, 4), make(name, 4, fewest=1, failure=0.2)
    whole.reset(seed=3)
    part.reset(seed=3)
    assert torch.equal(whole.state["cells"], part.state["cells"])
    assert torch.equal(whole.state["prey"], part.state["prey"])


# ---- rules for those who are left; ``fewest`` of all makes worlds whose members leave only by hand


def staged(name: str, positions: list[list[int]], alive: list[bool], **arguments: Any) -> GridWorld:
    """One world, prey at (2, 2)."""
    world = make(name, size=5, fewest=len(positions), **arguments)
    world.reset(scene={"positions": positions, "prey": [[2, 2]]})
    assert world.alive.all(), "with a scene everybody takes part"
    world.state["alive"] = torch.tensor([alive])
    return world


def test_predators_do_not_wait_for_the_gone() -> None:
    world = staged("predator_prey", [[2, 1], [0, 0]], [True, False], predators=2)
    step = world.step(torch.tensor([[1, STAY]]), auto_reset=False)
    assert step.terminated.all()
    assert step.success.all()
    assert step.active.tolist() == [[True, False]]


def test_an_episode_ends_a_step_after_the_last_one_under_way_has_failed() -> None:
    world = staged("predator_prey", [[2, 2], [0, 0]], [True, True], predators=2)
    assert not world.step(torch.tensor([[STAY, STAY]])).done.any()
    world.state["alive"] = torch.tensor([[True, False]])
    step = world.step(torch.tensor([[STAY, STAY]]), auto_reset=False)
    assert step.terminated.all()
    assert step.success.all()
    assert not step.active.any()


@pytest.mark.parametrize(("mode", "reward"), [("cooperative", 0.05), ("competitive", 0.05)])
def test_rewards_on_the_prey_count_only_those_left(mode: str, reward: float) -> None:
    world = staged("predator_prey", [[2, 2], [2, 2], [0, 0]], [True, False, True], predators=3, mode=mode)
    step = world.step(torch.tensor([[STAY] * 3]))
    assert step.reward.tolist() == [pytest.approx([reward, 0.0, -0.05])]
    assert not step.success.any()
    world.state["alive"] = torch.tensor([[False, False, True]])
    step = world.step(torch.tensor([[STAY] * 3]))
    assert step.reward.tolist() == [pytest.approx([0.0, 0.0, -0.05])], "nobody who is left is there"


def test_perception_agents_do_not_wait_for_a_capture_agent_that_is_gone() -> None:
    world = staged("predator_capture_prey", [[2, 1], [2, 2]], [True, False], perception_agents=1)
    step = world.step(torch.tensor([[1, CAPTURE_ACTION]]), auto_reset=False)
    assert step.terminated.all()
    assert step.success.all()
    assert not world.state["captured"].any(), "the gone capture nothing"


def test_capture_agents_do_not_wait_for_a_perception_agent_that_is_gone() -> None:
    world = staged("predator_capture_prey", [[0, 0], [2, 2]], [False, True], perception_agents=1)
    assert not world.step(torch.tensor([[STAY, STAY]])).done.any()
    step = world.step(torch.tensor([[STAY, CAPTURE_ACTION]]), auto_reset=False)
    assert step.terminated.all()
    assert step.success.all()


def test_drawings_leave_out_who_is_gone() -> None:
    positions = [[0, 0], [4, 4], [4, 0]]
    world = staged("predator_prey", positions, [True, False, True], predators=3)
    lines = world.render(0, "ansi").splitlines()
    assert lines[0].split()[0] == "0"
    assert lines[4].split() == ["2", ".", ".", ".", "."]
    without = world.render(0, "rgb_array")
    world.state["alive"] = torch.ones(1, 3, dtype=torch.bool)
    changed = (world.render(0, "rgb_array") != without).any(-1).nonzero()
    assert changed[0].min() > without.shape[0] // 2, "only around the corner where the second one was"
    assert changed[1].min() > without.shape[1] // 2
    assert world.scene(0)["alive"] == [True, True, True]


# ---- refusals


@pytest.mark.parametrize("name", GRIDS)
def test_a_refused_scene_changes_nothing(name: str) -> None:
    world = make(name, 50, fewest=1)
    start, saved = world.reset(seed=0), world.snapshot()
    with pytest.raises(ValueError, match="'prey' is missing"):
        world.reset(scene={"positions": [[0, 0]] * world.num_agents})
    assert torch.equal(world.observe(), start)
    assert (world.snapshot()["generator"] == saved["generator"]).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"failure": -0.1}, "failure"),
        ({"failure": 1.0}, "failure"),
        ({"fewest": 0}, "fewest"),
        ({"fewest": 4}, "fewest=4 is more than the team's 3 members"),
    ],
)
@pytest.mark.parametrize("name", GRIDS)
def test_impossible_arguments_are_refused(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_config("environment", name, arguments)


@pytest.mark.parametrize("arguments", [{"failure": 0.1}, {"fewest": 2}])
def test_worlds_that_cannot_lose_members_refuse(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="members cannot fail in OracleHint"):
        view("oracle_hint", **arguments)
    config = ParallelWorldConfig.model_validate({"make": "envs.gridworld.predator_prey:parallel_env"} | arguments)
    with pytest.raises(ConfigError, match="members cannot fail in ParallelWorld"):
        ParallelWorld(config)


# ---- PettingZoo


def large(name: str) -> ParallelView:
    """Large enough that most members fail before they arrive."""
    return view(name, failure=0.1, fewest=2, size=10, max_steps=40, **team(name, 5))


@pytest.mark.parametrize("name", GRIDS)
def test_passes_pettingzoo_checks(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Members missing from the start never finish; the checks remark on that, and on nothing else.
        warnings.filterwarnings("ignore", "No agents present but not all possible_agents")
        for _ in range(10):
            parallel_api_test(large(name), num_cycles=100)
        parallel_seed_test(lambda: large(name), num_cycles=100)


@pytest.mark.parametrize("name", GRIDS)
def test_an_agent_that_fails_is_terminated_and_leaves(name: str) -> None:
    env = large(name)
    rng = np.random.default_rng(0)
    failed = missing = 0
    for seed in range(20):
        observations, infos = env.reset(seed=seed)
        missing += len(env.possible_agents) - len(env.agents)
        assert 2 <= len(env.agents) <= 5
        while env.agents:
            there = env.agents
            assert list(observations) == list(infos)
            assert set(there) <= set(observations)
            actions = {agent: int(rng.integers(env.action_space(agent).n)) for agent in there}
            gone = [agent for agent in env.possible_agents if agent not in there]
            for agent in gone:
                with pytest.raises(ValueError, match="exactly the keys"):
                    env.step(actions | {agent: STAY})
            observations, rewards, terminations, truncations, infos = env.step(actions)
            for answer in (observations, rewards, terminations, truncations, infos):
                assert list(answer) == there, "all who acted get an answer"
            if env.agents:
                left = [agent for agent in there if agent not in env.agents]
                failed += len(left)
                assert [agent for agent in there if terminations[agent]] == left
                assert not any(truncations.values())
                assert all((observations[agent] == 0).all() for agent in left)
                assert all(observations[agent].any() for agent in env.agents)
            else:
                assert all(terminations[agent] or truncations[agent] for agent in there)
    assert failed > 20
    assert missing > 10


def test_all_agents_are_back_in_the_next_episode() -> None:
    env = view("predator_prey", failure=0.9, size=10, vision=0, max_steps=3)
    env.reset(seed=0)
    env.step(dict.fromkeys(env.agents, STAY))
    assert 1 <= len(env.agents) < 3
    env.reset()
    assert env.agents == env.possible_agents


def test_members_that_leave_a_third_partys_environment_are_inactive_in_its_world() -> None:
    world = ParallelWorld(ParallelWorldConfig(max_steps=100), 8, factory=lambda: large("predator_prey"))
    world.reset(seed=0)
    lost = 0
    for _ in range(60):
        there = torch.stack([env.world.alive[0] for env in world._shard.envs])
        step = world.step(torch.full((8, 5), STAY))
        assert not step.active[~there].any()
        assert (step.reward[~there] == 0).all()
        lost += int((~there).sum())
    assert lost > 50
