"""Real third-party environments through the adapter: every one keeps the contract of worlds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from pettingzoo.utils.conversions import parallel_to_aec

from agentcomm.base.registry import build_config, find
from agentcomm.conformance import check_world
from agentcomm.contracts.actions import ActionSpace
from agentcomm.contracts.continuous import Continuous
from agentcomm.contracts.discrete import Discrete
from agentcomm.contracts.world import World
from agentcomm.pettingzoo.adapter import ParallelWorld, ParallelWorldConfig
from agentcomm.runs.choices import Choice

MPE = "pettingzoo:mpe2.simple_{}:parallel_env"
UNIT, FORCE = ((0.0,) * 5, (1.0,) * 5), ((-1.0,) * 4, (1.0,) * 4)


def discrete(count: int, sizes: tuple[int, ...] | None = None) -> Discrete:
    return Discrete(tuple(map(str, range(count))), sizes)


# Text of the environment: agents, numbers in an observation, actions.
PACKAGES: dict[str, tuple[int, int, ActionSpace]] = {
    MPE.format("speaker_listener_v4"): (2, 11, discrete(5, (3, 5))),
    MPE.format("speaker_listener_v4") + ",arguments.continuous_actions=true": (2, 11, Continuous(*UNIT, (3, 5))),
    MPE.format("reference_v3"): (2, 21, discrete(50)),
    MPE.format("spread_v3") + ",arguments.N=4": (4, 24, discrete(5)),
    MPE.format("spread_v3") + ",arguments.continuous_actions=true": (3, 18, Continuous(*UNIT)),
    "pettingzoo:mpe2.simple_spread_v3:env": (3, 18, discrete(5)),  # turn-based
    MPE.format("crypto_v3"): (3, 8, discrete(4)),
    MPE.format("world_comm_v3"): (6, 34, discrete(20, (20, 5, 5, 5, 5, 5))),
    "pettingzoo:pettingzoo.sisl.pursuit_v5:parallel_env": (8, 147, discrete(5)),
    "pettingzoo:pettingzoo.sisl.multiwalker_v9:parallel_env": (3, 31, Continuous(*FORCE)),
    "gymnasium:lbforaging:Foraging-8x8-2p-2f-v3": (2, 12, discrete(6)),
    "gymnasium:rware:rware-tiny-2ag-v2": (2, 71, discrete(5)),
    "pettingzoo:magent2.environments.battle_v4:parallel_env,arguments.map_size=16": (12, 845, discrete(21)),
}


def made(text: str, worlds: int, max_steps: int = 4) -> World:
    choice = Choice.parse(f"{text},max_steps={max_steps}")
    config = build_config("environment", choice.name, choice.arguments)
    world: World = find("environment", choice.name)(config, worlds)
    return world


@pytest.mark.parametrize("text", PACKAGES)
def test_environments_of_other_packages_are_worlds(text: str, capfd: pytest.CaptureFixture[str]) -> None:
    agents, width, actions = PACKAGES[text]
    world = made(text, 1)
    assert (world.num_agents, world.layout.width, world.actions) == (agents, width, actions)
    world.close()
    check_world(lambda worlds: made(text, worlds), num_worlds=2, num_steps=6, resumes=False)
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", ""), "nothing reaches the user's screen"


def test_a_step_is_that_of_the_environment() -> None:
    """LBF, where both agents get rewards of their own and a step depends on all of them."""
    world = made("gymnasium:lbforaging:Foraging-8x8-2p-2f-v3", 3, max_steps=50)
    world.reset(7)
    seeds = torch.randint(2**31, (3,), generator=torch.Generator().manual_seed(7)).tolist()
    raw = [world.config.recipe.maker()() for _ in seeds]  # type: ignore[attr-defined]
    for env, seed in zip(raw, seeds, strict=True):
        env.reset(seed=seed)
    generator, earned = torch.Generator().manual_seed(1), 0.0
    running = torch.ones(3, dtype=torch.bool)
    for _ in range(40):
        actions = torch.randint(6, (3, 2), generator=generator)
        step = world.step(actions)
        for i in running.nonzero().flatten().tolist():
            observations, rewards, terminated, truncated, _ = raw[i].step(tuple(actions[i].tolist()))
            assert np.allclose(rewards, step.reward[i])
            assert (terminated, truncated) == (bool(step.terminated[i]), bool(step.truncated[i]))
            if not step.done[i]:
                assert np.array_equal(np.stack(observations), step.observation[i].numpy())
            earned += sum(rewards)
        running &= ~step.done
    assert earned > 0, "something was collected"


def test_continuous_actions_arrive_as_they_are() -> None:
    from mpe2 import simple_spread_v3

    world = made(MPE.format("spread_v3") + ",arguments.continuous_actions=true", 1)
    raw = simple_spread_v3.parallel_env(continuous_actions=True)
    world.reset(3)
    raw.reset(seed=int(torch.randint(2**31, (1,), generator=torch.Generator().manual_seed(3))))
    actions = torch.rand(1, 3, 5, generator=torch.Generator().manual_seed(0))
    seen, rewards, *_ = raw.step({agent: actions[0, i].numpy() for i, agent in enumerate(raw.agents)})
    step = world.step(actions)
    assert torch.allclose(step.observation[0], torch.from_numpy(np.stack(list(seen.values()))), atol=1e-6)
    assert np.allclose(step.reward[0], list(rewards.values()))


def test_a_turn_based_conversion_is_the_parallel_environment() -> None:
    from mpe2 import simple_spread_v3

    def turns() -> Any:
        return parallel_to_aec(simple_spread_v3.parallel_env())

    one, other = (
        ParallelWorld(ParallelWorldConfig(max_steps=5), 2, factory=factory)
        for factory in (turns, simple_spread_v3.parallel_env)
    )
    assert torch.equal(one.reset(0), other.reset(0))
    for _ in range(7):
        actions = torch.randint(5, (2, 3))
        assert torch.equal(one.step(actions).observation, other.step(actions).observation)


def test_images_are_scaled() -> None:
    from pettingzoo_zoo import Scripted, world

    pixels = Box(0, 255, (4, 4, 3), np.uint8)
    picture = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    methods = {
        "observation_space": lambda self, agent: pixels,
        "reset": lambda self, **_: (setattr(self, "agents", ["a"]), ({"a": picture}, {}))[1],
    }
    seen = world(lambda: type("Seeing", (Scripted,), methods)(("abc", "", "")))
    assert torch.allclose(seen.reset(0)[0, 0], torch.arange(48) / 255)
    assert (seen.layout.low, seen.layout.high) == (0.0, 1.0)
