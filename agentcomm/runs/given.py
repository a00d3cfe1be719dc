"""Plug-ins, runs and conditions as users of the Python API and the command line give them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from agentcomm.base.errors import ConfigError, PluginError, together
from agentcomm.base.explain import explain
from agentcomm.base.plugin import Plugin
from agentcomm.base.registry import Axis, article, find
from agentcomm.base.text import shorten
from agentcomm.runs.choices import Choice, build, check_group, split_joined
from agentcomm.runs.conditions import Conditions, ConditionsConfig
from agentcomm.runs.folder import Run, open_run, run_folder

# A plug-in: "name", "name:key=value", {"name": ..., key: value}, a Choice, or its class, which must be registered.
Given = str | Choice | Mapping[str, Any] | type[Plugin]
Group = tuple[Choice, ...]
T = TypeVar("T")


def run_of(given: Any, trust: bool = False) -> Run:
    """A run, or the run in a folder.

    Raises:
        AgentcommError: If there is none.
    """
    return given if isinstance(given, Run) else open_run(path_of(given), trust)


def folder_of(given: Any) -> Path:
    """The folder of a run, which is not opened.

    Raises:
        AgentcommError: If there is none.
    """
    return given.path if isinstance(given, Run) else run_folder(path_of(given))


def path_of(given: Any) -> Path:
    """The path of a run, or of a folder of runs, which need not exist.

    Raises:
        ConfigError: If it is neither a run nor a path.
    """
    if isinstance(given, Run):
        return given.path
    if not isinstance(given, str | os.PathLike):
        raise ConfigError(f"a run is what train() returns, or the path of its folder, not {shorten(given)}")
    return Path(given)


def choice_of(axis: Axis, given: Any) -> Choice:
    """One plug-in, with valid arguments.

    Raises:
        AgentcommError: If it is unknown, an argument is invalid, or ``given`` is something else.
    """
    if isinstance(given, type) and issubclass(given, Plugin):
        given = _name(axis, given)
    if isinstance(given, str):
        choice = Choice.parse(given)
    elif isinstance(given, Choice | Mapping):
        try:
            choice = Choice.model_validate(given if isinstance(given, Choice) else dict(given))
        except ValidationError as error:
            raise ConfigError(explain(error, f"{axis} {shorten(given)}", Choice, given)) from None
    else:
        raise ConfigError(
            f"{article(axis)} is given as 'name', 'name:key=value', {{'name': 'NAME', 'key': value}} or a registered"
            f" class, not {shorten(given)}"
        )
    build(axis, choice)
    return choice


def _name(axis: Axis, plugin: type[Plugin]) -> str:
    """The name of a registered class."""
    try:
        known = find(axis, plugin.name) is plugin
    except PluginError:
        known = False
    if not known:
        raise PluginError(
            f"{plugin.__qualname__} is not registered as {article(axis)}: put @register({axis!r}, {plugin.name!r})"
            " above the class (from agentcomm.base.registry import register)"
        )
    return plugin.name


def attacks_of(given: Any) -> Group:
    """One attack, or several.

    Raises:
        AgentcommError: If something in it is wrong; the text names all mistakes.
    """
    return tuple(_all(partial(choice_of, "attack"), _each(given, "attacks")))


def group_of(given: Any) -> Group:
    """Defenses that act together: one, several joined with +, or a list.

    Raises:
        AgentcommError: If something in it is wrong; the text names all mistakes.
    """
    group = tuple(_all(partial(choice_of, "defense"), _each(split_joined(given), "defenses")))
    check_group(group)
    return group


def groups_of(given: Any) -> tuple[Group, ...]:
    """Groups of defenses: one, or several.

    Raises:
        AgentcommError: If something in it is wrong; the text names all mistakes.
    """
    return tuple(_all(group_of, _each(given, "defenses")))


def conditions_of(given: Any, settings: ConditionsConfig) -> ConditionsConfig | list[Conditions]:
    """Conditions as they are, or the settings with the given keys replaced.

    Raises:
        ConfigError: If it is neither a mapping nor a list of conditions, or a key or value is invalid.
    """
    if given is None or isinstance(given, Mapping):
        return settings.changed(given or {})
    if isinstance(given, Conditions):
        return [given]
    if isinstance(given, list | tuple) and all(isinstance(under, Conditions) for under in given):
        return list(given)
    raise ConfigError(
        "conditions are a mapping such as {'gates': ['closed'], 'decisions': 'sampled'}, or a list of Conditions, not"
        f" {shorten(given)}; keys: {', '.join(ConditionsConfig.model_fields)}"
    )


def _each(given: Any, what: str) -> list[Any]:
    """A list; what stands alone becomes a list of one."""
    if isinstance(given, str | Choice | Mapping | type):
        return [given]
    if not isinstance(given, Iterable):
        raise ConfigError(
            f"{what} are given as one or a list, such as ['NAME', 'NAME:key=value'], not {shorten(given)}"
        )
    return list(given)


def _all(make: Callable[[Any], T], given: Iterable[Any]) -> list[T]:
    """What is made of each; all mistakes at once."""
    made: list[T] = []
    together(*(partial(lambda one: made.append(make(one)), one) for one in given))
    return made
