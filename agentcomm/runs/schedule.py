"""A schedule of training: how its environment differs from the run's, phase by phase.

Each phase lasts until a share of training is done. After the last one, a team is trained in the environment of its
config.

A schedule only changes what a team is trained in. Evaluation, also during training, always takes place in the
environment of the config, and env steps of all phases count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

from pydantic import Field

from agentcomm.base.errors import AgentcommError, ConfigError, together
from agentcomm.base.fields import Strict
from agentcomm.runs.choices import Choice, build


class Phase(Strict):
    """A part of training in a changed environment."""

    until: float = Field(gt=0, le=1, description="share of training at whose end this phase ends")
    environment: dict[str, Any] = Field(
        description="changed arguments of the environment, such as {max_steps: 80}, or a number that moves linearly"
        " during the phase, such as {max_steps: {from: 80, to: 40}}"
    )


def environment_at(environment: Choice, schedule: Sequence[Phase], progress: float) -> Choice:
    """The environment of training once a share of it (0 .. 1) is done; the given one after the last phase."""
    start = 0.0
    for phase in schedule:
        if progress < phase.until:
            part = max(progress - start, 0.0) / (phase.until - start)
            return environment.changed({key: _at(value, part) for key, value in phase.environment.items()})
        start = phase.until
    return environment


def ends_of(environment: Choice, phase: Phase) -> list[Choice]:
    """The environments with which a phase begins and ends."""
    ends = [{key: _at(value, part) for key, value in phase.environment.items()} for part in (0.0, 1.0)]
    return [environment.changed(end) for end in (ends if ends[0] != ends[1] else ends[:1])]


def check_schedule(environment: Choice, schedule: Sequence[Phase]) -> None:
    """Check the order of phases, and the arguments of the environment in each.

    Raises:
        AgentcommError: If something is wrong; the text names all mistakes.
    """
    together(*(partial(_check, environment, phase, number) for number, phase in enumerate(schedule)))


def check_order(schedule: Sequence[Phase]) -> None:
    """Raise a ValueError unless each phase ends later than the one before."""
    for before, after in pairwise(schedule):
        if after.until <= before.until:
            raise ValueError(
                f"each phase must end later than the one before, but until={after.until:g} follows"
                f" until={before.until:g}; put the phases in order"
            )


def _check(environment: Choice, phase: Phase, number: int) -> None:
    where = f"training.schedule[{number}].environment"
    if "name" in phase.environment:
        raise ConfigError(f"{where}: 'name' cannot be changed; a team is trained in one environment")
    for key, value in phase.environment.items():
        _check_ramp(f"{where}.{key}", value)
    for end in ends_of(environment, phase):
        try:
            build("environment", end)
        except AgentcommError as error:
            raise ConfigError(f"{where}: {error}") from error


def _check_ramp(where: str, value: Any) -> None:
    """Refuse a ramp that is incomplete or not one of numbers."""
    if not isinstance(value, Mapping) or not {"from", "to"} & set(value):
        return
    if set(value) != {"from", "to"}:
        raise ConfigError(f"{where}: a number that moves needs exactly 'from' and 'to', not {sorted(value)}")
    for end in ("from", "to"):
        if isinstance(value[end], bool) or not isinstance(value[end], int | float):
            raise ConfigError(f"{where}.{end} must be a number, not {value[end]!r}")


def _at(value: Any, part: float) -> Any:
    """An argument when a part (0 .. 1) of its phase is done; whole where both ends of a ramp are."""
    if not isinstance(value, Mapping) or set(value) != {"from", "to"}:
        return value
    first, last = value["from"], value["to"]
    now = first + (last - first) * part
    return round(now) if isinstance(first, int) and isinstance(last, int) else now
