"""Finds plug-ins by axis and name.

Installed packages announce plug-ins as entry points in the groups ``agentcomm.environments``,
``agentcomm.policies``, ``agentcomm.attacks``, ``agentcomm.defenses``, ``agentcomm.channels`` and
``agentcomm.codecs``; the plug-ins in this repository are announced the same way, so those of another package
are as much at home. A script or notebook can add one with :func:`register`.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from agentcomm.errors import ConfigError, PluginError, did_you_mean, explain
from agentcomm.plugin import Plugin
from agentcomm.risks import RISKS

Axis = Literal["environment", "policy", "attack", "defense", "channel", "codec"]
AXES: tuple[Axis, ...] = get_args(Axis)
PLURAL: dict[Axis, str] = {
    "environment": "environments",
    "policy": "policies",
    "attack": "attacks",
    "defense": "defenses",
    "channel": "channels",
    "codec": "codecs",
}

_registered: dict[tuple[Axis, str], type[Plugin]] = {}
P = TypeVar("P", bound=type[Plugin])


def register(axis: Axis, name: str) -> Callable[[P], P]:
    """Class decorator that adds a plug-in for this process.

    Raises:
        PluginError: If another class already has that name.
    """

    def add(plugin: P) -> P:
        existing = _registered.get((axis, name))
        if existing is not None and existing is not plugin:
            raise PluginError(f"{axis} {name!r} is already registered by {existing.__module__}; choose another name")
        if existing is None and name in _announced(axis):
            raise PluginError(f"{axis} {name!r} is already announced by an installed package; choose another name")
        _registered[axis, name] = plugin
        plugin.name = name
        return plugin

    return add


@cache
def _announced(axis: Axis) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=f"agentcomm.{PLURAL[axis]}")}


def names(axis: Axis) -> list[str]:
    """Names of all plug-ins of an axis, sorted."""
    return sorted({*_announced(axis), *(name for a, name in _registered if a == axis)})


def find(axis: Axis, name: str) -> type[Any]:
    """The plug-in class of that name.

    Raises:
        PluginError: If there is none, or its module cannot be imported.
    """
    if (axis, name) in _registered:
        return _registered[axis, name]
    point = _announced(axis).get(name)
    if point is None:
        other = next((a for a in AXES if name in names(a)), None)
        hint = f"it is a {other}" if other is not None else did_you_mean(name, names(axis))
        raise PluginError(f"unknown {axis} {name!r}; {hint} (your own modules go into the config's plugins)")
    try:
        module = importlib.import_module(point.module)
        plugin = getattr(module, point.attr)
    except Exception as error:  # a plug-in's module may fail in any way
        raise PluginError(_why_not(point, error)) from error
    if not (isinstance(plugin, type) and issubclass(plugin, Plugin)):
        raise PluginError(f"{axis} {name!r}: {point.value} is not an agentcomm plug-in class")
    plugin.name = name
    return plugin


def _why_not(point: EntryPoint, error: Exception) -> str:
    package = point.module.partition(".")[0]
    loaded = sys.modules.get(package)
    where = getattr(loaded, "__file__", None) or next(iter(getattr(loaded, "__path__", [])), None)
    ours = package in ("envs", "policies", "attacks")
    missing_own_module = getattr(error, "name", package) in (package, point.module, None)
    if ours and where is not None and (missing_own_module or isinstance(error, AttributeError)):
        return (
            f"the package {package!r} at {where} hides the one that agentcomm installs, so {point.name!r} cannot be"
            f" loaded; rename or move that folder, or start Python from another directory ({error})"
        )
    return f"plug-in {point.name!r} ({point.value}) cannot be imported: {error}"


def build_config(axis: Axis, name: str, arguments: dict[str, Any], where: str = "") -> Any:
    """Check a plug-in's arguments.

    Returns:
        An instance of the plug-in's ``Config``.

    Raises:
        PluginError: If the plug-in is unknown.
        ConfigError: If an argument is unknown, of the wrong type or out of range.
    """
    plugin = find(axis, name)
    try:
        return plugin.Config.model_validate(arguments)
    except ValidationError as error:
        raise ConfigError(explain(error, f"{where or axis} {name!r}", _known_keys(plugin.Config))) from None


def _known_keys(config: type[BaseModel]) -> dict[str, list[str]]:
    """Field names below each dotted path at which pydantic reports errors: parts, and parts chosen by their kind."""
    known = {"": list(config.model_fields)}
    for field, info in config.model_fields.items():
        for part in (info.annotation, *get_args(info.annotation)):
            if not (isinstance(part, type) and issubclass(part, BaseModel)):
                continue
            path = field
            if isinstance(info.discriminator, str):
                path = f"{field}.{part.model_fields[info.discriminator].default}"
            known |= {f"{path}.{below}".rstrip("."): keys for below, keys in _known_keys(part).items()}
    return known


def describe(axis: Axis, name: str) -> dict[str, Any]:
    """A plug-in in plain words and values, for listings."""
    plugin = find(axis, name)
    module = sys.modules[plugin.__module__].__doc__ or plugin.__doc__ or ""
    schema = plugin.Config.model_json_schema()
    summary = module.strip().partition("\n")[0].removeprefix(f"{name}: ")
    about: dict[str, Any] = {
        "name": name,
        "summary": summary,
        "version": plugin.version,
        "arguments": [
            {
                "name": field,
                "default": _default(info),
                "description": info.description or "",
                "type": schema["properties"][field].get("type", ""),
                "choices": schema["properties"][field].get("enum", []),
            }
            for field, info in plugin.Config.model_fields.items()
        ],
    }
    if axis == "attack":
        about |= {"risks": list(plugin.risks), "threat": _threat(plugin)}
    if axis == "defense":
        about |= {"order": plugin.order, "needs_seal": plugin.needs_seal}
    return about


def risks() -> list[dict[str, Any]]:
    """Every risk in plain words, with the attacks that carry it out, for listings."""
    attacks = {name: find("attack", name).risks for name in names("attack")}
    return [
        {"id": risk, "definition": about.definition, "owasp": list(about.owasp)}
        | {"attacks": [name for name, carried in attacks.items() if risk in carried], "absent": about.absent}
        for risk, about in RISKS.items()
    ]


def _threat(attack: Any) -> dict[str, Any] | None:
    """Threat model with arguments by default, in a small team; None for an attack that cannot do without others."""
    import torch  # not before it is needed: it takes a second

    from agentcomm.contracts.shape import Setting

    config = attack.Config.model_construct()  # what needs a file of the user's has a threat model without it, too
    try:
        threat = attack(config, Setting(1, 4, 2, 8, 1, torch.device("cpu"))).threat_model()
    except (AttributeError, ValueError):
        return None
    return {
        "position": threat.position.model_dump(mode="json", exclude_none=True),
        "powers": sorted(threat.powers),
        "knowledge": threat.knowledge,
        "objective": threat.objective,
        "budget": threat.budget.model_dump(mode="json", exclude_none=True),
    }


def _default(info: Any) -> Any:
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True)
    return value.model_dump(mode="json", exclude_none=True) if hasattr(value, "model_dump") else value
