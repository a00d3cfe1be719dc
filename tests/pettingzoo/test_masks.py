"""Actions of third-party environments: masks, different numbers of them, and several at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete
from pettingzoo_zoo import Scripted, world

from agentcomm.base.errors import ConfigError, HookError
from agentcomm.conformance import check_world
from agentcomm.contracts import discrete
from agentcomm.pettingzoo.adapter import ParallelWorld

SIZES = {"a": 2, "b": 4, "c": 3}


class Masking(Scripted):
    """Agents whose only allowed action is the number of steps, modulo their number of actions; c leaves early."""

    inside = True  # whether masks come in the observations, or else in infos
    broken = ""

    def __init__(self) -> None:
        super().__init__(*[("abc", "", "")] * 2, ("ab", "c", ""), ("", "abc", ""))

    def observation_space(self, agent: str) -> Any:
        seen = super().observation_space(agent)
        return Dict(observation=seen, action_mask=MultiBinary(SIZES[agent])) if self.inside else seen

    def action_space(self, agent: str) -> Any:
        return Discrete(SIZES[agent])

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        return self._masked(*super().reset(seed, options))

    def step(self, actions: dict[str, int]) -> Any:
        for agent, action in actions.items():
            assert action == self.t % SIZES[agent]
        seen, *rest, infos = super().step(actions)
        seen, infos = self._masked(seen, infos)
        return seen, *rest, infos

    def _masked(self, seen: Any, infos: Any) -> Any:
        masks = {agent: np.eye(SIZES[agent], dtype=np.int8)[self.t % SIZES[agent]] for agent in seen}
        if self.t and self.broken == "shape":
            masks["b"] = np.ones(3)
        if self.t and self.broken == "none":
            masks["b"][:] = 0
        if self.inside:
            return {agent: {"observation": seen[agent], "action_mask": masks[agent]} for agent in seen}, infos
        return seen, {agent: {"action_mask": masks[agent]} for agent in seen}


def masking(**changes: Any) -> ParallelWorld:
    return world(type("Masked", (Masking,), changes), 2)


@pytest.mark.parametrize("inside", [True, False])
def test_masks_say_what_is_allowed(inside: bool) -> None:
    made = masking(inside=inside)
    assert made.masks_actions
    assert made.layout.width == 1, "a mask is no observation"
    assert made.actions == discrete.Discrete(("0", "1", "2", "3"), (2, 4, 3))
    made.reset(0)
    for t in (0, 1, 2, 3, 0, 1):
        allowed = made.available()
        assert allowed is not None
        present = 3 if t < 3 else 2
        expected = [[t % size == option for option in range(4)] for size in SIZES.values()]
        assert allowed[:, :present].tolist() == [expected[:present]] * 2
        assert allowed.any(-1).all(), "agents that have left have something to do, too"
        made.step(allowed.float().argmax(-1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"broken": "shape"}, r"step 1 of world 0: agent 'b': the action_mask of shape \(3,\) .* none for 4 actions"),
        ({"broken": "none"}, "step 1 of world 0: agent 'b': its action_mask allows no action"),
    ],
)
def test_masks_that_are_none_are_named(changes: dict[str, Any], message: str) -> None:
    made = masking(**changes)
    made.reset(0)
    with pytest.raises(HookError, match=message):
        made.step(torch.zeros(2, 3, dtype=torch.int64))


class Acting(Scripted):
    """Agents that keep the actions they got."""

    spaces: dict[str, Any]

    def __init__(self) -> None:
        super().__init__(("abc", "", ""), ("ab", "", ""), ("", "ab", ""))

    def action_space(self, agent: str) -> Any:
        return self.spaces[agent]


def acting(a: Any, b: Any, c: Any) -> ParallelWorld:
    return world(type("Acting", (Acting,), {"spaces": {"a": a, "b": b, "c": c}}), 2)


def got(made: ParallelWorld, joint: Any) -> dict[str, Any]:
    """The actions that the first environment gets."""
    made.reset(0)
    made.step(torch.tensor([joint] * 2))
    actions: dict[str, Any] = made._shard.envs[0].actions[-1]  # type: ignore[union-attr]
    return actions


def test_multi_discrete_actions_have_the_components_of_the_widest_agent() -> None:
    made = acting(MultiDiscrete([3, 2]), MultiBinary(3), Discrete(4, start=5))
    assert made.actions == discrete.MultiDiscrete((4, 2, 2), ((3, 2, 1), (2, 2, 2), (4, 1, 1)))
    actions = got(made, [[2, 1, 0], [1, 0, 1], [3, 0, 0]])
    assert [np.asarray(action).tolist() for action in actions.values()] == [[2, 1], [1, 0, 1], 8]
    assert all(made._shard.team.spaces[i]._action.contains(action) for i, action in enumerate(actions.values()))


def test_continuous_actions_keep_shape_type_and_bounds() -> None:
    made = acting(Box(-0.1, 0.3, (2, 2), np.float64), Box(-0.1, 0.3, (1,)), Box(-0.1, 0.3, (4,)))
    low, high = (np.float32(bound) for bound in (-0.1, 0.3))
    actions = got(made, [[low, high, 0, 0.1], [0.2, 0, 0, 0], [low, low, high, high]])
    assert [action.shape for action in actions.values()] == [(2, 2), (1,), (4,)]
    assert all(made._shard.team.spaces[i]._action.contains(action) for i, action in enumerate(actions.values()))


@pytest.mark.parametrize(
    ("spaces", "message"),
    [
        ((Box(0, 1, (2,)), Discrete(2), Discrete(2)), "some agents have continuous actions, and others discrete"),
        ((Box(0, 1, (2,)), Box(0, 2, (1,)), Box(0, 1, (2,))), r"agent 'b' are not those .* rescale all actions to -1"),
    ],
)
def test_actions_that_do_not_fit_together_are_refused(spaces: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        acting(*spaces)


@pytest.mark.parametrize(
    "spaces", [(Discrete(2), Discrete(4), Discrete(3)), (MultiDiscrete([3, 2]), *[Discrete(2)] * 2)]
)
def test_worlds_with_different_actions_conform(spaces: Any) -> None:
    made = type("Acting", (Acting,), {"spaces": dict(zip("abc", spaces, strict=True))})
    check_world(lambda worlds: world(made, worlds), num_steps=12, resumes=False)
