"""What every plug-in shares: a frozen, checked config, the name it is registered under, and its forms."""

from __future__ import annotations

import re
from typing import Any, ClassVar, Generic, get_args

from pydantic import BaseModel, ConfigDict
from typing_extensions import TypeVar


class PluginConfig(BaseModel):
    """Arguments of a plug-in: frozen and typed; unknown keys are rejected."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


# Covariant, so that a plug-in with a config of its own counts as one of its axis.
C_co = TypeVar("C_co", bound=PluginConfig, default=PluginConfig, covariant=True)


class Plugin(Generic[C_co]):
    """An environment, policy, topology, attack, defense, channel, codec or metric.

    A plug-in names the type of its config as the type argument of its base class: ``class Drop(Attack[DropConfig])``.

    Attributes:
        Config: The plug-in's arguments; every field is typed, ranged and described. Taken from the type argument.
        name: The name it is registered under; the class's own name in snake case until it is found by one.
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
        """Arguments of the variants that conformance checks, tests and studies go over, by the variant's name.

        The first one has the empty name; its arguments are the defaults, or such as show in a short episode what the
        plug-in does.
        """
        return {"": {}}


def _config_argument(plugin: type) -> type[PluginConfig] | None:
    """The config type that a class's base was given, or the widest one that it leaves open."""
    for base in vars(plugin).get("__orig_bases__", ()):
        for argument in get_args(base):
            config = getattr(argument, "__bound__", argument)
            if isinstance(config, type) and issubclass(config, PluginConfig):
                return config
    return None
