"""The config of a run: environment, policy, training and evaluation.

A config is a YAML file (see ``examples/``) with optional ``key=value`` overrides. It is validated before
anything runs; errors name the field, the value and how to fix it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from agentcomm.base import inputs, loggers
from agentcomm.base.documents import read_yaml
from agentcomm.base.errors import ConfigError, did_you_mean, together
from agentcomm.base.explain import explain
from agentcomm.base.fields import Strict
from agentcomm.base.modules import import_modules, permit
from agentcomm.base.registry import Axis
from agentcomm.base.values import to_yaml
from agentcomm.runs.choices import (
    NAMED,
    PLAIN_TRANSPORT,
    Choice,
    TransportConfig,
    apply_override,
    check_choices,
    check_group,
    modules_of,
    split_joined,
)
from agentcomm.runs.conditions import ConditionsConfig, checked_device
from agentcomm.runs.ppo_settings import PPOSettings
from agentcomm.runs.record import Origin, check_format, consent, take
from agentcomm.runs.schedule import Phase, Setup, check_order, check_schedule
from agentcomm.runs.settle import located

# The team as configured, or the same team retrained without messages.
Variant = Literal["team", "control"]
_SCHEDULED = {"environment", "attacks", "defenses", "transport"}  # keys that a schedule is about


class TrainingConfig(Strict):
    """How teams are trained."""

    env_steps: int = Field(
        400_000, ge=1, description="joint environment steps per team; rounded up to whole fragments of all worlds"
    )
    worlds: int = Field(256, ge=1, description="parallel worlds of each runner")
    fragment: int = Field(16, ge=1, description="steps per world and iteration")
    runners: int = Field(0, ge=0, description="remote env runners; 0 to sample in the learner's process")
    ppo: PPOSettings = Field(PPOSettings(), description="arguments of PPO")
    schedule: tuple[Phase, ...] = Field(
        (),
        description="changes of environment, attacks, defenses and channels in training only, each until a share of"
        " training is done",
    )
    evaluate_every: int = Field(
        10, ge=0, description="iterations between evaluations during training; 0 for no evaluation"
    )
    evaluation_worlds: int | None = Field(
        None,
        ge=1,
        description="episodes per evaluation during training; none for up to 256, in a tenth of the time",
    )
    checkpoint_every: int = Field(10, ge=1, description="iterations between checkpoints")
    keep_checkpoints: int = Field(2, ge=1, description="checkpoints to keep")
    loggers: tuple[str, ...] = Field(
        (), description="where progress goes besides progress.jsonl and TensorBoard: csv, wandb, mlflow"
    )
    threads: int | None = Field(None, ge=1, description="torch threads of the learner; none for torch's default")
    device: str = Field(
        "cpu",
        description="device of the learner and, without remote runners, of worlds: cpu, cuda, cuda:1 or auto",
    )

    @field_validator("schedule")
    @classmethod
    def _in_order(cls, schedule: tuple[Phase, ...]) -> tuple[Phase, ...]:
        check_order(schedule)
        return schedule

    @field_validator("loggers")
    @classmethod
    def _are_known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in loggers.names():
                raise ValueError(did_you_mean(name, loggers.names()))
        return tuple(dict.fromkeys(names))

    @field_validator("device")
    @classmethod
    def _is_device(cls, device: str) -> str:
        return device if device == "auto" else checked_device(device)


class EvaluationConfig(ConditionsConfig):
    """The grid of cells: attack x defense x conditions x seed."""

    attacks: tuple[Choice, ...] = Field((), description="attacks, each evaluated by itself, besides no attack")
    defenses: tuple[tuple[Choice, ...], ...] = Field(
        (), description="lists of defenses used together, besides no defense"
    )
    adaptive: bool = Field(False, description="also evaluate each defense under the attacks that are aimed at it")
    episodes: int = Field(2048, ge=1, description="episodes per cell")
    seed: int = Field(1_000_003, ge=0, description="seed of the episodes, the same for every cell")
    recordings: int = Field(4, ge=0, description="episodes recorded for the report's player")

    @field_validator("defenses", mode="before")
    @classmethod
    def _groups(cls, groups: Any) -> Any:
        """Names alone as groups of one; a text joins the members of a group with +."""
        groups = [groups] if isinstance(groups, str) else groups
        return [split_joined(group) for group in groups] if isinstance(groups, list | tuple) else groups


class RunConfig(Strict):
    """The complete config of a run."""

    name: str = Field(description="name of the run and of its folder below runs/")
    environment: Choice = Field(description="environment of the agents")
    policy: Choice = Field(description="policy of the agents")
    attacks: tuple[Choice, ...] = Field((), description="attacks present during training")
    defenses: tuple[Choice, ...] = Field((), description="defenses present during training")
    transport: TransportConfig = Field(PLAIN_TRANSPORT, description="transport in training and evaluation")
    seeds: tuple[int, ...] = Field((0,), min_length=1, description="training seeds, one team each")
    control: bool = Field(True, description="also train each team without messages: the floor")
    training: TrainingConfig = Field(TrainingConfig(), description="how teams are trained")
    evaluation: EvaluationConfig = Field(EvaluationConfig(), description="what to evaluate")
    plugins: tuple[str, ...] = Field((), description="modules to import that register plug-ins")
    plugin_folders: tuple[str, ...] = Field(
        (), description="folders in which these modules are looked for first; the working directory comes last"
    )

    @field_validator("name")
    @classmethod
    def _is_folder(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            raise ValueError("must consist of letters, digits, '.', '_' and '-', and begin with a letter or digit")
        return name

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) != len(seeds):
            raise ValueError("must differ from each other")
        if min(seeds) < 0:
            raise ValueError("must not be negative")
        return seeds

    @model_validator(mode="after")
    def _large_enough(self) -> RunConfig:
        t = self.training
        if t.worlds * t.fragment * max(t.runners, 1) < 2:
            raise ValueError(
                f"training.worlds * training.fragment is too small ({t.worlds} * {t.fragment}): PPO normalizes the"
                " advantages of a batch, which needs at least 2 joint steps; use more worlds or longer fragments"
            )
        return self

    @field_validator("attacks", "defenses", mode="before")
    @classmethod
    def _joined(cls, group: Any) -> Any:
        return split_joined(group)

    @property
    def setup(self) -> Setup:
        """What teams are trained in after the last phase of the schedule."""
        return Setup(self.environment, self.attacks, self.defenses, self.transport)

    def check(self, without: Collection[str] = ()) -> RunConfig:
        """Check the arguments of every plug-in.

        Args:
            without: Top-level keys to leave out.

        Raises:
            AgentcommError: If a plug-in is unknown or an argument is invalid; the text names all mistakes.
        """
        self.import_plugins()
        chosen: list[tuple[str, Axis, Choice]] = [
            ("environment", "environment", self.environment),
            ("policy", "policy", self.policy),
            *(("attacks", "attack", choice) for choice in self.attacks),
            *(("defenses", "defense", choice) for choice in self.defenses),
            *(("evaluation", "attack", choice) for choice in self.evaluation.attacks),
            *(("evaluation", "defense", choice) for group in self.evaluation.defenses for choice in group),
        ]
        conditions = [] if "environment" in without else self.evaluation.expand(self.transport)
        together(
            lambda: check_choices((axis, choice) for key, axis, choice in chosen if key not in without),
            *(partial(check_group, group) for group in self._groups(without)),
            lambda: check_schedule(self.setup, () if set(without) & _SCHEDULED else self.training.schedule),
            *(partial(under.check, self.environment) for under in conditions),
        )
        return self

    def _groups(self, without: Collection[str]) -> list[tuple[Choice, ...]]:
        """The defenses that act together, in training and in evaluation, without those of some top-level keys."""
        planned = [] if "evaluation" in without else list(self.evaluation.defenses)
        return planned if "defenses" in without else [self.defenses, *planned]

    def import_plugins(self) -> None:
        """Import the modules named in ``plugins``, and let plug-ins import these and that of the environment."""
        import_modules(self.plugins, self.plugin_folders)
        permit([*self.plugins, *modules_of(self.environment)])


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
        invalid = ConfigError(explain(error, where, RunConfig, data))
        together(partial(_raise, invalid), partial(_check_rest, data, error))
        raise invalid from None
    return config.check()


def _raise(error: ConfigError) -> None:
    raise error


def _check_rest(data: dict[str, Any], error: ValidationError) -> None:
    """Check the plug-ins in the valid parts of a config."""
    rest, wrong = dict(data), {"environment", "policy"} - data.keys()
    for first, *inner in (map(str, item["loc"]) for item in error.errors() if item["loc"]):
        part = rest.get(first)
        if inner and isinstance(part, dict) and first not in NAMED:
            rest[first] = {key: value for key, value in part.items() if key != inner[0]}
        else:
            wrong.add(first)
            rest.pop(first, None)
    with suppress(ValidationError):
        RunConfig.model_validate({"name": "rest", "environment": "-", "policy": "-"} | rest).check(wrong)


def load(path: str | Path, overrides: Iterable[str] = (), trust: bool = False) -> RunConfig:
    """Read a YAML config and apply overrides. Paths in the config of a run are made absolute.

    Args:
        path: The file.
        overrides: Overrides ``dotted.key=value``.
        trust: Whether to import what the config of a run names, whoever made it; other configs are the user's own.

    Raises:
        AgentcommError: If the file is missing or invalid.
    """
    config, origin = _read(Path(path), overrides, trust)
    return config if origin is None else located(config, origin.folders)


def load_run(path: Path, trust: bool = False) -> tuple[RunConfig, Origin]:
    """Read the config of a run, with paths as they are recorded, and where it comes from.

    Raises:
        AgentcommError: If the file is invalid or of another version, or imports modules without the user's consent.
    """
    config, origin = _read(path, (), trust)
    if origin is None:
        check_format(None, path)
    assert origin is not None
    return config, origin


def _read(path: Path, overrides: Iterable[str], trust: bool) -> tuple[RunConfig, Origin | None]:
    try:
        data = read_yaml(path, f"config {path}", error=ConfigError)
    except FileNotFoundError:
        near = sorted(p.name for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        raise ConfigError(f"no config at {path}; {did_you_mean(path.name, near)}") from None
    record = take(data, path)
    if isinstance(data, dict):
        data = overridden(data, overrides)
    if record is None:
        return parse(data, f"config {path}"), None
    names = {key: _texts(data.get(key)) for key in ("plugins", "plugin_folders")}
    modules = [*names["plugins"], *modules_of(data.get("environment"))]
    origin = Origin(record, path.parent, own=True)
    homes = [inputs.located(folder, origin.folders) for folder in names["plugin_folders"]]
    origin = replace(origin, own=consent(record, path, modules, homes, trust))
    config = parse(data | ({"plugin_folders": homes} if homes else {}), f"config {path}")
    return config.model_copy(update={"plugin_folders": tuple(names["plugin_folders"])}), origin


def _texts(value: Any) -> list[str]:
    return [text for text in value if isinstance(text, str)] if isinstance(value, list | tuple) else []


def overridden(data: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """The data, in which overrides ``dotted.key=value`` are set.

    Raises:
        ConfigError: If an override has another form, or a key is given twice.
    """
    overrides = list(overrides)
    keys = Counter(str(text).partition("=")[0].strip() for text in overrides)
    if twice := [key for key, number in keys.items() if number > 1]:
        raise ConfigError(f"overrides: {', '.join(twice)} given twice; keep one of them")
    together(*(partial(apply_override, data, str(text)) for text in overrides))
    return data


def dump(config: RunConfig, record: Mapping[str, Any] | None = None) -> str:
    """The config as YAML that :func:`load` reads back, below the record of a run if there is one."""
    whole = {**(record or {}), **config.model_dump(mode="json")}
    return to_yaml(whole, sort_keys=False, default_flow_style=None, width=100)
