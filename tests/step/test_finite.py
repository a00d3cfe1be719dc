"""A step stops at the first number that is not finite, and at the first answer that breaks a contract; both are named.

Each case spoils one hook of one plug-in of a team that is otherwise whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from builders import comms, defense, team, team_shape_of
from torch import Tensor

from agentcomm.base.errors import AgentcommError, HookError, NumberError
from agentcomm.contracts.channel import Channel, ChannelConfig, ChannelEffect
from agentcomm.contracts.codec import CodecConfig, Coded
from agentcomm.contracts.defense import Defense, DefenseConfig
from agentcomm.contracts.policy import CommPolicy
from agentcomm.contracts.topology import Graph
from agentcomm.contracts.verdicts import ActionVerdicts, Replacement, Responses, Verdicts
from agentcomm.contracts.world import World
from agentcomm.evaluation.play import play
from agentcomm.step.loop import TeamLoop

Change = Callable[[Any], Any]
WORLD, AGENT = 2, 1  # where it goes wrong


def bad(value: Tensor) -> Tensor:
    """The same with one NaN."""
    out = value.clone()
    out[WORLD, AGENT] = math.nan
    return out


def nothing(value: Any) -> None:
    return None


def crash(value: Any) -> Any:
    raise ZeroDivisionError("inside a plug-in")


def spoil(owner: Any, hook: str, change: Change) -> None:
    """Change what a hook of an object returns."""
    whole = getattr(owner, hook)

    def spoiled(*arguments: Any, **named: Any) -> Any:
        return change(whole(*arguments, **named))

    spoiled.__name__ = hook
    object.__setattr__(owner, hook, spoiled)


def small() -> tuple[World, CommPolicy]:
    return team(4, "predator_prey", world={"size": 2, "predators": 3, "max_steps": 4}, topology={"name": "full"})


def run(world: World, policy: CommPolicy, parts: dict[str, Any] | None = None, learning: bool = True) -> None:
    """Two steps of a team that learns."""
    generator = torch.Generator().manual_seed(0) if learning else None
    made = comms(team_shape_of(world, policy), **(parts or {}))
    loop = TeamLoop(world, policy, made, generator, learning=learning)
    loop.reset(0)
    for _ in range(2):
        loop.finish(loop.step())


POLICY: list[tuple[str, Change, type[AgentcommError], str]] = [
    ("encode", bad, NumberError, r"hidden state \(encode\) of agent '.*1' in world 2, step 0 is NaN; .*learning_rate"),
    ("encode", nothing, HookError, r"encode must return hidden vectors .*, but returned None"),
    ("speak", bad, NumberError, r"payload \(speak\), round 0, of agent '.*1' in world 2, step 0 is NaN"),
    (
        "speak",
        lambda x: x[..., :-1],
        HookError,
        r"what speak returns must be floating-point \(4, 3, 16\), not torch.float32",
    ),
    ("hear", nothing, HookError, "hear must return hidden vectors .*, but returned None"),
    ("hear", bad, NumberError, r"payload \(speak\), round 1, of agent"),
    ("act", bad, NumberError, r"action logits \(act\) of agent '.*1' in world 2"),
    (
        "act",
        lambda x: x[:1],
        HookError,
        r"what act returns must be floating-point \(4, 3, 5\), not torch.float32 \(1, 3, 5\)",
    ),
    ("act", lambda x: x.argmax(-1), HookError, "what act returns must be floating-point"),
    ("value", bad, NumberError, r"value \(value\) of agent '.*1' in world 2"),
    ("value", lambda x: x.mean(-1), HookError, r"what value returns must be floating-point \(4, 3\)"),
    ("speak", crash, HookError, r"failed in speak: ZeroDivisionError: inside a plug-in \(.*test_finite.py, line"),
]


@pytest.mark.parametrize(("hook", "change", "error", "text"), POLICY)
def test_of_a_policy(hook: str, change: Change, error: type[AgentcommError], text: str) -> None:
    world, policy = small()
    spoil(policy, hook, change)
    with pytest.raises(error, match=f"policy 'commformer'[: ]+{text}"):
        run(world, policy)


def test_a_value_that_nobody_uses_may_be_anything() -> None:
    world, policy = small()
    spoil(policy, "value", bad)
    run(world, policy, learning=False)


def test_an_impossible_action_may_have_a_logit_of_minus_infinity() -> None:
    world, policy = small()
    spoil(policy, "act", lambda x: torch.cat([x[..., :1], torch.full_like(x[..., 1:], -math.inf)], -1))
    run(world, policy)


ENVIRONMENT: list[tuple[str, Change, type[AgentcommError], str]] = [
    ("observe", bad, NumberError, r"observation of agent 'predator_1' in world 2, step 0 is NaN; return finite"),
    (
        "observe",
        lambda x: x[..., 1:],
        HookError,
        r"observation must be floating-point \(4, 3, \d+\), not torch.float32",
    ),
    ("observe", crash, HookError, "failed in reset: ZeroDivisionError: inside a plug-in"),
    (
        "advance",
        lambda t: replace(t, reward=bad(t.reward)),
        NumberError,
        r"reward of agent 'predator_1' in world 2, step",
    ),
    ("advance", lambda t: replace(t, reward=t.reward[0]), HookError, r"reward must be torch.float32 \(4, 3\)"),
    ("advance", lambda t: replace(t, reward=t.reward.double()), HookError, r"reward must be .* not torch.float64"),
    ("advance", crash, HookError, r"failed in step: ZeroDivisionError: inside a plug-in \(.*test_finite.py, line"),
    ("advance", nothing, HookError, "advance must return a Transition, but returned None"),
]


@pytest.mark.parametrize(("hook", "change", "error", "text"), ENVIRONMENT)
@pytest.mark.parametrize("learning", [True, False])
def test_of_an_environment(hook: str, change: Change, error: type[AgentcommError], text: str, learning: bool) -> None:
    world, policy = small()
    spoil(world, hook, change)
    with pytest.raises(error, match=f"environment 'predator_prey'[: ]+{text}"):
        run(world, policy, learning=learning)


def test_the_last_observation_of_an_episode_counts_too() -> None:
    """It is what the value of a truncated episode is computed from."""
    world, policy = small()
    spoil(world, "observe", lambda x: bad(x) if int(world.length.max()) == 4 else x)
    loop = TeamLoop(world, policy, comms(team_shape_of(world, policy)), torch.Generator(), learning=True)
    loop.reset(0)
    for _ in range(3):
        loop.finish(loop.step())
    with pytest.raises(NumberError, match=r"last observation of agent 'predator_1' in world \d, step 4 is NaN"):
        loop.step()


TOPOLOGY: list[tuple[Change, str]] = [
    (nothing, "graph must return a Graph, but returned None"),
    (lambda g: Graph(g.source[..., :1]), r"source must be torch.int64 \(4, 3, 2\), not torch.int64 \(4, 3, 1\)"),
    (lambda g: Graph(g.source + 2), r"source must lie in 0 .. 2, but goes from \d to 4"),
    (crash, "failed in graph: ZeroDivisionError: inside a plug-in"),
]


@pytest.mark.parametrize(("change", "text"), TOPOLOGY)
def test_of_a_topology(change: Change, text: str) -> None:
    world, policy = small()
    spoil(policy.topology, "graph", change)
    with pytest.raises(HookError, match=f"topology .*{text}"):
        run(world, policy)


def unknown(replacement: None) -> Tensor:
    """An action that there is not, for each of 12 agents."""
    return torch.full((12,), 5)


class Guard(Defense):
    """Calls everything fine."""

    name = "own"
    order = "content"

    def screen(self, delivered: Any, memory: Any) -> Verdicts:
        full = torch.ones(delivered.present.shape)
        return Verdicts(scale=full, score=full, replace=Replacement(full > 2, delivered.payload))

    def aggregate(self, inbox: Any, memory: Any) -> Tensor | None:
        return inbox.payload.clone()  # type: ignore[no-any-return]

    def respond(self, outcome: Any, memory: Any) -> Responses:
        return Responses()

    def on_action(self, request: Any, memory: Any) -> ActionVerdicts:
        return ActionVerdicts(resample=torch.zeros(request.action.shape, dtype=torch.float64))


def swapped(**fields: Change) -> Change:
    """What a defense answers, with some fields changed."""

    def change(verdicts: Any) -> Any:
        return replace(verdicts, **{name: by(getattr(verdicts, name)) for name, by in fields.items()})

    return change


def everywhere(replacement: Replacement) -> Replacement:
    return Replacement(torch.ones_like(replacement.where), bad(replacement.payload))


DEFENSE: list[tuple[str, Change, type[AgentcommError], str]] = [
    ("screen", swapped(scale=bad), NumberError, r"scale \(screen\), round 0, of agent 'predator_1' in world 2, step 0"),
    ("screen", swapped(score=bad), NumberError, r"score \(screen\), round 0, of agent 'predator_1' in world 2"),
    ("screen", swapped(replace=everywhere), NumberError, r"replacement \(screen\), round 0, of agent 'predator_1'"),
    ("screen", swapped(scale=lambda x: x[0]), HookError, r"scale must be torch.float32 \(4, 3, 2\), not"),
    ("screen", swapped(scale=lambda x: 2.0), HookError, r"scale must be torch.float32 \(4, 3, 2\), not float"),
    (
        "screen",
        swapped(replace=lambda x: x.payload),
        HookError,
        "screen must return a Replacement as replace, but returned a Tensor",
    ),
    ("screen", nothing, HookError, "screen must return Verdicts.*, but returned None"),
    ("screen", crash, HookError, r"failed in screen: ZeroDivisionError: inside a plug-in \(.*test_finite.py, line"),
    ("aggregate", bad, NumberError, r"payload \(aggregate\), round 0, of agent 'predator_1' in world 2, step 0 is NaN"),
    ("aggregate", crash, HookError, "failed in aggregate: ZeroDivisionError"),
    ("respond", nothing, HookError, "respond must return Responses.*, but returned None"),
    ("respond", crash, HookError, "failed in respond: ZeroDivisionError"),
    ("on_action", nothing, HookError, "on_action must return ActionVerdicts.*, but returned None"),
    (
        "on_action",
        swapped(resample=lambda x: x * math.nan),
        NumberError,
        r"resample \(on_action\) of agent 'predator_0'",
    ),
    ("on_action", swapped(resample=lambda x: x.float()), HookError, "resample must be torch.float64"),
    (
        "on_action",
        swapped(resample=lambda x: x + 2),
        HookError,
        "resample must lie in 0 .. 1, but goes from 2.0 to 2.0",
    ),
    (
        "on_action",
        swapped(replace=unknown),
        HookError,
        "replace must be whole numbers in 0 .. 4, or -1 to leave an action alone",
    ),
    ("on_action", crash, HookError, "failed in on_action: ZeroDivisionError"),
]


@pytest.mark.parametrize(("hook", "change", "error", "text"), DEFENSE)
@pytest.mark.parametrize("learning", [True, False])
def test_of_a_defense(hook: str, change: Change, error: type[AgentcommError], text: str, learning: bool) -> None:
    world, policy = small()
    made = Guard(DefenseConfig(), team_shape_of(world, policy))
    run(world, policy, {"defenses": [made]})
    spoil(made, hook, change)
    with pytest.raises(error, match=f"defense 'own'[: ]+{text}"):
        run(world, policy, {"defenses": [made]}, learning)


def test_payloads_that_are_not_there_may_be_replaced_by_anything() -> None:
    world, policy = small()
    made = Guard(DefenseConfig(), team_shape_of(world, policy))
    spoil(made, "screen", swapped(replace=lambda r: Replacement(r.where, bad(r.payload))))
    run(world, policy, {"defenses": [made]})


def test_a_payload_is_blamed_on_who_broke_it() -> None:
    """Not on a defense that makes a NaN of another one."""
    world, policy = small()
    spoil(policy, "speak", bad)
    s = team_shape_of(world, policy)
    with pytest.raises(NumberError, match=r"^policy 'commformer': payload"):
        run(world, policy, {"defenses": [defense("clip", s), defense("median", s)]})


def test_an_error_that_follows_from_a_number_names_the_number() -> None:
    world, policy = small()
    spoil(policy, "speak", bad)
    spoil(policy, "hear", crash)
    with pytest.raises(NumberError, match="payload") as caught:
        run(world, policy)
    assert isinstance(caught.value.__context__, HookError)


class Wire(Channel):
    """Loses nothing and takes no time."""

    name = "own"

    def carry(self, entering: Any, memory: Any) -> ChannelEffect:
        return ChannelEffect(seconds=torch.zeros(entering.present.shape), lost=torch.zeros_like(entering.present))


CHANNEL: list[tuple[Change, type[AgentcommError], str]] = [
    (swapped(seconds=bad), NumberError, r"delay \(carry: seconds\) of agent 'predator_1' in world 2, step 0 is NaN"),
    (swapped(seconds=lambda x: x.double()), HookError, r"carry: seconds must be torch.float32 \(4, 3, 2\)"),
    (swapped(lost=lambda x: x[0]), HookError, r"carry: lost must be torch.bool \(4, 3, 2\), not torch.bool \(3, 2\)"),
    (nothing, HookError, "carry must return a ChannelEffect, but returned None"),
    (crash, HookError, "failed in carry: ZeroDivisionError"),
]


@pytest.mark.parametrize(("change", "error", "text"), CHANNEL)
def test_of_a_channel(change: Change, error: type[AgentcommError], text: str) -> None:
    world, policy = small()
    made = Wire(ChannelConfig(), team_shape_of(world, policy), 2)
    run(world, policy, {"channels": [made]})
    spoil(made, "carry", change)
    with pytest.raises(error, match=f"channel 'own'[: ]+{text}"):
        run(world, policy, {"channels": [made]})


CODEC: list[tuple[Change, type[AgentcommError], str]] = [
    (
        lambda c: Coded(bad(c.values), c.bits),
        NumberError,
        r"values \(encode\), round 0, of agent 'predator_1' in world 2",
    ),
    (lambda c: Coded(c.values, c.bits.float()), HookError, r"encode: bits must be torch.int64 \(4, 3\)"),
    (nothing, HookError, "encode must return a Coded, but returned None"),
    (crash, HookError, "failed in encode: ZeroDivisionError"),
]


@pytest.mark.parametrize(("change", "error", "text"), CODEC)
def test_of_a_codec(change: Change, error: type[AgentcommError], text: str) -> None:
    from agentcomm.codecs.float16 import Float16

    world, policy = small()
    made = Float16(CodecConfig(), team_shape_of(world, policy))
    spoil(made, "encode", change)
    with pytest.raises(error, match=f"codec 'float16'[: ]+{text}"):
        run(world, policy, {"codec": made})


def test_episodes_stop_there() -> None:
    world, policy = small()
    spoil(world, "advance", lambda t: replace(t, reward=bad(t.reward)))
    with pytest.raises(NumberError, match=r"^environment 'predator_prey': reward of agent 'predator_1' in world 2"):
        play(world, policy, comms(team_shape_of(world, policy)), 0)
