"""Quick conformance checks of the plug-ins of others, before they are trained with or evaluated.

Plug-ins of this distribution are checked by its tests. All others that a run uses get the quick part of their
conformance check, once per process; it takes about 0.2 seconds each, and prints nothing if all is well.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import closing
from typing import Any

from agentcomm.base import registry
from agentcomm.base.calling import calling
from agentcomm.base.errors import ConformanceError
from agentcomm.base.plugin import Plugin, foreign
from agentcomm.base.registry import Axis
from agentcomm.conformance.attacks import check_attack
from agentcomm.conformance.channels import check_channel
from agentcomm.conformance.codecs import check_codec
from agentcomm.conformance.defenses import check_defense
from agentcomm.conformance.lines import LastLine
from agentcomm.conformance.metrics import check_metric
from agentcomm.conformance.policies import check_policy
from agentcomm.conformance.topologies import check_topology
from agentcomm.conformance.worlds import check_world
from agentcomm.contracts.topology import TopologyChoice
from agentcomm.runs.assembly import make_policy, make_world
from agentcomm.runs.choices import Choice, TransportConfig, build

Sizes = tuple[int, int]  # agents, payload width
_passed: set[tuple[type[Plugin], str, Sizes | None]] = set()


def check_foreign(
    environment: Choice,
    policy: Choice,
    attacks: Iterable[Choice] = (),
    defenses: Iterable[Choice] = (),
    transports: Iterable[TransportConfig] = (),
) -> None:
    """Run the quick conformance checks of all chosen plug-ins from outside this distribution, and of such metrics.

    Args:
        environment: The environment.
        policy: The policy; its topology is checked, too.
        attacks: Attacks.
        defenses: Defenses.
        transports: Transports, whose channels and codecs are checked.

    Raises:
        ConformanceError: If a plug-in breaks its contract; names the plug-in, the problem and the full check.
        AgentcommError: If the code of a plug-in fails.
    """
    _check("environment", environment, lambda p, a: check_world(lambda b: make_world(environment, b), quick=True))
    _check("policy", policy, lambda p, a: _quick_policy(policy, environment))
    for topology in _topologies(policy):
        _check("topology", topology, check_topology)
    for metric in registry.loadable("metric"):
        _check("metric", Choice(name=metric), check_metric)
    chosen: list[tuple[Axis, Choice]] = [("attack", attack) for attack in attacks]
    chosen += [("defense", defense) for defense in defenses]
    for transport in transports:
        chosen += [("channel", channel) for channel in transport.channels]
        chosen += [] if transport.codec is None else [("codec", transport.codec)]
    others = [(axis, choice) for axis, choice in chosen if foreign(registry.find(axis, choice.name))]
    if not others:
        return
    with closing(make_world(environment, 1)) as world:
        sizes = (world.num_agents, make_policy(policy, world).width)
    for axis, choice in others:
        _check(axis, choice, _sized(axis, *sizes), sizes)


def _sized(axis: Axis, agents: int, width: int) -> Callable[[Any, dict[str, Any]], None]:
    """The quick check of an axis whose plug-ins are built for a team."""
    checks: dict[Axis, Callable[[Any, dict[str, Any]], None]] = {
        "attack": lambda p, a: check_attack(p, a, agents, width, quick=True),
        "defense": lambda p, a: check_defense(p, a, agents, width, quick=True),
        "channel": lambda p, a: check_channel(p, a, num_agents=agents, quick=True),
        "codec": lambda p, a: check_codec(p, a, width, quick=True),
    }
    return checks[axis]


def _quick_policy(policy: Choice, environment: Choice) -> None:
    check_policy(lambda world: make_policy(policy, world), lambda b: make_world(environment, b), 4, quick=True)


def _topologies(policy: Choice) -> list[Choice]:
    """The topologies that a policy's config names."""
    named = [value for _, value in build("policy", policy) if isinstance(value, TopologyChoice)]
    return [Choice.model_validate(value.model_dump()) for value in named]


def _check(
    axis: Axis, choice: Choice, check: Callable[[Any, dict[str, Any]], None], sizes: Sizes | None = None
) -> None:
    """Check one plug-in, unless it is of this distribution or has passed before."""
    plugin: type[Plugin] = registry.find(axis, choice.name)
    key = (plugin, json.dumps(choice.arguments, sort_keys=True, default=str), sizes)
    if not foreign(plugin) or key in _passed:
        return
    with calling(f"{axis} {choice.label!r}", "its conformance check"), LastLine(plugin) as line:
        try:
            check(plugin, choice.arguments)
        except AssertionError as error:
            raise ConformanceError(_failure(axis, choice, plugin, f"{error} ({line})")) from error
    _passed.add(key)


def _failure(axis: Axis, choice: Choice, plugin: type[Plugin], problem: str) -> str:
    """What is wrong with a plug-in, and how to run its full check."""
    name, made = plugin.__name__, f"{plugin.__name__}.Config(**{choice.arguments!r})"
    calls: dict[Axis, str] = {
        "environment": f"check_world(lambda num_worlds: {name}({made}, num_worlds))",
        "policy": f"check_policy(lambda world: {name}.for_world({made}, world), <factory of worlds>)",
    }
    call = calls.get(axis, f"check_{axis}({name}, {choice.arguments!r})")
    return (
        f"{axis} {choice.label!r} breaks the contract of {registry.PLURAL[axis]}: {problem}.\n"
        f"For the full check: from agentcomm.conformance import {call.partition('(')[0]};"
        f" from {plugin.__module__} import {name}; {call}"
    )
