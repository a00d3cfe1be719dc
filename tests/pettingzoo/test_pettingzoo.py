"""Worlds seen through PettingZoo, and PettingZoo environments made into worlds."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from pettingzoo import ParallelEnv
from pettingzoo.test import parallel_api_test, parallel_seed_test

import envs.agreement
import envs.cliques
import envs.cyber_defense
import envs.food.food_collector
import envs.gridworld.predator_capture_prey
import envs.gridworld.predator_prey
import envs.hallway
import envs.hallway_c
import envs.market.task_market
import envs.oracle_hint
import envs.reactor
import envs.relay.relay
import envs.relay_line
import envs.sensors.sensor_consensus
import envs.speaker_listener
import envs.traffic.traffic_junction
import envs.whisper
from agentcomm.base.errors import ConfigError, PluginError
from agentcomm.base.registry import build_config, find
from agentcomm.conformance import check_seeds, check_world
from agentcomm.contracts import discrete as contracts
from agentcomm.contracts.discrete import Discrete as ActionSizes
from agentcomm.contracts.world import DrawnMessage
from agentcomm.pettingzoo.adapter import ParallelWorld, ParallelWorldConfig
from agentcomm.pettingzoo.view import ParallelView, view

GRIDS = {
    "predator_prey": envs.gridworld.predator_prey.parallel_env,
    "predator_capture_prey": envs.gridworld.predator_capture_prey.parallel_env,
}
MAKERS = GRIDS | {
    "oracle_hint": envs.oracle_hint.parallel_env,
    "agreement": envs.agreement.parallel_env,
    "cliques": envs.cliques.parallel_env,
    "reactor": envs.reactor.parallel_env,
    "relay_line": envs.relay_line.parallel_env,
    "whisper": envs.whisper.parallel_env,
    "hallway": envs.hallway.parallel_env,
    "hallway_c": envs.hallway_c.parallel_env,
    "sensor_consensus": envs.sensors.sensor_consensus.parallel_env,
    "relay": envs.relay.relay.parallel_env,
    "speaker_listener": envs.speaker_listener.parallel_env,
    "cyber_defense": envs.cyber_defense.parallel_env,
    "food_collector": envs.food.food_collector.parallel_env,
    "task_market": envs.market.task_market.parallel_env,
    "traffic_junction": envs.traffic.traffic_junction.parallel_env,
}
CHANGES = {
    "food_collector": {"members": 3, "poisons": 2, "continuous": True, "max_steps": 9},
    "cyber_defense": {"subnets": 3, "hosts": 2, "lateral": 0.6, "entry": 0.2, "max_steps": 9},
    "speaker_listener": {"landmarks": 4, "words": 7, "continuous": True, "max_steps": 9},
    "relay": {"members": 6, "layout": "geometric", "poor": 0.5, "wiring": 2, "max_steps": 9},
    "sensor_consensus": {"members": 4, "faulty": 1, "fault": "random", "continuous": True, "max_steps": 9},
    "hallway": {"lengths": (3, 4), "clock": True, "max_steps": 9},
    "hallway_c": {"lengths": (3, 4), "clock": False, "times": 3, "max_steps": 9},
    "predator_prey": {"size": 6, "vision": 2, "max_steps": 9},
    "predator_capture_prey": {"size": 6, "vision": 2, "max_steps": 9},
    "task_market": {"requesters": 2, "workers": 4, "skills": 2, "deadline": 3, "hops": 1, "max_steps": 9},
    "reactor": {"members": 4, "slack": 2, "margin": 2, "wiring": 2, "max_steps": 9},
    "oracle_hint": {"members": 5, "symbols": 3, "wiring": 2, "max_steps": 9, "moment": "random"},
    "agreement": {"members": 5, "symbols": 3, "max_steps": 9},
    "relay_line": {"members": 5, "symbols": 3, "max_steps": 9},
    "whisper": {"members": 5, "symbols": 3, "wrong": 0.25, "max_steps": 9},
    "cliques": {"members": 7, "group": 3, "error": 0.1, "wiring": 2, "max_steps": 9},
    "traffic_junction": {"difficulty": "medium", "vision": 0, "arrival": 0.4, "max_steps": 9},
}
SCENE = {"positions": [[0, 0], [1, 1], [4, 4]], "prey": [[2, 3]]}


@pytest.mark.parametrize("name", MAKERS)
def test_passes_pettingzoo_checks_without_warnings(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parallel_api_test(MAKERS[name](), num_cycles=200)
        parallel_seed_test(MAKERS[name], num_cycles=50)
        check_seeds(lambda: MAKERS[name](**CHANGES[name]))


@pytest.mark.parametrize("name", MAKERS)
def test_view_describes_itself(name: str) -> None:
    env = view(name)
    assert str(env) == f"{name}_v1"
    assert env.possible_agents == list(env.world.agents)
    observations, infos = env.reset(seed=0)
    assert list(observations) == list(infos) == env.agents
    sizes = dict.fromkeys(env.agents, env.world.num_actions)
    if isinstance(env.world.actions, ActionSizes) and env.world.actions.sizes is not None:
        sizes = dict(zip(env.agents, env.world.actions.sizes, strict=True))
    for agent, observation in observations.items():
        assert env.observation_space(agent).contains(observation)
        assert env.action_space(agent).n == sizes[agent]
    assert env.state_space.contains(env.state())


@pytest.mark.parametrize("name", MAKERS)
def test_explicit_arguments_are_those_of_the_config(name: str) -> None:
    made, viewed = MAKERS[name](**CHANGES[name]), view(name, **CHANGES[name])
    assert made.world.config == viewed.world.config
    assert MAKERS[name]().world.config == view(name).world.config, "the defaults agree"
    assert MAKERS[name]().metadata["name"] == view(name).metadata["name"]


def test_wrong_names_and_arguments_are_explained() -> None:
    with pytest.raises(PluginError, match="did you mean 'predator_prey'"):
        view("predator_pray")
    with pytest.raises(ConfigError, match="predatrs: unknown key; did you mean 'predators'"):
        view("predator_prey", predatrs=3)
    with pytest.raises(ValueError, match="observation='dense'"):
        view("predator_prey", observation="indices")
    with pytest.raises(ValueError, match="render_mode must be"):
        view("predator_prey", render_mode="human")  # type: ignore[arg-type]
    world = find("environment", "predator_prey")(build_config("environment", "predator_prey", {}), 2)
    with pytest.raises(ValueError, match="one world, not 2"):
        ParallelView(world, "predator_prey")


def test_options_are_the_scene() -> None:
    env = view("predator_prey")
    env.reset(options=SCENE)
    assert env.world.scene(0)["agents"] == SCENE["positions"]
    assert env.world.scene(0)["prey"] == SCENE["prey"]
    with pytest.raises(ValueError, match="unknown key 'postions'"):
        env.reset(options={"postions": [[0, 0]]})


def test_seeds_fix_episodes_and_their_absence_does_not() -> None:
    first, second = view("predator_prey", size=20), view("predator_prey", size=20)
    first.reset(seed=5)
    second.reset(seed=5)
    assert (first.state() == second.state()).all()
    first.reset()
    assert (first.state() != second.state()).any(), "the next episode is another one"
    second.reset()
    assert (first.state() == second.state()).all(), "and as reproducible"
    fresh, other = view("predator_prey", size=20), view("predator_prey", size=20)
    fresh.reset()
    other.reset()
    assert (fresh.state() != other.state()).any(), "environments without a seed differ"


def test_steps_are_refused_when_wrong() -> None:
    env = view("predator_prey", max_steps=1)
    with pytest.raises(RuntimeError, match="call reset"):
        env.step({})
    env.reset(seed=0)
    with pytest.raises(ValueError, match="exactly the keys"):
        env.step({"predator_0": 0})
    with pytest.raises(ValueError, match=r"0 \.\. 4"):
        env.step(dict.fromkeys(env.agents, 5))
    with pytest.raises(ValueError, match=r"must be in Discrete\(5\), not array\(0.5\)"):
        env.step(dict.fromkeys(env.agents, 0.5))  # type: ignore[arg-type]
    *_, truncations, _ = env.step(dict.fromkeys(env.agents, 4))
    assert all(truncations.values())
    with pytest.raises(RuntimeError, match="call reset"):
        env.step({})


def test_infos_say_who_took_part() -> None:
    env = view("predator_prey")
    env.reset(options=SCENE | {"positions": [[2, 3], [2, 2], [2, 4]]})
    *_, infos = env.step({"predator_0": 4, "predator_1": 1, "predator_2": 3})
    assert [infos[agent]["active"] for agent in env.possible_agents] == [False, True, True]
    assert all(info["success"] for info in infos.values())
    assert env.agents == []


@pytest.mark.parametrize("name", GRIDS)
def test_rendering_shows_the_links_of_the_present_step(name: str) -> None:
    text, picture, silent = (MAKERS[name](render_mode=mode) for mode in ("ansi", "rgb_array", None))
    links = [DrawnMessage(0, 1), DrawnMessage(1, 2, "dropped")]
    for env in (text, picture, silent):
        env.reset(options=SCENE)
    plain = picture.render()
    for env in (text, picture, silent):
        env.show(links)
    a, b, c = text.possible_agents
    assert text.render().endswith(f"{a} -> {b}: delivered\n{b} -> {c}: dropped")
    assert (picture.render() != plain).any()
    assert silent.render() is None
    for env in (text, picture):
        env.step(dict.fromkeys(env.agents, 4))
    assert "->" not in text.render()
    assert (picture.render() == plain).all(), "nobody moved, and the links are gone"


@pytest.mark.parametrize("name", GRIDS)
def test_parallel_world_agrees_with_the_native_one_step_for_step(name: str) -> None:
    """Of worlds that draw nothing after the start, as the two have generators of their own."""
    b = 5
    slow = ParallelWorld(_config(100), b, factory=lambda: MAKERS[name](max_steps=6))
    native = find("environment", name)(build_config("environment", name, {"max_steps": 6}), b)
    assert slow.agents == native.agents
    assert slow.num_actions == native.num_actions
    assert slow.layout == native.layout
    slow.reset(seed=0)
    native.reset(seed=0)
    generator = torch.Generator().manual_seed(1)
    ended = 0
    fresh = torch.ones(b, dtype=torch.bool)
    for _ in range(60):
        # The two draw different starts, so each new episode is copied over.
        for world in fresh.nonzero().flatten().tolist():
            source = slow._shard.envs[world].world.state
            for key, value in source.items():
                native.state[key][world] = value[0]
        assert torch.equal(slow.observe(), native.observe())
        actions = torch.randint(native.num_actions, (b, native.num_agents), generator=generator)
        ours, theirs = native.step(actions), slow.step(actions)
        for field in ("reward", "terminated", "truncated", "active", "length", "success", "finished"):
            assert torch.equal(getattr(ours, field), getattr(theirs, field)), field
        assert torch.equal(ours.final_observation, theirs.final_observation)
        fresh = ours.done
        ended += int(fresh.sum())
    assert ended > 20


class Leaving(ParallelEnv):  # type: ignore[misc]
    """Agents of different kinds that leave one after the other: what third-party environments do."""

    possible_agents = ("short", "long", "longest")

    def __init__(self, cut_off: bool = False) -> None:
        self.cut_off = cut_off
        self.agents: list[str] = []

    def observation_space(self, agent: str) -> Any:
        return Box(-2, 9, (2, 2) if agent == "long" else (1,), np.float32)

    def action_space(self, agent: str) -> Any:
        return Discrete(4, start=1) if agent == "long" else Discrete(2)

    def _observe(self, agents: list[str]) -> dict[str, Any]:
        return {agent: np.full(self.observation_space(agent).shape, self.t + self.start) for agent in agents}

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        self.start = np.random.default_rng(seed).random(dtype=np.float32)
        self.t, self.agents, self.options, self.actions = 0, list(self.possible_agents), options, []
        return self._observe(self.agents), {agent: {} for agent in self.agents}

    def step(self, actions: dict[str, int]) -> Any:
        self.t += 1
        self.actions.append(actions)
        live = self.agents
        gone = {agent: self.t > self.possible_agents.index(agent) for agent in live}
        self.agents = [agent for agent in live if not gone[agent]]
        ended = gone if not self.cut_off else dict.fromkeys(live, False)
        cut = gone if self.cut_off else dict.fromkeys(live, False)
        return self._observe(live), {a: float(self.t) for a in live}, ended, cut, {a: {} for a in live}


def _config(max_steps: int, make: str = "", **changes: Any) -> ParallelWorldConfig:
    return ParallelWorldConfig.model_validate({"max_steps": max_steps, "make": make} | changes)


def test_agents_that_leave_are_padded_and_inactive() -> None:
    world = ParallelWorld(_config(50), 2, factory=Leaving)
    assert world.layout.width == 4
    assert (world.layout.low, world.layout.high) == (-2.0, 9.0)
    assert world.actions == contracts.Discrete(("0", "1", "2", "3"), (2, 4, 2))
    first = world.reset(seed=0)
    assert (first[:, 0, 1:] == 0).all(), "the narrow observation is padded"
    assert (first[:, 1] != 0).all()
    actions = torch.tensor([[1, 3, 0]] * 2)
    step = world.step(actions)
    assert world._shard.envs[0].actions == [{"short": 1, "long": 4, "longest": 0}], "from its own start"
    assert step.active.tolist() == [[True, True, True]] * 2
    step = world.step(actions)
    assert step.active.tolist() == [[False, True, True]] * 2
    assert step.reward.tolist() == [[0.0, 2.0, 2.0]] * 2
    assert (step.observation[:, 0] == 0).all()
    assert not step.done.any()
    step = world.step(actions)
    assert step.terminated.all()
    assert step.success.all()
    assert torch.allclose(step.final_observation[:, 2, 0], first[:, 2, 0] + 3)
    assert (step.observation[:, :, 0] != 0).all(), "all are back in the new episode"
    assert not torch.equal(step.observation, first), "which has another seed"


def test_an_environment_that_cuts_itself_off_is_truncated() -> None:
    world = ParallelWorld(_config(50), 2, factory=lambda: Leaving(cut_off=True))
    world.reset(seed=0)
    actions = torch.zeros(2, 3, dtype=torch.int64)
    steps = [world.step(actions) for _ in range(3)]
    assert [step.truncated.tolist() for step in steps] == [[False] * 2, [False] * 2, [True] * 2]
    assert not steps[-1].terminated.any()
    assert not steps[-1].success.any()


def test_third_party_environments_conform() -> None:
    check_world(lambda b: ParallelWorld(_config(2), b, factory=Leaving), resumes=False)
    check_world(lambda b: ParallelWorld(_config(50), b, factory=Leaving), resumes=False)


def test_saved_state_starts_new_episodes_reproducibly() -> None:
    first, second = (ParallelWorld(_config(50), 2, factory=Leaving) for _ in range(2))
    first.reset(seed=3)
    first.step(torch.zeros(2, 3, dtype=torch.int64))
    saved = first.snapshot()
    first.restore(saved)
    second.restore(saved)
    assert torch.equal(first.observe(), second.observe())
    assert first.length.tolist() == [0, 0]


def test_environments_are_found_by_name() -> None:
    config = _config(50, "envs.gridworld.predator_prey:parallel_env", arguments={"size": 4, "predators": 2})
    world = ParallelWorld(config, 2)
    assert world.agents == ("predator_0", "predator_1")
    scene = {"positions": [[0, 0], [1, 1]], "prey": [[3, 3]]}
    observation = world.reset(seed=0, scene=scene)
    assert torch.equal(observation[0], observation[1]), "the scene is passed on"
    for make, message in (
        ("", "package.module:function"),
        ("envs.gridworld.predator_prey:nothing", "cannot be imported"),
        ("no_such_package:env", "cannot be imported"),
    ):
        with pytest.raises(ConfigError, match=message):
            ParallelWorld(_config(50, make))
    with pytest.raises(ConfigError, match="'dense' only"):
        ParallelWorld(_config(50, observation="indices"), factory=Leaving)


def test_parallel_world_draws_links_where_the_environment_can() -> None:
    world = ParallelWorld(_config(50), 1, factory=lambda: MAKERS["predator_prey"](render_mode="ansi"))
    world.reset(seed=0)
    assert "predator_0 -> predator_1: tampered" in world.render(0, "ansi", [DrawnMessage(0, 1, "tampered")])


class Walk(ParallelEnv):  # type: ignore[misc]
    """One agent on a random walk of five steps, whose randomness a test breaks."""

    possible_agents = ("walker",)

    def __init__(self, fault: str = "") -> None:
        self.fault = fault
        self.agents: list[str] = []
        self.place = np.zeros(1, np.float32)

    def observation_space(self, agent: str) -> Any:
        return Box(-99, 99, (1,), np.float32)

    def action_space(self, agent: str) -> Any:
        return Discrete(2)

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        self.random = np.random.default_rng(0 if self.fault == "one episode" else seed)
        self.place[:] = self.place if self.fault == "starts where it ended" else 0
        self.t, self.agents = 0, ["walker"]
        return {"walker": self.place}, {"walker": {}}

    def step(self, actions: dict[str, int]) -> Any:
        self.t += 1
        if self.fault == "forgets its seed" and self.t > 1:
            self.random = np.random.default_rng()
        self.place += self.random.normal() + actions["walker"]
        self.agents = [] if self.t == 5 and self.fault != "endless" else self.agents
        ended = {"walker": not self.agents}
        return {"walker": self.place}, {"walker": 0.0}, ended, {"walker": False}, {"walker": {"t": self.t}}


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        ("forgets its seed", "seed 0 and the same actions differ in observations of step 2"),
        ("starts where it ended", "seed 1 and the same actions differ in observations after reset"),
        ("one episode", "seeds 0, 1, 2, 3 all give the same episode"),
        ("endless", "has not ended after 20 steps"),
    ],
)
def test_randomness_that_ignores_the_seed_is_noticed(fault: str, problem: str) -> None:
    check_seeds(Walk)
    with pytest.raises(AssertionError, match=problem):
        check_seeds(lambda: Walk(fault), max_steps=20)


def test_a_seed_fixes_masked_actions_and_agents_that_leave() -> None:
    class Masked(Leaving):
        def step(self, actions: dict[str, int]) -> Any:
            assert all(action == self.action_space(agent).start for agent, action in actions.items())
            *rest, infos = super().step(actions)
            return *rest, {agent: self.mask(agent) for agent in infos}

        def reset(self, seed: int | None = None, options: Any = None) -> Any:
            observations, infos = super().reset(seed, options)
            return observations, {agent: self.mask(agent) for agent in infos}

        def mask(self, agent: str) -> dict[str, Any]:
            return {"action_mask": np.eye(self.action_space(agent).n, dtype=np.int8)[0]}

    check_seeds(Masked)
    check_seeds(Leaving)
