"""The config of a run: what is trained, how, and how it is evaluated.

A config is a YAML file (see ``examples/``) with optional ``key=value`` overrides. Everything in it is
checked before anything runs; errors name the field, the value and how to fix it.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator

from agentcomm.base.errors import ConfigError, did_you_mean, explain
from agentcomm.runs.choices import PLAIN_TRANSPORT, Choice, Strict, TransportConfig, apply_override, build
from agentcomm.runs.conditions import ConditionsConfig
from agentcomm.runs.ppo_settings import PPOSettings

# A team as configured, or the same retrained without messages.
Variant = Literal["team", "control"]


class TrainingConfig(Strict):
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


class EvaluationConfig(ConditionsConfig):
    """The grid of cells: attack x defense x conditions x seed."""

    attacks: tuple[Choice, ...] = Field((), description="each is evaluated alone, besides no attack")
    defenses: tuple[tuple[Choice, ...], ...] = Field(
        (), description="each is a list of defenses used together, besides none"
    )
    episodes: int = Field(2048, ge=1, description="episodes per cell, one per world")
    seed: int = Field(1_000_003, ge=0, description="of the episodes; the same for every cell")
    recordings: int = Field(4, ge=0, description="scenes recorded for the report's player")


class RunConfig(Strict):
    """Everything about a run."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="folder of the run below runs/")
    environment: Choice = Field(description="where the agents live")
    policy: Choice = Field(description="what decides for them")
    attacks: tuple[Choice, ...] = Field((), description="attacks present during training")
    defenses: tuple[Choice, ...] = Field((), description="defenses present during training")
    transport: TransportConfig = Field(PLAIN_TRANSPORT, description="how messages travel, in training and evaluation")
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
        build("policy", self.policy)
        for conditions in self.evaluation.expand(self.transport):
            conditions.check(self.environment)
        for choice in (*self.attacks, *self.evaluation.attacks):
            build("attack", choice)
        for choice in (*self.defenses, *(d for group in self.evaluation.defenses for d in group)):
            build("defense", choice)
        return self

    def import_plugins(self) -> None:
        """Import the modules named in ``plugins``; the working directory is searched, too."""
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


def parse(data: Any, where: str) -> RunConfig:
    """Check a config given as nested dicts.

    Raises:
        AgentcommError: If anything in it is wrong; the text says what and how to fix it.
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
