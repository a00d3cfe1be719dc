"""Finds plug-ins by axis and name.

Installed packages announce plug-ins as entry points in one group per axis (``agentcomm.environments``,
``agentcomm.policies``, ...); the plug-ins in this repository are announced in the same way as those of other packages.
Each has the full name ``package/name``, with the name of its distribution. ``name`` alone is enough where only one
package announces it, and for the testbed's own plug-ins. A script or notebook can add one with :func:`register`.
"""

from __future__ import annotations

import importlib
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal, TypeVar, get_args

from pydantic import ValidationError

from agentcomm.base.calling import calling, described
from agentcomm.base.errors import ConfigError, PluginError, did_you_mean
from agentcomm.base.explain import explain
from agentcomm.base.plugin import Plugin
from agentcomm.base.text import shorten

Axis = Literal["environment", "policy", "topology", "attack", "defense", "channel", "codec", "metric"]
AXES: tuple[Axis, ...] = get_args(Axis)
PLURAL: dict[Axis, str] = {
    "environment": "environments",
    "policy": "policies",
    "topology": "topologies",
    "attack": "attacks",
    "defense": "defenses",
    "channel": "channels",
    "codec": "codecs",
    "metric": "metrics",
}

# The class in agentcomm.contracts that the plug-ins of an axis derive from.
BASES: dict[Axis, str] = {
    "environment": "World",
    "policy": "CommPolicy",
    "topology": "Topology",
    "attack": "Attack",
    "defense": "Defense",
    "channel": "Channel",
    "codec": "Codec",
    "metric": "Metric",
}

_registered: dict[tuple[Axis, str], type[Plugin]] = {}
# What was found before in these entry points, and what could not be loaded.
_imported: dict[tuple[Axis, str], tuple[dict[str, EntryPoint], type[Any]]] = {}
_broken: dict[tuple[Axis, str], tuple[dict[str, EntryPoint], str]] = {}
OWN = "agentcomm/"  # how full names of the testbed's own plug-ins begin
P = TypeVar("P", bound=type[Plugin])


def register(axis: Axis, name: str) -> Callable[[P], P]:
    """Class decorator that adds a plug-in for this process.

    Raises:
        PluginError: If the name is taken by another class, or the class is registered under another name or is no
            plug-in of that axis.
    """

    def add(plugin: P) -> P:
        _check_base(axis, name, plugin, getattr(plugin, "__qualname__", repr(plugin)))
        existing = _registered.get((axis, name))
        if existing is not None and existing is not plugin:
            raise PluginError(f"{axis} {name!r} is already registered by {existing.__module__}; choose another name")
        if existing is None and name in {point.name for point in _announced(axis).values()}:
            raise PluginError(f"{axis} {name!r} is already announced by an installed package; choose another name")
        other = next((n for (a, n), p in _registered.items() if p is plugin and (a, n) != (axis, name)), None)
        if other is not None:
            raise PluginError(f"{plugin.__qualname__} is already registered as {other!r}; register it once")
        _registered[axis, name] = plugin
        plugin.name = name
        return plugin

    return add


@cache
def _announced(axis: Axis) -> dict[str, EntryPoint]:
    """Entry points of installed packages, by full name."""
    return {f"{_package(point)}/{point.name}": point for point in entry_points(group=f"agentcomm.{PLURAL[axis]}")}


def _package(point: EntryPoint) -> str:
    """Name of the distribution that announces a plug-in."""
    return point.value.partition(":")[0].partition(".")[0] if point.dist is None else point.dist.name


def _by_name(axis: Axis) -> dict[str, EntryPoint]:
    """Entry points of installed packages, by their shortest unambiguous name.

    The testbed's own plug-ins keep theirs, so that installing a package changes the meaning of no config.
    """
    announced = _announced(axis)
    count = Counter(point.name for point in announced.values())
    return {
        point.name if count[point.name] == 1 or full == OWN + point.name else full: point
        for full, point in announced.items()
    }


def article(axis: Axis) -> str:
    """The axis with its article, such as ``an attack``."""
    return f"{'an' if axis[0] in 'aeiou' else 'a'} {axis}"


def names(axis: Axis) -> list[str]:
    """Sorted names of all plug-ins of an axis; full names where several packages announce the same name."""
    return sorted({*_by_name(axis), *(name for a, name in _registered if a == axis)})


def registered_modules() -> list[str]:
    """Modules whose plug-ins were added by :func:`register`, except for the script that was started."""
    return sorted({plugin.__module__ for plugin in _registered.values()} - {"__main__"})


def find(axis: Axis, name: str) -> type[Any]:
    """The plug-in class with this name or full name.

    Raises:
        PluginError: If no package or several packages announce it, or its module cannot be imported.
    """
    if (axis, name) in _registered:
        return _registered[axis, name]
    announced = _announced(axis)
    before, imported = _imported.get((axis, name), (None, Plugin))
    if before is announced:
        return imported
    known, point = _announcement(axis, name)
    twice = sorted(full for full, p in announced.items() if p.value == point.value)
    if len(twice) > 1 and announced.get(OWN + known) is not point:
        both = " and ".join(repr(other) for other in twice)
        raise PluginError(f"{point.value} is announced as {axis} {both}; a plug-in has one name: announce it once")
    try:
        module = importlib.import_module(point.module)
        plugin: type[Plugin] = getattr(module, point.attr)
    except (Exception, SystemExit) as error:  # a plug-in's module may raise anything
        raise PluginError(_why_not(point, error)) from error
    _check_base(axis, name, plugin, point.value)
    plugin.name = known
    _imported[axis, name] = announced, plugin
    return plugin


