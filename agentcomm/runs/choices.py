"""Choices in a config: plug-ins by name with their arguments, and transports; parsing and validation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from agentcomm.base import registry
from agentcomm.base.errors import ConfigError
from agentcomm.base.registry import Axis
from agentcomm.base.text import shorten
from agentcomm.base.values import parse_yaml, to_yaml

Carrier = Literal["batch", "objects"]


class Strict(BaseModel):
    """A frozen part of a config that rejects unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Choice(BaseModel):
    """A plug-in by name, with its arguments as further keys."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str = Field(description="name of the plug-in; see `agentcomm list`")

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments, without the name."""
        return dict(self.model_extra or {})

    @property
    def label(self) -> str:
        """The name with the given arguments, such as ``drop(probability=0.5)``."""
        given = ", ".join(f"{key}={as_yaml(value)}" for key, value in self.arguments.items())
        return f"{self.name}({given})" if given else self.name

    def changed(self, arguments: Mapping[str, Any]) -> Choice:
        """A copy with some arguments replaced."""
        return Choice.model_validate(self.model_dump() | dict(arguments))

    @classmethod
    def parse(cls, text: str) -> Choice:
        """Parse ``name``, ``name:key=value,key=value`` or the label ``name(key=value)``; values are YAML.

        Raises:
            ConfigError: If the text has none of these forms.
        """
        label = re.fullmatch(r"\s*([\w./-]+)\((.*)\)\s*", text)  # the form in tables: name(key=value)
        name, _, rest = text.partition(":") if label is None else (label[1], ":", label[2])
        data: dict[str, Any] = {"name": name.strip()}
        for part in _split(rest):
            apply_override(data, part, where=f"{text!r}")
        if not data["name"]:
            raise ConfigError(f"{text!r} names no plug-in; write name or name:key=value,key=value")
        return cls.model_validate(data)


def as_yaml(value: Any) -> str:
    """A value as one line of YAML, as in overrides and command-line options."""
    return to_yaml(value, default_flow_style=True, width=10**6).strip().removesuffix("...").strip()


def _split(text: str) -> list[str]:
    """Split at commas outside brackets."""
    parts, depth, start = [], 0, 0
    for position, char in enumerate(text):
        depth += (char in "[{(") - (char in "]})")
        if char == "," and depth == 0:
            parts.append(text[start:position])
            start = position + 1
    return [p for p in (*parts, text[start:]) if p.strip()]


class TransportConfig(Strict):
    """How messages travel: channels, codec, duration of a step, and carrier."""

    channels: tuple[Choice, ...] = Field((), description="channels that messages pass, in this order")
    codec: Choice | None = Field(None, description="compresses payloads; none for uncompressed float32 numbers")
    step_seconds: float = Field(0.1, gt=0, description="duration of a step, in seconds")
    carrier: Carrier = Field(
        "batch",
        description="messages as tensors of all worlds (batch), or as real envelopes one by one (objects; slow)",
    )

    @property
    def label(self) -> str:
        """Channels, codec and all other fields that differ from their defaults; empty for a plain transport."""
        parts = [c.label for c in self.channels] + ([] if self.codec is None else [self.codec.label])
        if self.step_seconds != TransportConfig.model_fields["step_seconds"].default:
            parts.append(f"{self.step_seconds:g} s per step")
        if self.carrier != TransportConfig.model_fields["carrier"].default:
            parts.append(f"carrier {self.carrier}")
        return "+".join(parts)

    def canonical(self) -> TransportConfig:
        """The same transport, with its channels and codec in their one spelling; see :func:`canonical`."""
        channels = tuple(canonical("channel", choice) for choice in self.channels)
        codec = None if self.codec is None else canonical("codec", self.codec)
        return self.model_copy(update={"channels": channels, "codec": codec})

    def check(self) -> None:
        """Check the arguments of channels and codec.

        Raises:
            AgentcommError: If a plug-in is unknown or an argument is invalid.
        """
        for choice in self.channels:
            build("channel", choice)
        if self.codec is not None:
            build("codec", self.codec)


PLAIN_TRANSPORT = TransportConfig()


def build(axis: Axis, choice: Choice) -> Any:
    """The validated config of the chosen plug-in."""
    return registry.build_config(axis, choice.name, choice.arguments)


def canonical(axis: Axis, choice: Choice) -> Choice:
    """The same choice in its one spelling: arguments that differ from the defaults, in the order of the fields.

    ``drop``, ``drop:probability=1`` and ``agentcomm/drop:probability=1.0`` are one attack, with one label.

    Raises:
        AgentcommError: If the plug-in is unknown or an argument is invalid.
    """
    config = build(axis, choice)
    given = config.model_dump(mode="json", exclude_defaults=True)
    return Choice.model_validate({"name": registry.find(axis, choice.name).name} | _whole(given))


def _whole(value: Any) -> Any:
    """The value with whole floats as integers."""
    if isinstance(value, dict):
        return {key: _whole(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_whole(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


def apply_override(data: dict[str, Any], text: str, where: str = "override") -> None:
    """Set ``dotted.key=value`` in nested dicts; the value is read as YAML.

    Raises:
        ConfigError: If the text has another form, or a key leads into a value that is not a mapping.
    """
    path, equals, raw = text.partition("=")
    if not equals or not path.strip():
        raise ConfigError(f"{where}: {text!r} is not of the form key=value")
    value = parse_yaml(raw, f"{where}: the value of {shorten(path)}", ConfigError)
    *parents, last = path.strip().split(".")
    node: Any = data
    for key in parents:
        node = node.setdefault(key, {}) if isinstance(node, dict) else node
        if not isinstance(node, dict):
            raise ConfigError(f"{where}: {path!r} leads into {key!r}, which is a {type(node).__name__}, not a mapping")
    if not isinstance(node, dict):
        raise ConfigError(f"{where}: {path!r} leads into something that is not a mapping")
    node[last] = value
