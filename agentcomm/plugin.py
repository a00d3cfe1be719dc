"""What every plug-in shares: a frozen, checked config and the name it is registered under."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class PluginConfig(BaseModel):
    """Arguments of a plug-in: frozen, typed, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Plugin:
    """An environment, policy, attack, defense, channel or codec.

    Attributes:
        Config: The plug-in's arguments; every field is typed, ranged and described.
        name: The name it is registered under.
        version: Raised when the plug-in's behavior changes; recorded with each result.
    """

    Config: ClassVar[type[PluginConfig]] = PluginConfig
    name: ClassVar[str]
    version: ClassVar[str] = "1"
