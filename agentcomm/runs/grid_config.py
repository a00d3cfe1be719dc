"""The file of a grid: environment x policy x attack x defense x budget x conditions x seed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator, model_validator

from agentcomm.base.documents import read_yaml
from agentcomm.base.errors import ConfigError, did_you_mean, together
from agentcomm.base.explain import explain
from agentcomm.base.fields import Strict
from agentcomm.base.modules import import_modules
from agentcomm.runs.choices import Choice, check_choices, check_group, split_joined
from agentcomm.runs.conditions import ConditionsConfig
from agentcomm.runs.config import RunConfig, TrainingConfig


class GridConfig(Strict):
    """Which teams to train or take, and all the cells to evaluate them in."""

    name: str = Field(description="name of the grid, and of the folder below runs/ that its trained teams go to")
    runs: tuple[str, ...] = Field((), description="folders of trained runs to evaluate, such as [runs/mine]")
    environments: tuple[Choice, ...] = Field((), description="environments to train in, each with every policy")
    policies: tuple[Choice, ...] = Field((), description="policies to train, each in every environment")
    seeds: tuple[int, ...] | None = Field(
        None, min_length=1, description="training seeds; none for all teams of the runs, and seed 0 for those it trains"
    )
    control: bool = Field(True, description="also train each team without messages: the floor")
    training: TrainingConfig = Field(TrainingConfig(), description="how teams are trained")
    attacks: tuple[Choice, ...] = Field((), description="attacks, each evaluated by itself, besides no attack")
    budgets: tuple[dict[str, Any], ...] = Field(
        (), description="budgets that every attack is evaluated with, such as {per_episode: 4}; none for its own"
    )
    defenses: tuple[tuple[Choice, ...], ...] = Field(
        (), description="lists of defenses used together, besides no defense"
    )
    adaptive: bool = Field(False, description="also evaluate each defense under the attacks that are aimed at it")
    conditions: ConditionsConfig = Field(ConditionsConfig(), description="conditions of the cells")
    episodes: int = Field(512, ge=1, description="episodes per cell")
    episode_seed: int = Field(1_000_003, ge=0, description="seed of the episodes, the same for every cell")
    recordings: int = Field(0, ge=0, description="episodes recorded for the report's player")
    plugins: tuple[str, ...] = Field((), description="modules to import that register plug-ins")

    @field_validator("name")
    @classmethod
    def _is_folder(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            raise ValueError("must consist of letters, digits, '.', '_' and '-', and begin with a letter or digit")
        return name

    @field_validator("defenses", mode="before")
    @classmethod
    def _groups(cls, groups: Any) -> Any:
        """Names alone as groups of one; a text joins the members of a group with +."""
        groups = [groups] if isinstance(groups, str) else groups
        return [split_joined(group) for group in groups] if isinstance(groups, list | tuple) else groups

    @model_validator(mode="after")
    def _has_teams(self) -> GridConfig:
        if bool(self.environments) != bool(self.policies):
            raise ValueError("environments and policies go together: name at least one of each, or leave out both")
        if not self.runs and not self.environments:
            raise ValueError(
                "names no teams: give runs (folders of trained ones), or environments and policies to train"
            )
        return self

    def budgeted(self) -> tuple[Choice, ...]:
        """Every attack with every budget."""
        if not self.budgets:
            return self.attacks
        return tuple(attack.changed({"budget": budget}) for attack in self.attacks for budget in self.budgets)

    def to_train(self) -> Iterator[RunConfig]:
        """The configs of the runs that the grid trains: one per environment and policy."""
        pairs = [(environment, policy) for environment in self.environments for policy in self.policies]
        short = Counter(_slug(f"{environment.name}-{policy.name}") for environment, policy in pairs)
        for environment, policy in pairs:
            name = _slug(f"{environment.name}-{policy.name}")
            yield RunConfig(
                name=name if short[name] == 1 else _slug(f"{environment.label}-{policy.label}"),
                environment=environment,
                policy=policy,
                seeds=(0,) if self.seeds is None else self.seeds,
                control=self.control,
                training=self.training,
                plugins=self.plugins,
            )

    def check(self) -> GridConfig:
        """Check the arguments of every plug-in, also of attacks with their budgets, and that folders of runs exist.

        Raises:
            AgentcommError: If anything is wrong; the text names all mistakes.
        """
        import_modules(self.plugins)
        chosen: list[Any] = [("environment", choice) for choice in self.environments]
        chosen += [("policy", choice) for choice in self.policies]
        chosen += [("attack", choice) for choice in self.budgeted()]
        chosen += [("defense", choice) for group in self.defenses for choice in group]
        groups = (partial(check_group, group) for group in self.defenses)
        together(lambda: check_choices(chosen), *groups, *(partial(_check_run, run) for run in self.runs))
        names = Counter(config.name for config in self.to_train())
        if twice := [name for name, number in names.items() if number > 1]:
            raise ConfigError(f"environments and policies: {', '.join(twice)} would be trained twice; name each once")
        return self


def _slug(label: str) -> str:
    return re.sub(r"[^A-Za-z0-9._]+", "-", label).strip("-._")


def _check_run(folder: str) -> None:
    if not Path(folder, "config.yaml").exists():
        raise ConfigError(f"runs: {folder!r} is not the folder of a run; give the path of one, such as runs/mine")


def load_grid(path: Path) -> GridConfig:
    """Read the file of a grid.

    Raises:
        AgentcommError: If it is missing, or anything in it is wrong; the text names all mistakes.
    """
    where = f"grid {path}"
    try:
        data = read_yaml(path, where, error=ConfigError)
    except FileNotFoundError:
        near = sorted(p.name for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        raise ConfigError(f"no grid at {path}; {did_you_mean(path.name, near)}") from None
    return parse_grid(data, where)


def parse_grid(data: Any, where: str = "the grid") -> GridConfig:
    """Check a grid given as nested dicts.

    Raises:
        AgentcommError: If anything in it is wrong; the text says what and how to fix it.
    """
    if not isinstance(data, dict):
        raise ConfigError(f"{where} must hold a mapping of keys to values, not {type(data).__name__}")
    if isinstance(data.get("environment"), str | dict):
        raise ConfigError(f"{where} is the config of a run; in a grid, write environments: [...] and policies: [...]")
    try:
        config = GridConfig.model_validate(data)
    except ValidationError as error:
        raise ConfigError(explain(error, where, GridConfig, data)) from None
    return config.check()
