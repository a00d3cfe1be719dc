"""A schedule of training: what differs from the run's config, phase by phase.

Each phase lasts until a share of training is done, and may change arguments of the environment, of attacks, of defenses
and of channels: an easier task first, or losses that rise. After the last phase, a team is trained under its config.

A schedule only changes what a team is trained in. Evaluation, also during training, always takes place under the
config, and env steps of all phases count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

from pydantic import Field

from agentcomm.base.errors import AgentcommError, ConfigError, together
from agentcomm.base.fields import Strict
from agentcomm.base.registry import Axis
from agentcomm.runs.choices import PLAIN_TRANSPORT, Choice, TransportConfig, build

Changes = Mapping[str, Any]
LISTS: dict[str, Axis] = {"attacks": "attack", "defenses": "defense", "channels": "channel"}


class Phase(Strict):
    """A part of training under changed arguments.

    An argument is a value, or a number that moves linearly during the phase, such as ``{from: 80, to: 40}``.
    """

    until: float = Field(gt=0, le=1, description="share of training at whose end this phase ends")
    environment: dict[str, Any] = Field(
        {},
        description="changed arguments of the environment, such as {max_steps: 80}, or a number that moves linearly"
        " during the phase, such as {max_steps: {from: 80, to: 40}}",
    )
    attacks: dict[str, dict[str, Any]] = Field(
        {}, description="changed arguments of the run's attacks, such as {noise: {probability: {from: 0, to: 1}}}"
    )
    defenses: dict[str, dict[str, Any]] = Field(
        {}, description="changed arguments of the run's defenses, such as {message_dropout: {probability: 0.2}}"
    )
    channels: dict[str, dict[str, Any]] = Field(
        {}, description="changed arguments of the transport's channels, such as {loss: {probability: 0.2}}"
    )


@dataclass(frozen=True)
class Setup:
    """What a team is trained in."""

    environment: Choice
    attacks: tuple[Choice, ...] = ()
    defenses: tuple[Choice, ...] = ()
    transport: TransportConfig = PLAIN_TRANSPORT

    @property
    def channels(self) -> tuple[Choice, ...]:
        """The channels of the transport."""
        return self.transport.channels

    def at(self, schedule: Sequence[Phase], progress: float) -> Setup:
        """What a team is trained in once a share of training (0 .. 1) is done."""
        start = 0.0
        for phase in schedule:
            if progress < phase.until:
                return self._within(phase, max(progress - start, 0.0) / (phase.until - start))
            start = phase.until
        return self

    def ends(self, phase: Phase) -> list[Setup]:
        """What a phase begins and ends with; once if that is the same."""
        first, last = self._within(phase, 0.0), self._within(phase, 1.0)
        return [first] if first == last else [first, last]

    def _within(self, phase: Phase, part: float) -> Setup:
        """What a team is trained in when a part (0 .. 1) of a phase is done."""

        def changed(choices: tuple[Choice, ...], changes: Mapping[str, Changes]) -> tuple[Choice, ...]:
            return tuple(c.changed(_now(changes[c.name], part)) if c.name in changes else c for c in choices)

        channels = changed(self.channels, phase.channels)
        return replace(
            self,
            environment=self.environment.changed(_now(phase.environment, part)),
            attacks=changed(self.attacks, phase.attacks),
            defenses=changed(self.defenses, phase.defenses),
            transport=self.transport.model_copy(update={"channels": channels}) if phase.channels else self.transport,
        )


def check_schedule(setup: Setup, schedule: Sequence[Phase]) -> None:
    """Check the order of phases, and the changed arguments in each.

    Raises:
        AgentcommError: If something is wrong; the text names all mistakes.
    """
    together(*(partial(_check, setup, phase, number) for number, phase in enumerate(schedule)))


def check_order(schedule: Sequence[Phase]) -> None:
    """Raise a ValueError unless each phase ends later than the one before."""
    for before, after in pairwise(schedule):
        if after.until <= before.until:
            raise ValueError(
                f"each phase must end later than the one before, but until={after.until:g} follows"
                f" until={before.until:g}; put the phases in order"
            )


def _check(setup: Setup, phase: Phase, number: int) -> None:
    where = f"training.schedule[{number}]"
    for part, axis, choice, changes in _changed(setup, phase, where):
        if "name" in changes:
            raise ConfigError(f"{part}: 'name' cannot be changed; a schedule changes arguments only")
        for key, value in changes.items():
            _check_ramp(f"{part}.{key}", value)
        for end in (0.0, 1.0):
            try:
                build(axis, choice.changed(_now(changes, end)))
            except AgentcommError as error:
                raise ConfigError(f"{part}: {error}") from error


def _changed(setup: Setup, phase: Phase, where: str) -> Iterator[tuple[str, Axis, Choice, Changes]]:
    """The plug-ins that a phase changes: where it does so, axis, plug-in, and changed arguments."""
    if phase.environment:
        yield f"{where}.environment", "environment", setup.environment, phase.environment
    for key, axis in LISTS.items():
        choices: tuple[Choice, ...] = getattr(setup, key)
        for name, changes in getattr(phase, key).items():
            found = [choice for choice in choices if choice.name == name]
            if len(found) != 1:
                known = ", ".join(choice.name for choice in choices) or "none"
                raise ConfigError(
                    f"{where}.{key}: the run has {len(found)} {key} of the name {name!r}, not one (it has: {known}); a"
                    f" schedule changes arguments of what the config names"
                )
            yield f"{where}.{key}.{name}", axis, found[0], changes


def _check_ramp(where: str, value: Any) -> None:
    """Refuse a ramp that is incomplete or not one of numbers."""
    if not isinstance(value, Mapping) or not {"from", "to"} & set(value):
        return
    if set(value) != {"from", "to"}:
        raise ConfigError(f"{where}: a number that moves needs exactly 'from' and 'to', not {sorted(value)}")
    for end in ("from", "to"):
        if isinstance(value[end], bool) or not isinstance(value[end], int | float):
            raise ConfigError(f"{where}.{end} must be a number, not {value[end]!r}")


def _now(changes: Changes, part: float) -> dict[str, Any]:
    """Changed arguments when a part (0 .. 1) of their phase is done."""
    return {key: _at(value, part) for key, value in changes.items()}


def _at(value: Any, part: float) -> Any:
    """An argument when a part (0 .. 1) of its phase is done; whole where both ends of a ramp are."""
    if not isinstance(value, Mapping) or set(value) != {"from", "to"}:
        return value
    first, last = value["from"], value["to"]
    now = first + (last - first) * part
    return round(now) if isinstance(first, int) and isinstance(last, int) else now
