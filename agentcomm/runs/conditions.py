"""Conditions: everything that a cell is evaluated under besides its attack and its defenses.

The command line, the API, the grid, the replay of an episode, the player's recordings and the report share one
:class:`Conditions` object. A new option is one field here, read in the one place where it takes effect. Fields of
:class:`SharedConditions` automatically become keys of the config and command-line options, and are part of the label
and the cell's id if they differ from their defaults.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator

from agentcomm.base import registry
from agentcomm.base.errors import ConfigError, together
from agentcomm.base.explain import explain
from agentcomm.base.fields import Strict
from agentcomm.runs.choices import PLAIN_TRANSPORT, Choice, TransportConfig, as_yaml, build, canonical

GateControlName = Literal["open", "closed", "random"]
Decisions = Literal["greedy", "sampled"]


def checked_device(device: str) -> str:
    """The name of a device.

    Raises:
        ValueError: If there is no such kind of device.
    """
    if not re.fullmatch(r"(cpu|cuda)(:\d+)?", device):
        raise ValueError("must be cpu, cuda or cuda:NUMBER")
    return device


class SharedConditions(Strict):
    """Conditions that all cells of a grid share."""

    decisions: Decisions = Field("greedy", description="greedy actions, or actions sampled from the policy")
    obedience: float = Field(
        0.0, ge=0, le=1, description="probability that members obey a directive (a stand-in for language models)"
    )
    device: str = Field("cpu", description="device of worlds and policies, such as cuda:0")

    @field_validator("device")
    @classmethod
    def _is_device(cls, device: str) -> str:
        return checked_device(device)


class Conditions(SharedConditions):
    """The conditions of one cell."""

    environment: dict[str, Any] = Field({}, description="environment overrides, such as {failure: 0.05}")
    gates: GateControlName | None = Field(
        None, description="all gates open, closed, or open at random with the team's own frequency"
    )
    transport: TransportConfig = Field(PLAIN_TRANSPORT, description="how messages travel: channels, codec and carrier")

    @property
    def crossed(self) -> bool:
        """Whether attacks and defenses are evaluated under these conditions.

        Teams in a changed environment or with controlled gates are evaluated without attacks.
        """
        return not self.environment and self.gates is None

    def label(self, own: TransportConfig = PLAIN_TRANSPORT) -> str:
        """The fields that differ from the defaults, such as ``failure=0.05, gates open``; empty if none does.

        Conditions have equal labels if and only if they are equal.

        Args:
            own: The default transport, such as the one of training.
        """
        parts = [f"{key}={value}" for key, value in self.environment.items()]
        parts += [] if self.gates is None else [f"gates {self.gates}"]
        parts += [] if self.transport == own else [self.transport.label or "plain transport"]
        parts += [f"{name} {value}" for name, value in self._shared(PLAIN_CONDITIONS).items()]
        return ", ".join(parts)

    def options(self, usual: Conditions) -> list[str]:
        """The command-line options that request these conditions in a run with the conditions ``usual``."""
        words = []
        if self.environment:
            words += ["--env", ",".join(f"{key}={as_yaml(value)}" for key, value in self.environment.items())]
        words += [] if self.gates is None else ["--gates", self.gates]
        if self.transport != usual.transport:
            words += ["--step-seconds", f"{self.transport.step_seconds:g}"]
            if self.transport.channels:
                words += ["--channel", "+".join(channel.label for channel in self.transport.channels)]
            words += [] if self.transport.codec is None else ["--codec", self.transport.codec.label]
            words += [] if self.transport.carrier == PLAIN_TRANSPORT.carrier else ["--carrier", self.transport.carrier]
        for name, value in self._shared(usual).items():
            words += [f"--{name.replace('_', '-')}", value]
        return words

    def canonical(self, environment: Choice) -> Conditions:
        """The same conditions in their one spelling: overrides that change something, and a canonical transport.

        Args:
            environment: The environment of training.
        """
        changed = canonical("environment", environment.changed(self.environment)).arguments
        trained = canonical("environment", environment).arguments
        fields = registry.find("environment", environment.name).Config.model_fields
        overrides = {
            name: changed.get(name, fields[name].get_default(call_default_factory=True))
            for name in fields
            if name in {**changed, **trained} and changed.get(name, ...) != trained.get(name, ...)
        }
        return self.model_copy(update={"environment": overrides, "transport": self.transport.canonical()})

    def check(self, environment: Choice) -> None:
        """Check the arguments of the changed environment and of the transport.

        Raises:
            AgentcommError: If a plug-in is unknown or an argument is invalid.
        """
        together(lambda: self._check_environment(environment), self.transport.check)

    def _check_environment(self, environment: Choice) -> None:
        if "name" in self.environment:
            raise ConfigError("environments: 'name' cannot be changed; the team was trained in this environment")
        changed = build("environment", environment.changed(self.environment))
        if changed.code() != build("environment", environment).code():
            raise ConfigError(
                "environments: an evaluation can change the arguments of an environment, but not the module that it"
                " comes from; the team was trained in this one"
            )

    def _shared(self, usual: Conditions) -> dict[str, str]:
        """Shared conditions that differ from ``usual``, as text."""
        found = {name: getattr(self, name) for name in SharedConditions.model_fields}
        return {name: as_yaml(value) for name, value in found.items() if value != getattr(usual, name)}


PLAIN_CONDITIONS = Conditions()


class ConditionsConfig(SharedConditions):
    """The conditions of a grid: the run's own, and others that differ from them in one field each."""

    environments: tuple[dict[str, Any], ...] = Field(
        (), description="environment overrides to evaluate without attacks, such as {predators: 8}"
    )
    gates: tuple[GateControlName, ...] = Field(
        (), description="all gates open, closed, or random with the same frequency; evaluated without attacks"
    )
    transports: tuple[TransportConfig, ...] = Field(
        (), description="transports besides that of training, each crossed with all attacks and defenses"
    )

    @field_validator("environments", mode="before")
    @classmethod
    def _from_texts(cls, given: Any) -> Any:
        """Texts ``key=value,key=value`` as mappings."""
        given = [given] if isinstance(given, str | Mapping) else given
        return [_overrides(one) if isinstance(one, str) else one for one in given] if _is_list(given) else given

    def expand(self, own: TransportConfig) -> list[Conditions]:
        """All conditions of the grid, the run's own first.

        Args:
            own: The transport of training.
        """
        shared = {name: getattr(self, name) for name in SharedConditions.model_fields}
        usual = Conditions(transport=own, **shared)
        return [
            usual,
            *(usual.model_copy(update={"environment": changes}) for changes in self.environments),
            *(usual.model_copy(update={"gates": gates}) for gates in self.gates),
            *(usual.model_copy(update={"transport": other}) for other in self.transports if other != own),
        ]

    def changed(self, given: Mapping[str, Any]) -> ConditionsConfig:
        """A copy with some keys replaced.

        Raises:
            ConfigError: If a key is unknown or a value is invalid.
        """
        kept = {name: getattr(self, name) for name in ConditionsConfig.model_fields}
        try:
            return ConditionsConfig.model_validate(kept | dict(given))
        except ValidationError as error:
            raise ConfigError(explain(error, "conditions", ConditionsConfig, kept | dict(given))) from None


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _overrides(text: str) -> dict[str, Any]:
    """The mapping in a text ``key=value,key=value``; ValueError if it has another form."""
    try:
        return Choice.parse(f"environment:{text}").arguments
    except ConfigError:
        raise ValueError("write key=value,key=value, such as predators=8,failure=0.05") from None
