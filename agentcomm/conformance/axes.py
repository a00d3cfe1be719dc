"""The conformance check of any plug-in, whatever its axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from agentcomm.base.calling import calling
from agentcomm.base.errors import ConfigError, ConformanceError, HookError, NumberError
from agentcomm.base.plugin import Plugin
from agentcomm.base.registry import AXES, BASES, PLURAL, Axis, config_of
from agentcomm.conformance.attacks import check_attack
from agentcomm.conformance.channels import check_channel
from agentcomm.conformance.codecs import check_codec
from agentcomm.conformance.defenses import check_defense
from agentcomm.conformance.lines import LastLine
from agentcomm.conformance.metrics import check_metric
from agentcomm.conformance.policies import check_policy
from agentcomm.conformance.topologies import check_topology
from agentcomm.conformance.worlds import check_world
from agentcomm.contracts.policy import CommPolicy
from agentcomm.contracts.world import World
from agentcomm.pettingzoo.adapter import ParallelWorld
from agentcomm.runs.assembly import make_world
from agentcomm.runs.choices import Choice

# Where policies are checked unless told otherwise: three agents, and episodes that end within 16 steps.
ENVIRONMENT = "agentcomm/predator_capture_prey:size=4,max_steps=5"


def axis_of(plugin: object) -> Axis:
    """The axis of a plug-in's class.

    Raises:
        ConfigError: If it is no class of any axis.
    """
    bases = {
        base.__name__ for base in getattr(plugin, "__mro__", ()) if base.__module__.startswith("agentcomm.contracts")
    }
    found = next((axis for axis in AXES if BASES[axis] in bases), None)
    if found is None:
        known = ", ".join(BASES[axis] for axis in AXES)
        raise ConfigError(f"{plugin!r} is no plug-in: a plug-in is a class that derives from one of {known}")
    return found


def check(plugin: type[Plugin], arguments: dict[str, Any] | None = None, environment: str = ENVIRONMENT) -> list[str]:
    """Check the contract of a plug-in of any axis.

    Args:
        plugin: The plug-in's class.
        arguments: Its arguments; None to check every variant that its ``forms()`` return.
        environment: For a policy, the environment to check it in, as ``name:key=value``; with a small ``max_steps``.

    Returns:
        The names of the variants that were checked; the first one's is empty.

    Raises:
        ConformanceError: If it breaks its contract; names the plug-in, the problem, and the line of its code that ran
            last, which is usually the one that returned what is wrong.
        AgentcommError: If its code fails, or an argument is invalid.
    """
    axis = axis_of(plugin)
    what = f"{axis} {plugin.name!r}"
    forms = {"": arguments}
    if arguments is None:
        with calling(what, "forms"):
            forms = dict(plugin.forms())
    for form, given in forms.items():
        _check(axis, plugin, given or {}, f"{what} ({form})" if form else what, environment)
    return list(forms)


def _check(axis: Axis, plugin: type[Any], arguments: dict[str, Any], what: str, environment: str) -> None:
    """Check one variant."""
    config = config_of(plugin, arguments, what)
    checks: dict[Axis, Callable[[], None]] = {
        "environment": lambda: _check_environment(plugin, config),
        "policy": lambda: _check_policy(plugin, config, environment),
        "topology": lambda: check_topology(plugin, arguments),
        "attack": lambda: check_attack(plugin, arguments),
        "defense": lambda: check_defense(plugin, arguments),
        "channel": lambda: check_channel(plugin, arguments),
        "codec": lambda: check_codec(plugin, arguments),
        "metric": lambda: check_metric(plugin, arguments),
    }
    with LastLine(plugin) as line:
        try:
            with calling(what, "its conformance check"):
                checks[axis]()
        except AssertionError as error:
            raise ConformanceError(f"{what} breaks the contract of {PLURAL[axis]}: {error} ({line})") from error
        except (HookError, NumberError) as error:
            raise type(error)(f"{error}" if ", line " in f"{error}" else f"{error} ({line})") from error


def _check_environment(plugin: type[World], config: Any) -> None:
    steps = max(60, config.max_steps + 10)  # so that episodes end
    third_party = issubclass(plugin, ParallelWorld)
    worlds = 2 if third_party else 8
    check_world(lambda count: plugin(config, count), worlds, steps, resumes=not third_party)


def _check_policy(plugin: type[Any], config: Any, environment: str) -> None:
    where = Choice.parse(environment)

    def build(world: World) -> CommPolicy:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            made: CommPolicy = plugin.for_world(config, world)
        return made

    check_policy(build, lambda count: make_world(where, count))
