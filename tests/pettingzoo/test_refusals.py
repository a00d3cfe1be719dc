"""Third-party environments that cannot be used, or break, are named: agent, world, step, and what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, Sequence, Tuple
from pettingzoo import AECEnv
from pettingzoo_zoo import Scripted, scripted, world

from agentcomm.base.errors import AgentcommError, ConfigError, HookError, NumberError
from agentcomm.pettingzoo.adapter import ParallelWorld, ParallelWorldConfig

ON = ("abc", "", "")


def one(**methods: Callable[..., Any]) -> ParallelWorld:
    """A world of a class derived from Scripted with other methods."""
    return world(lambda: type("Odd", (Scripted,), methods)(ON), 2)


def observing(space: Any) -> ParallelWorld:
    return one(observation_space=lambda self, agent: space)


def acting(space: Any) -> ParallelWorld:
    return one(action_space=lambda self, agent: space)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: world(lambda: type("Turns", (AECEnv,), {"metadata": {}})()),
            r"turn-based \(AEC\).*is_parallelizable",
        ),
        (lambda: world(lambda: gymnasium.make("CartPole-v1")), "Gymnasium environment with the spaces .* tuples"),
        (lambda: world(object), "object without possible_agents, reset, step"),
        (
            lambda: one().__class__ and world(lambda: type("None_", (Scripted,), {"possible_agents": ()})()),
            "has no pos",
        ),
        (lambda: acting(Box(0, 9, (2,), np.int64)), "agent 'a'.*return MultiDiscrete"),
        (lambda: acting(Tuple((Discrete(2),))), "agent 'a'.*return Discrete"),
        (lambda: observing(Box(0, 255, (99, 99, 3), np.uint8)), "agent 'a' observes 29,403 numbers, .*supersuit"),
        (lambda: observing(Sequence(Discrete(2))), "agent 'a' has the observation space Sequence.*returns a Box"),
    ],
)
def test_other_kinds_and_spaces_are_refused_with_a_way_to_convert_them(make: Callable[[], Any], message: str) -> None:
    made, closed = Scripted.made, Scripted.closed
    with pytest.raises(ConfigError, match=message):
        make()
    assert Scripted.made - made == Scripted.closed - closed, "what was made is closed"


def test_spaces_that_gymnasium_flattens_are_vectors() -> None:
    space = Dict(place=Tuple((Discrete(3), Box(-1, 1, (2,), np.float32))), flags=MultiBinary(2))
    seen = {"place": (1, np.array([0.5, -1], np.float32)), "flags": np.array([0, 1], np.int8)}
    where = one(
        observation_space=lambda self, agent: space if agent == "b" else Box(0, 9, (1,)),
        reset=lambda self, **_: (setattr(self, "agents", ["a", "b"]), ({"a": np.full(1, 2), "b": seen}, {}))[1],
    )
    assert where.reset(0)[0].tolist() == [[2] + [0] * 6, [0, 1, 0, 0.5, -1, 0, 1], [0] * 7]
    assert (where.layout.width, where.layout.low, where.layout.high) == (7, -1.0, 9.0)


def failing(self: Any, *_: Any, **__: Any) -> Any:
    raise ConnectionError("licence server does not answer")  # the line that errors name


LINE = failing.__code__.co_firstlineno + 1


@pytest.mark.parametrize(
    ("hook", "where"),
    [
        ("__init__", "its constructor"),
        ("observation_space", "the spaces of agent 'a'"),
        ("reset", "reset of world 0"),
        ("step", "step 3 of world 0"),
        ("close", "close"),
    ],
)
def test_errors_of_an_environment_name_it_and_their_place(hook: str, where: str) -> None:
    def late(self: Any, actions: Any) -> Any:
        return failing(self) if self.t == 2 else Scripted.step(self, actions)

    def live() -> None:
        made = one(**{hook: late if hook == "step" else failing})
        made.reset(0)
        for _ in range(3):
            made.step(torch.zeros(2, 3, dtype=torch.int64))
        made.close()

    with pytest.raises(HookError) as told:
        live()
    assert f"environment 'pettingzoo' failed in {where}: ConnectionError: licence server" in str(told.value)
    assert f"({Path(__file__)}, line {LINE})" in str(told.value)


def test_an_environment_of_a_config_is_named_by_what_makes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_zoo.py").write_text("import math\nmath.sqrt(-1)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(HookError, match=r"the import of 'broken_zoo' failed: ValueError.*broken_zoo.py, line 2"):
        ParallelWorld(ParallelWorldConfig(make="broken_zoo:Env"))
    with pytest.raises(HookError, match="environment 'builtins:int' failed in its constructor: TypeError"):
        ParallelWorld(ParallelWorldConfig(make="builtins:int", arguments={"no": 1}))


def parts(**changes: Any) -> dict[str, Any]:
    """Methods of an environment whose steps return other values; a change of None leaves agent b out."""

    def step(self: Any, actions: dict[str, int]) -> Any:
        names = ("observations", "rewards", "terminations", "truncations", "infos")
        returned = dict(zip(names, Scripted.step(self, actions), strict=True))
        for name, value in changes.items():
            if value is None:
                del returned[name]["b"]
            else:
                returned[name] = returned[name] | {"b": value}
        return tuple(returned.values())

    return {"step": step}


@pytest.mark.parametrize(
    ("methods", "kind", "message"),
    [
        (parts(observations=None), HookError, "agent 'b' is in env.agents, but has no observation"),
        (parts(rewards=None), HookError, "agent 'b' acted, but is missing in rewards"),
        (parts(terminations=None), HookError, "agent 'b' acted, but is missing in terminations"),
        (parts(truncations=None), HookError, "agent 'b' acted, but is missing in truncations"),
        (
            parts(observations=np.ones(2)),
            HookError,
            r"agent 'b': the observation of shape \(2,\) and type float64 .* Box",
        ),
        (parts(observations=np.array(["x"])), HookError, "agent 'b': the observation of shape .* type <U1"),
        (parts(observations={"x": 1}), HookError, "agent 'b': the observation .* is not in its space"),
        (
            parts(observations=np.full(1, 9.5)),
            HookError,
            r"agent 'b' observes 9.5 in entry 0 of 1, outside .*\(0.0 to 9",
        ),
        (parts(observations=np.full(1, np.nan)), NumberError, "agent 'b' observes nan in entry 0 of 1; .* finite"),
        (parts(observations=np.full(1, 1e300)), NumberError, "agent 'b' observes inf"),
        (parts(rewards=float("nan")), NumberError, "the reward of agent 'b' is nan"),
        (parts(rewards=np.ones(3)), HookError, "the reward of agent 'b' is array.* not a number"),
        (parts(rewards=None) | parts(rewards="1"), HookError, "the reward of agent 'b' is '1', not a number"),
        (parts(infos={"action_mask": np.ones(2)}), HookError, "agent 'b': it has an action_mask in infos, but no"),
        ({"step": lambda self, actions: Scripted.step(self, actions)[:4]}, HookError, "returned 4 values, not the 5"),
        (
            {"step": lambda self, actions: ([], *Scripted.step(self, actions)[1:])},
            HookError,
            "dictionaries .* not list",
        ),
    ],
)
def test_steps_that_break_the_contract_name_agent_world_and_step(
    methods: dict[str, Any], kind: type[AgentcommError], message: str
) -> None:
    made = one(**methods)
    made.reset(0)
    with pytest.raises(kind, match=message) as told:
        made.step(torch.zeros(2, 3, dtype=torch.int64))
    assert "environment 'pettingzoo', " in str(told.value)
    assert "step 1 of world 0" in str(told.value)


def test_resets_that_break_the_contract_are_named() -> None:
    for returned, message in (
        (lambda self: {}, "reset of world 0: it returned a dict, not the 2 values observations, infos"),
        (lambda self: setattr(self, "agents", []) or ({}, {}), "env.agents is empty"),
        (lambda self: setattr(self, "agents", ["z"]) or ({}, {}), r"agent 'z' is not among possible_agents \(a, b, c"),
    ):
        with pytest.raises(HookError, match=message):
            one(reset=lambda self, returned=returned, **_: returned(self)).reset(0)


def test_rounding_is_no_error_and_leaves_the_range_of_the_layout() -> None:
    made = one(**parts(observations=np.full(1, 9 + 1e-6)))
    made.reset(0)
    assert made.step(torch.zeros(2, 3, dtype=torch.int64)).observation.max() == 9.0


def test_worlds_close_their_environments_once_and_all_of_them() -> None:
    made, closed = Scripted.made, Scripted.closed
    where = scripted(ON, worlds=3)
    for _ in range(2):
        where.close()
    assert (Scripted.made - made, Scripted.closed - closed) == (3, 3)

    class Fragile(Scripted):
        def __init__(self) -> None:
            super().__init__(ON)
            self.number = Fragile.made
            if self.number == Fragile.fails:
                raise RuntimeError("no more licences")

        def close(self) -> None:
            super().close()
            if self.number % 2:
                raise RuntimeError("cannot close")

    Fragile.made = Fragile.closed = 0
    Fragile.fails = 4
    with pytest.raises(HookError, match="failed in its constructor: RuntimeError: no more licences"):
        world(Fragile, 5)
    assert (Fragile.made, Fragile.closed) == (4, 3), "those that were made are closed, also if closing fails"
    Fragile.fails = 0
    with pytest.raises(HookError, match="failed in close: RuntimeError: cannot close"):
        world(Fragile, 3).close()
    assert (Fragile.made, Fragile.closed) == (7, 6)
