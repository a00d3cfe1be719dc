"""The base class of all plug-ins: a frozen, validated config, a registered name, and variants for checks."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, ClassVar, Generic, get_args

from typing_extensions import TypeVar

from agentcomm.base.fields import Strict
from agentcomm.base.inputs import is_path

ROOT = Path(__file__).resolve().parents[2]  # where this distribution is installed


class PluginConfig(Strict):
    """Arguments of a plug-in: frozen and typed; unknown keys are rejected."""

    def inputs(self) -> list[Path]:
        """Files and folders that the plug-in reads: the fields marked :class:`agentcomm.base.inputs.InputPath`.

        What they contain is part of the identity of a cell.
        """
        fields = [name for name, field in type(self).model_fields.items() if is_path(field)]
        return [Path(getattr(self, name)) for name in fields if getattr(self, name) is not None]

    def code(self) -> list[str]:
        """Modules besides the plug-in's own whose code determines what it does; part of the identity of a cell."""
        return []


# Covariant, so that a plug-in with a config of its own counts as one of its axis.
C_co = TypeVar("C_co", bound=PluginConfig, default=PluginConfig, covariant=True)


class Plugin(Generic[C_co]):
    """An environment, policy, topology, attack, defense, channel, codec or metric.

    A plug-in names the type of its config as the type argument of its base class: ``class Drop(Attack[DropConfig])``.

    Attributes:
        Config: The plug-in's arguments, each with a type, a range and a description. Taken from the type argument.
        name: The registered name; until the plug-in is registered or found, the class's name in snake case.
        version: Raised when the plug-in's behavior changes; recorded with each result.
    """

    Config: ClassVar[type[PluginConfig]] = PluginConfig
    name: ClassVar[str] = "plugin"
    version: ClassVar[str] = "1"
    config: C_co

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "Config" not in vars(cls) and (config := _config_argument(cls)) is not None:
            cls.Config = config
        if "name" not in vars(cls):
            cls.name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", cls.__name__).lower()

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Arguments of the variants that conformance checks, tests and studies cover, by the variant's name.

        The first variant has an empty name; its arguments are the defaults, or arguments with which the plug-in has a
        visible effect in a short episode.
        """
        return {"": {}}


def foreign(plugin: type) -> bool:
    """Whether a plug-in comes from outside this distribution: from another package, a script or a notebook."""
    file = getattr(sys.modules.get(plugin.__module__), "__file__", None)
    ours = plugin.__module__.partition(".")[0] in ("agentcomm", "envs", "policies", "attacks")
    return not (ours and file is not None and ROOT in Path(file).resolve().parents)


def _config_argument(plugin: type) -> type[PluginConfig] | None:
    """The config type in the type argument of a class's base, or the bound of its type variable; None without one."""
    for base in vars(plugin).get("__orig_bases__", ()):
        for argument in get_args(base):
            config = getattr(argument, "__bound__", argument)
            if isinstance(config, type) and issubclass(config, PluginConfig):
                return config
    return None
