"""The config of a run: what is trained, how, and how it is evaluated.

A config is a YAML file (see ``examples/``) with optional ``key=value`` overrides. Everything in it is
checked before anything runs; errors name the field, the value and the mend.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from agentcomm import registry
from agentcomm.errors import ConfigError, did_you_mean, explain
from agentcomm.registry import Axis
from agentcomm.training.settings import PPOSettings

# A team as configured, or the same retrained without messages.
Variant = Literal["team", "control"]
GateControlName = Literal["open", "shut", "random"]
Decisions = Literal["greedy", "sampled"]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Choice(BaseModel):
    """A plug-in by name, with its arguments beside it."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str = Field(description="name of the plug-in; see `agentcomm list`")

    @property
    def arguments(self) -> dict[str, Any]:
        """Everything but the name."""
        return dict(self.model_extra or {})

    @property
    def label(self) -> str:
        """Name and the arguments that were given, such as ``drop(probability=0.5)``."""
        given = ", ".join(f"{key}={_short(value)}" for key, value in self.arguments.items())
        return f"{self.name}({given})" if given else self.name

    def changed(self, arguments: Mapping[str, Any]) -> Choice:
        """The same plug-in with some arguments replaced."""
        return Choice.model_validate(self.model_dump() | dict(arguments))

    @classmethod
    def parse(cls, text: str) -> Choice:
        """Read ``name``, ``name:key=value,key=value`` or the label ``name(key=value)``; values are YAML.

        Raises:
            ConfigError: If the text has another form.
        """
        label = re.fullmatch(r"\s*([\w./-]+)\((.*)\)\s*", text)  # the form tables print: name(key=value)
        name, _, rest = text.partition(":") if label is None else (label[1], ":", label[2])
        data: dict[str, Any] = {"name": name.strip()}
        for part in _split(rest):
            apply_override(data, part, where=f"{text!r}")
        if not data["name"]:
            raise ConfigError(f"{text!r} names no plug-in; write name or name:key=value,key=value")
        return cls.model_validate(data)


def _short(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True).strip().removesuffix("...").strip()


def _split(text: str) -> list[str]:
    """Split at commas outside brackets."""
    parts, depth, start = [], 0, 0
    for position, char in enumerate(text):
        depth += (char in "[{(") - (char in "]})")
        if char == "," and depth == 0:
            parts.append(text[start:position])
            start = position + 1
    return [p for p in (*parts, text[start:]) if p.strip()]


class PathChoice(_Strict):
    """How messages are written and what they pass on their way."""

    channels: tuple[Choice, ...] = Field((), description="what messages pass, in this order")
    codec: Choice | None = Field(None, description="how payloads are written; none for float32 numbers as they are")
    step_seconds: float = Field(0.1, gt=0, description="seconds that a step of an episode takes")

    @property
    def label(self) -> str:
        """Channels and codec by name; empty for a plain path."""
        parts = [c.label for c in self.channels] + ([] if self.codec is None else [self.codec.label])
        if self.step_seconds != PathChoice.model_fields["step_seconds"].default:
            parts.append(f"{self.step_seconds:g} s per step")
        return "+".join(parts)

    def check(self) -> None:
        """Check the arguments of channels and codec, too.

        Raises:
            AgentcommError: If one is unknown or an argument is wrong.
        """
        for choice in self.channels:
            build("channel", choice)
        if self.codec is not None:
            build("codec", self.codec)


PLAIN_PATH = PathChoice()


class TrainingConfig(_Strict):
    """How teams are trained."""

    env_steps: int = Field(400_000, ge=1, description="joint environment steps per team")
    worlds: int = Field(256, ge=1, description="worlds stepped together by each runner")
    fragment: int = Field(16, ge=1, description="steps of every world per iteration")
    runners: int = Field(0, ge=0, description="remote env runners; 0 samples in the learner's process")
    ppo: PPOSettings = Field(PPOSettings(), description="the update")
    evaluate_every: int = Field(10, ge=0, description="iterations between evaluations during training; 0 for none")
    evaluation_worlds: int = Field(256, ge=1, description="episodes per evaluation during training")
    checkpoint_every: int = Field(10, ge=1, description="iterations between checkpoints")
    keep_checkpoints: int = Field(2, ge=1, description="how many to keep")
    threads: int | None = Field(None, ge=1, description="torch threads of the learner; none leaves torch's own choice")


class EvaluationConfig(_Strict):
    """The grid of cells: attack x defense x seed."""

    attacks: tuple[Choice, ...] = Field((), description="each is evaluated alone, besides no attack")
    defenses: tuple[tuple[Choice, ...], ...] = Field(
        (), description="each is a list of defenses used together, besides none"
    )
    paths: tuple[PathChoice, ...] = Field(
        (), description="other paths of messages, besides the one of training; each with every attack and defense"
    )
    worlds: tuple[dict[str, Any], ...] = Field(
        (), description="changed arguments of the environment to be evaluated in, too: {predators: 8}, {failure: 0.05}"
    )
    gates: tuple[GateControlName, ...] = Field(
        (),
        description="controls of the gates: always open, always shut, or open at random, as often as they are",
    )
    decisions: Decisions = Field("greedy", description="each agent's likeliest action, or one drawn by its policy")
    obedience: float = Field(
        0.0, ge=0, le=1, description="chance that members do what a directive tells them (stand-in for language models)"
    )
    episodes: int = Field(2048, ge=1, description="episodes per cell, one per world")
    seed: int = Field(1_000_003, ge=0, description="of the episodes; the same for every cell")
    recordings: int = Field(4, ge=0, description="scenes recorded for the report's player")


