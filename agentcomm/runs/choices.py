"""Choices in a config: plug-ins by name with their arguments, and transports; parsing and validation."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from agentcomm.base import registry, transports
from agentcomm.base.errors import ConfigError, PluginError, RequirementError, did_you_mean, together
from agentcomm.base.fields import Strict
from agentcomm.base.registry import Axis
from agentcomm.base.text import shorten
from agentcomm.base.values import parse_yaml, to_yaml

# Environments of other packages, which the text NAME:MAKE names by what makes them.
MADE = ("pettingzoo", "gymnasium")
# Keys whose value may be a name alone; an override of an argument then gives it the form with arguments.
NAMED = ("environment", "policy", "codec", "topology")


class Choice(BaseModel):
    """A plug-in by name, with its arguments as further keys; a text has the form of :meth:`parse`.

    Third-party environments may be named by what makes them, as in ``pettingzoo:package.module:function``.
    """

    model_config = ConfigDict(frozen=True, extra="allow")
    accepts: ClassVar[str] = "the name of a plug-in, or {name: NAME, key: value}"
    plural: ClassVar[str] = "plug-ins, each NAME or {name: NAME, key: value}"

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
        """A copy with some arguments replaced; of arguments that are mappings, some keys."""
        return Choice.model_validate(_merged(self.model_dump(), arguments))

    @classmethod
    def parse(cls, text: str) -> Choice:
        """Parse ``name``, ``name:key=value,key=value`` or the label ``name(key=value)``; values are YAML.

        Raises:
            ConfigError: If the text has none of these forms.
        """
        try:
            return cls.model_validate(_named(text))
        except ValueError as error:
            raise ConfigError(str(error)) from None

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, data: Any) -> Any:
        """A text as name and arguments."""
        if isinstance(data, str):
            return _named(data)
        if isinstance(data, dict) and str(data.get("name")).startswith(tuple(f"{name}:" for name in MADE)):
            named = _named(data["name"])
            if twice := [key for key in named if key != "name" and key in data]:
                raise ValueError(f"{shorten(data['name'])}: {twice[0]!r} is given twice; keep one of them")
            return data | named
        if isinstance(data, dict) and "name" not in data and len(data) == 1:
            (name, arguments), *_ = data.items()
            if isinstance(name, str) and isinstance(arguments, dict | None):
                inside = "".join(f", {shorten(key)[1:-1]}: ..." for key in arguments or {})
                raise ValueError(f"has no name; write {{name: {name}{inside}}}")
        return data


def _named(text: str) -> dict[str, Any]:
    """Name and arguments in a text of the form of :meth:`Choice.parse`.

    Raises:
        ValueError: If the text has another form.
    """
    label = re.fullmatch(r"\s*([\w./-]+)\((.*)\)\s*", text)  # the form in tables: name(key=value)
    name, _, rest = text.partition(":") if label is None else (label[1], ":", label[2])
    name = name.strip()
    if not name:
        raise ValueError(f"{shorten(text)} names no plug-in; write name or name:key=value,key=value")
    if several := [part.strip() for part in re.split(r"[,+]|\s+", name) if part.strip()][1:]:
        parts = [part for part in re.split(r"[,+\s]+", name.strip("[] ")) if part]
        raise ValueError(
            f"{shorten(text)} names {len(several) + 1} plug-ins: in a config, write the list [{', '.join(parts)}]; on"
            f" the command line, repeat the option for each, or join defenses that act together: {'+'.join(parts)}"
        )
    data: dict[str, Any] = {}
    parts = _split(rest)
    if name in MADE and parts and "=" not in parts[0]:
        parts[0] = f"make={parts[0]}"
    for part in parts:
        key = part.partition("=")[0].strip()
        if key == "name" or key in data:
            raise ValueError(f"{shorten(text)}: {key!r} is given twice; keep one of them")
        try:
            apply_override(data, part, where=shorten(text))
        except ConfigError as error:
            raise ValueError(str(error)) from None
    return {"name": name} | data


def split_joined(group: Any) -> Any:
    """Plug-ins that act together as a list; in a text they are joined with +."""
    return _split(group, "+") if isinstance(group, str) else group


def as_yaml(value: Any) -> str:
    """A value as one line of YAML, as in overrides and command-line options."""
    return to_yaml(value, default_flow_style=True, width=2**31).strip().removesuffix("...").strip()


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**old, **new}
    for key, value in new.items():
        before = old.get(key)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            merged[key] = _merged(before, value)
    return merged


def _split(text: str, at: str = ",") -> list[str]:
    """The parts of a text between commas, or another character, outside brackets."""
    parts, depth, start = [], 0, 0
    for position, char in enumerate(text):
        depth += (char in "[{(") - (char in "]})")
        if char == at and depth == 0 and (at != "+" or text[position + 1 :].lstrip()[:1].isalpha()):  # not that of 1e+3
            parts.append(text[start:position])
            start = position + 1
    return [part for part in (*parts, text[start:]) if part.strip()]


class TransportConfig(Strict):
    """How messages travel: channels, codec, duration of a step, and carrier."""

    channels: tuple[Choice, ...] = Field((), description="channels that messages pass, in this order")
    codec: Choice | None = Field(None, description="compresses payloads; none for uncompressed float32 numbers")
    step_seconds: float = Field(0.1, gt=0, description="duration of a step, in seconds")
    carrier: str = Field(
        "batch",
        description="messages as tensors of all worlds (batch), or as real envelopes one by one: within the process"
        " (objects; slow), or over servers of a protocol on loopback sockets (a2a, mcp; slower still)",
    )

    @field_validator("carrier")
    @classmethod
    def _is_known(cls, carrier: str) -> str:
        if carrier not in transports.names():
            raise ValueError(did_you_mean(carrier, transports.names()))
        return carrier

    @field_validator("channels", mode="before")
    @classmethod
    def _joined(cls, channels: Any) -> Any:
        return split_joined(channels)

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
        chosen: list[tuple[Axis, Choice]] = [("channel", channel) for channel in self.channels]
        check_choices(chosen + ([] if self.codec is None else [("codec", self.codec)]))


PLAIN_TRANSPORT = TransportConfig()


def check_choices(chosen: Iterable[tuple[Axis, Choice]]) -> None:
    """Check the arguments of plug-ins.

    Raises:
        AgentcommError: If a plug-in is unknown or an argument is invalid; the text names all mistakes.
    """
    together(*(partial(build, axis, choice) for axis, choice in chosen))


def check_group(group: Sequence[Choice]) -> None:
    """Check that defenses can act together in their order.

    Raises:
        ConfigError: If a defense is given twice, or one needs what another takes away before it.
    """
    labels = [choice.label for choice in group]
    if twice := [label for label, number in Counter(labels).items() if number > 1]:
        raise ConfigError(f"{'+'.join(labels)} contains a defense twice: {twice[0]}; name it once")
    from agentcomm.contracts.defense import misplaced  # not before it is needed: torch takes a second

    try:
        problem = misplaced([registry.find("defense", choice.name) for choice in group])
    except PluginError:  # which the check of its arguments reports
        return
    if problem is not None:
        raise RequirementError(f"defenses {'+'.join(labels)} cannot be used together: {problem}")


def build(axis: Axis, choice: Choice) -> Any:
    """The validated config of the chosen plug-in."""
    return registry.build_config(axis, choice.name, choice.arguments)


def modules_of(environment: Any) -> list[str]:
    """The modules that an environment imports besides that of its plug-in; none if it is no valid choice."""
    with suppress(PluginError, ConfigError, ValueError):
        choice = Choice.model_validate(environment)
        return list(build("environment", choice).code())
    return []


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
        raise ConfigError(f"{where}: {shorten(text)} is not of the form key=value")
    path = path.strip()
    value = parse_yaml(raw, f"{where}: the value of {shorten(path)}", ConfigError)
    *parents, last = path.split(".")
    node: Any = data
    for key in parents:
        if key in NAMED and isinstance(node.get(key), str):
            node[key] = {"name": node[key]}
        if node.get(key) is None:
            node[key] = {}
        node = node[key]
        if not isinstance(node, dict):
            kind = "a list" if isinstance(node, list) else shorten(node)
            raise ConfigError(
                f"{where}: {path!r} leads into {key!r}, which is {kind}, not a mapping; set {key} as a whole"
            )
    node[last] = value
