"""Fits plug-ins to a team: builds them, and checks that they find what they need. Errors name the plug-in.

Every requirement is declared by its plug-in (:meth:`agentcomm.contracts.attack.Attack.unmet`,
:meth:`agentcomm.contracts.defense.Defense.unmet`) and checked here, before anything runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from agentcomm.base import registry
from agentcomm.base.calling import answered, calling
from agentcomm.base.errors import ConfigError, RequirementError
from agentcomm.base.registry import Axis
from agentcomm.contracts.attack import Attack
from agentcomm.contracts.defense import ON_MESSAGES, Defense, defense_hooks
from agentcomm.contracts.deployment import Deployment
from agentcomm.contracts.directory_hook import DirectoryShape
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.threat_model import ThreatModel
from agentcomm.runs.choices import Choice, build
from agentcomm.step.adversary import Adversary


@contextmanager
def fitting(what: str, hook: str, agents: int) -> Iterator[None]:
    """Build a plug-in in this context; a ValueError says that it does not fit a team of that size.

    Raises:
        ConfigError: For a ValueError.
        HookError: For any other error in the plug-in's code.
    """
    with calling(what, hook):
        try:
            yield
        except ValidationError:  # a ValueError, too, but no statement about the team
            raise
        except ValueError as error:
            raise ConfigError(f"{what} does not fit a team of {agents}: {error}") from error


def construct(axis: Axis, choice: Choice, shape: TeamShape, *more: Any) -> Any:
    """The chosen plug-in for a team of that shape.

    An attack is told that it runs as its control only if it sets ``own_control``.

    Raises:
        AgentcommError: If its arguments are invalid, it does not fit the team, or its constructor fails.
    """
    plugin, config = registry.find(axis, choice.name), build(axis, choice)
    if issubclass(plugin, Attack) and not (plugin.own_control and config.run_as == "control"):
        config = config.model_copy(update={"run_as": "attack"})
    with fitting(_what(axis, choice), "__init__", shape.num_agents):
        return plugin(config, replace(shape), *more)  # a shape of its own, which it may change


def check_attacks(
    choices: Sequence[Choice], attacks: Sequence[Attack], deployment: Deployment, directory: DirectoryShape | None
) -> None:
    """Check that attacks fit a team and find what they need.

    Args:
        choices: The attacks as chosen.
        attacks: The attacks.
        deployment: The team, its transport and its environment.
        directory: Shape of the team's directory; None without a directory.

    Raises:
        RequirementError: If an attack lacks something that it needs.
        AgentcommError: If it does not fit the team, or its code fails.
    """
    for choice, attack in zip(choices, attacks, strict=True):
        what, agents = _what("attack", choice), deployment.shape.num_agents
        with calling(what, "threat_model"):
            answered(attack.threat_model(), ThreatModel, what, "threat_model", "a ThreatModel")
        _require(what, attack, deployment)
        with fitting(what, "its set-up", agents):
            Adversary([attack], deployment.shape, 0, directory)


def check_defenses(choices: Sequence[Choice], defenses: Sequence[Defense], deployment: Deployment) -> None:
    """Check that defenses find what they need.

    Defenses on messages fit any team without messages, such as a control in training: they have nothing to do there.

    Args:
        choices: The defenses as chosen.
        defenses: The defenses.
        deployment: The team, its transport and its environment.

    Raises:
        RequirementError: If a defense lacks something that it needs.
        AgentcommError: If its code fails.
    """
    for choice, defense in zip(choices, defenses, strict=True):
        what = _what("defense", choice)
        _require(what, defense, deployment)
        with calling(what, "memory"):
            answered(defense.memory(), dict, what, "memory", "a dict of tensors [B, ...]")


def moot(defenses: Sequence[Defense], deployment: Deployment) -> str | None:
    """Why all defenses have nothing to act on; None if one has something."""
    idle = [defense.name for defense in defenses if defense_hooks(type(defense)) <= ON_MESSAGES]
    if deployment.silent and idle and len(idle) == len(defenses):
        return f"this team sends no messages, so {', '.join(idle)} has nothing to act on"
    return None


def _require(what: str, plugin: Attack | Defense, deployment: Deployment) -> None:
    with calling(what, "unmet"):
        missing = plugin.unmet(deployment)
    if missing is not None:
        raise RequirementError(f"{what} cannot be used here: {missing}")


def _what(axis: Axis, choice: Choice) -> str:
    return f"{axis} '{choice.label}'"
