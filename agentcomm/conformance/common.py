"""Helpers shared by all conformance checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import torch
from torch import Tensor

from agentcomm.base.calling import answered
from agentcomm.base.errors import ConfigError, ConformanceError
from agentcomm.base.plugin import Plugin, PluginConfig
from agentcomm.base.registry import Axis, config_of
from agentcomm.base.risks import RISKS
from agentcomm.contracts.attack import Attack
from agentcomm.contracts.outcome import Episodes, Facts
from agentcomm.contracts.policy import CommPolicy
from agentcomm.contracts.threat_model import ThreatModel
from agentcomm.contracts.world import World
from agentcomm.network.ledger import COUNTS

WorldFactory = Callable[[int], World]
PolicyFactory = Callable[[World], CommPolicy]


@contextmanager
def closing_worlds(factory: WorldFactory) -> Iterator[WorldFactory]:
    """A factory whose worlds are closed at the end of the block."""
    with ExitStack() as made:
        yield lambda num_worlds: made.enter_context(closing(factory(num_worlds)))


def require(condition: bool | Tensor, problem: str) -> None:
    """Raise ConformanceError, which is an AssertionError, with the problem unless the condition holds."""
    if not condition:
        raise ConformanceError(problem)


def checked_config(
    axis: Axis, plugin: type[Plugin], base: type[Plugin], arguments: dict[str, Any] | None, quick: bool = False
) -> Any:
    """A plug-in's config with these arguments, after :func:`check_plugin`.

    Args:
        axis: The axis whose check was called.
        plugin: The plug-in's class.
        base: The class that it must derive from.
        arguments: Its arguments; None for the defaults.
        quick: Whether to accept arguments without descriptions.

    Raises:
        ConfigError: If the plug-in is no class of that axis, or an argument is unknown or invalid.
        AssertionError: If the plug-in's declarations break the contract.
    """
    if not (isinstance(plugin, type) and issubclass(plugin, base)):
        example = f"check_{axis}(My{base.__name__})"
        raise ConfigError(f"check_{axis} takes a class that derives from {base.__name__}, as {example}; not {plugin!r}")
    check_plugin(plugin, base.Config, quick)
    return config_of(plugin, {} if arguments is None else arguments, f"{axis} {plugin.name!r}")


def check_plugin(plugin: type[Plugin], base: type[PluginConfig], quick: bool = False) -> None:
    """Check the version, and that the config is frozen, rejects unknown keys and has descriptions unless ``quick``."""
    require(isinstance(plugin.version, str), f"version is {plugin.version!r}, not a string")
    config = plugin.Config
    require(isinstance(config, type) and issubclass(config, base), f"Config is {config!r}, not a {base.__name__}")
    require(config.model_config.get("frozen") is True, "Config is not frozen")
    require(config.model_config.get("extra") == "forbid", "Config accepts unknown keys")
    for name, info in config.model_fields.items():
        require(quick or bool(info.description), f"argument {name!r} has no description")


def check_memory(make: Callable[[], dict[str, Tensor]], worlds: int) -> None:
    """Check that memory has a row per world, and is fresh on each call."""
    memory = make()
    fresh = {name: value.clone() for name, value in memory.items()}
    for name, value in memory.items():
        require(len(value) == worlds, f"memory {name!r} has leading dimension {len(value)}, not {worlds} worlds")
        value.fill_(1)
    again = make()
    same = again.keys() == fresh.keys() and all(torch.equal(again[name], value) for name, value in fresh.items())
    require(same, "memory() returns different values on each call: it must create new tensors")


def check_threat(made: Attack) -> None:
    """Check that an attack names known risks and has one threat model."""
    for risk in made.risks:
        require(risk in RISKS, f"{risk!r} is not a risk id, such as aa.l2.agent_spoofing (agentcomm/base/risks.py)")
    answered(made.threat_model(), ThreatModel, f"attack {made.name!r}", "threat_model", "a ThreatModel")
    require(made.threat_model() == made.threat_model(), "threat_model returns different values on each call")


def episodes(worlds: int, facts: Facts) -> Episodes:
    """Episodes [B] without events other than those of the directory."""
    none, zero = torch.zeros(worlds, dtype=torch.int64), torch.zeros(worlds)
    return Episodes(
        length=none + 1,
        success=none > 0,
        total_reward=zero,
        harm=none,
        actions=torch.ones(worlds, 64, dtype=torch.int64),
        messages=dict.fromkeys(COUNTS, none),
        bytes=none,
        late_by=(none, zero),
        refused_by={},
        gate_by_step=[1.0],
        gate_open=1.0,
        facts=facts,
    )