class RunConfig(_Strict):
    """Everything about a run."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="folder of the run below runs/")
    environment: Choice = Field(description="where the agents live")
    policy: Choice = Field(description="what decides for them")
    attacks: tuple[Choice, ...] = Field((), description="attacks present during training")
    defenses: tuple[Choice, ...] = Field((), description="defenses present during training")
    path: PathChoice = Field(PLAIN_PATH, description="how messages travel, in training and evaluation")
    seeds: tuple[int, ...] = Field((0,), min_length=1, description="one team is trained per seed")
    control: bool = Field(True, description="train the team without messages, too: the floor")
    training: TrainingConfig = Field(TrainingConfig(), description="how teams are trained")
    evaluation: EvaluationConfig = Field(EvaluationConfig(), description="what is evaluated")
    plugins: tuple[str, ...] = Field((), description="modules to import that register further plug-ins")

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) != len(seeds):
            raise ValueError("seeds must differ from each other")
        if min(seeds) < 0:
            raise ValueError("seeds must not be negative")
        return seeds

    def check(self) -> RunConfig:
        """Check every plug-in's arguments, too.

        Raises:
            AgentcommError: If a plug-in is unknown or an argument is wrong.
        """
        self.import_plugins()
        build("environment", self.environment)
        for changes in self.evaluation.worlds:
            build("environment", self.environment.changed(changes))
        build("policy", self.policy)
        for path in (self.path, *self.evaluation.paths):
            path.check()
        for choice in (*self.attacks, *self.evaluation.attacks):
            build("attack", choice)
        for choice in (*self.defenses, *(d for group in self.evaluation.defenses for d in group)):
            build("defense", choice)
        return self

    def import_plugins(self) -> None:
        """Import the modules named in ``plugins``; those in the working directory are found, too."""
        here = str(Path.cwd())
        if self.plugins and here not in sys.path:
            sys.path.append(here)
        for module in self.plugins:
            if module in sys.modules:
                continue
            try:
                importlib.import_module(module)
            except ImportError as error:
                raise ConfigError(f"plugins: cannot import {module!r}: {error}") from error


def build(axis: Axis, choice: Choice) -> Any:
    """The checked config of the chosen plug-in."""
    return registry.build_config(axis, choice.name, choice.arguments)


def apply_override(data: dict[str, Any], text: str, where: str = "override") -> None:
    """Set ``dotted.key=value`` in nested dicts; the value is read as YAML.

    Raises:
        ConfigError: If the text has another form or a key leads into something that is no mapping.
    """
    path, equals, raw = text.partition("=")
    if not equals or not path.strip():
        raise ConfigError(f"{where}: {text!r} is not of the form key=value")
    try:
        value = yaml.safe_load(raw)
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: the value of {path!r} cannot be read: {error}") from None
    *parents, last = path.strip().split(".")
    node: Any = data
    for key in parents:
        node = node.setdefault(key, {}) if isinstance(node, dict) else node
        if not isinstance(node, dict):
            raise ConfigError(f"{where}: {path!r} leads into {key!r}, which is a {type(node).__name__}, not a mapping")
    if not isinstance(node, dict):
        raise ConfigError(f"{where}: {path!r} leads into something that is not a mapping")
    node[last] = value


def parse(data: Any, where: str) -> RunConfig:
    """Check a config given as nested dicts.

    Raises:
        AgentcommError: If anything in it is wrong; the text says what and how to mend it.
    """
    if not isinstance(data, dict):
        raise ConfigError(f"{where} must hold a mapping of keys to values, not {type(data).__name__}")
    try:
        config = RunConfig.model_validate(data)
    except ValidationError as error:
        raise ConfigError(explain(error, where, _known(RunConfig))) from None
    return config.check()


def load(path: str | Path, overrides: Iterable[str] = ()) -> RunConfig:
    """Read a YAML config and apply overrides.

    Raises:
        AgentcommError: If the file is missing or anything in it is wrong.
    """
    path = Path(path)
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        near = sorted(p.name for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        raise ConfigError(f"no config at {path}; {did_you_mean(path.name, near)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"config {path} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"config {path} is not valid YAML: {error}") from None
    if isinstance(data, dict):
        for text in overrides:
            apply_override(data, text)
    return parse(data, f"config {path}")


def dump(config: RunConfig) -> str:
    """The config as YAML that :func:`load` reads back."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, default_flow_style=None, width=100)


def _known(model: type[BaseModel], prefix: str = "") -> dict[str, Iterable[str]]:
    """Field names below each dotted prefix, for spelling hints."""
    known: dict[str, Iterable[str]] = {prefix: list(model.model_fields)}
    for name, info in model.model_fields.items():
        for part in (info.annotation, *get_args(info.annotation)):
            if isinstance(part, type) and issubclass(part, BaseModel):
                known |= _known(part, f"{prefix}.{name}".lstrip("."))
    return known