def loadable(axis: Axis) -> dict[str, type[Any]]:
    """All plug-ins of an axis by name, but for those of other packages that cannot be loaded (:func:`problems`).

    Raises:
        PluginError: If one of the testbed's own cannot be loaded.
    """
    announced, by_name = _announced(axis), _by_name(axis)
    found: dict[str, type[Any]] = {}
    for name in names(axis):
        before, _ = _broken.get((axis, name), (None, ""))
        if before is announced:
            continue
        try:
            found[name] = find(axis, name)
        except PluginError as error:
            if by_name.get(name) is announced.get(OWN + name):
                raise
            _broken[axis, name] = announced, str(error)
    return found


def problems(axes: Iterable[Axis] = AXES) -> list[str]:
    """What is wrong with plug-ins of other packages: each that cannot be loaded, or has the name of another."""
    found: list[str] = []
    for axis in axes:
        announced = _announced(axis)
        if all(full.startswith(OWN) for full in announced):
            continue
        loadable(axis)
        found += [
            f"{axis} {name!r} is left out: {why}"
            for (a, name), (of, why) in _broken.items()
            if a == axis and of is announced
        ]
        count = Counter(point.name for point in announced.values())
        found += [
            f"{axis} {full!r} has the name of {article(axis)} of another package; write its full name, {full!r}"
            for full, point in announced.items()
            if count[point.name] > 1 and not full.startswith(OWN)
        ]
    return found


def _check_base(axis: Axis, name: str, plugin: object, given: str) -> None:
    """Check that a plug-in is a class of its axis.

    Raises:
        PluginError: If it is none.
    """
    if not (isinstance(plugin, type) and issubclass(plugin, Plugin)):
        raise PluginError(f"{axis} {name!r}: {given} is not an agentcomm plug-in class; derive it from {BASES[axis]}")
    found = [base.__name__ for base in plugin.__mro__ if base.__module__.startswith("agentcomm.contracts")]
    other = next((a for a in AXES if BASES[a] in found), axis)
    if BASES[axis] not in found and other != axis:
        raise PluginError(f"{axis} {name!r}: {given} is a {other}; register it as one, or derive it from {BASES[axis]}")


def _announcement(axis: Axis, name: str) -> tuple[str, EntryPoint]:
    """The plug-in's shortest name, and its entry point."""
    by_name = _by_name(axis)
    if name in by_name:
        return name, by_name[name]
    full = _announced(axis).get(name)
    if full is not None:
        return full.name, full
    several = sorted(known for known, point in by_name.items() if point.name == name)
    if several:
        choices = " or ".join(repr(known) for known in several)
        raise PluginError(f"{axis} {name!r} is announced by several packages; write {choices}")
    other = next((a for a in AXES if name in names(a)), None)
    hint = f"it is {article(other)}" if other is not None else did_you_mean(name, names(axis))
    own = "your own modules go into the config's plugins or, on evaluate and init, into --plugins"
    raise PluginError(f"unknown {axis} {shorten(name)}; {hint} ({own})")


def forms(axis: Axis) -> dict[str, tuple[str, dict[str, Any]]]:
    """Name and arguments of each plug-in's :meth:`agentcomm.base.plugin.Plugin.forms`, by ``name form``."""
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for name, plugin in loadable(axis).items():
        with calling(f"{axis} {name!r}", "forms"):
            variants = plugin.forms().items()
        found |= {f"{name} {form}".strip(): (name, arguments) for form, arguments in variants}
    return found


def _why_not(point: EntryPoint, error: BaseException) -> str:
    module = point.value.partition(":")[0].strip()
    package = module.partition(".")[0]
    loaded = sys.modules.get(package)
    where = getattr(loaded, "__file__", None) or next(iter(getattr(loaded, "__path__", [])), None)
    ours = package in ("envs", "policies", "attacks")
    missing = getattr(error, "name", None) or package
    missing_own_module = f"{module}.".startswith(f"{missing}.")
    if ours and where is not None and (missing_own_module or isinstance(error, AttributeError)):
        return (
            f"the package {package!r} at {where} hides the one that agentcomm installs, so {point.name!r} cannot be"
            f" loaded; rename or move that folder, or start Python from another directory ({error})"
        )
    return f"plug-in {point.name!r} ({point.value}) cannot be imported: {described(error)}"


def build_config(axis: Axis, name: str, arguments: dict[str, Any], where: str = "") -> Any:
    """Check a plug-in's arguments.

    Returns:
        An instance of the plug-in's ``Config``.

    Raises:
        PluginError: If the plug-in is unknown.
        ConfigError: If an argument is unknown, of the wrong type or out of range.
    """
    return config_of(find(axis, name), arguments, f"{where or axis} {name!r}")


def config_of(plugin: type[Plugin], arguments: Any, what: str) -> Any:
    """A plug-in's config with these arguments.

    Args:
        plugin: The plug-in's class.
        arguments: A mapping of names to values.
        what: The plug-in, for errors.

    Raises:
        ConfigError: If an argument is unknown, of the wrong type or out of range.
        HookError: If a validator of the plug-in fails.
    """
    if not isinstance(arguments, dict):
        raise ConfigError(f"{what}: arguments are a dict of names and values, not {arguments!r}")
    with calling(what, "its config"):
        try:
            return plugin.Config.model_validate(arguments)
        except ValidationError as error:
            raise ConfigError(explain(error, what, plugin.Config, arguments)) from None
