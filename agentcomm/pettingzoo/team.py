"""What the copies of a third-party environment have in common: agents and spaces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from agentcomm.base.calling import calling
from agentcomm.base.errors import ConfigError, HookError
from agentcomm.pettingzoo.spaces import MASK, AgentSpaces, Kind

RESET = ("observations", "infos")
STEP = ("observations", "rewards", "terminations", "truncations", "infos")


@dataclass(frozen=True)
class Team:
    """What all copies of an environment have in common.

    Attributes:
        names: Names of the agents, as in ``possible_agents``.
        spaces: Their spaces.
        masked: Whether masks of allowed actions come with observations or in ``infos``.
    """

    names: list[Any]
    spaces: list[AgentSpaces]
    masked: bool

    @classmethod
    def of(cls, env: Any, what: str, world: int) -> Team:
        """Read agents and spaces of an environment.

        Args:
            env: A parallel environment.
            what: The environment, for messages.
            world: Number of its world. That of world 0 is reset to see whether masks come in ``infos``; always and only
                that one, as the episodes of some environments depend on earlier ones.

        Raises:
            ConfigError: If it has no agents, or a space is not supported.
            HookError: If its code raises an error.
        """
        with calling(what, "possible_agents"):
            names = list(env.possible_agents)
        spaces = []
        for name in names:
            with calling(what, f"the spaces of agent {name!r}"):
                pair = env.observation_space(name), env.action_space(name)
            spaces.append(AgentSpaces(f"{what}: agent {name!r}", *pair))
        if not spaces:
            raise ConfigError(f"{what} has no possible_agents")
        masked = any(of.masked for of in spaces)
        if not masked and world == 0:
            with calling(what, "reset of world 0"):
                _, infos = parts(env.reset(seed=0), RESET, what, "reset of world 0")
            masked = any(MASK in (infos.get(name) or ()) for name in names)
        team = cls(names, spaces, masked)
        team._check_actions(what)
        return team

    def _check_actions(self, what: str) -> None:
        """Check that the actions of all agents make one action space.

        Raises:
            ConfigError: If they do not.
        """
        kinds = {spaces.kind for spaces in self.spaces}
        if "continuous" in kinds and len(kinds) > 1:
            raise ConfigError(
                f"{what}: some agents have continuous actions, and others discrete ones; the policies of a team have"
                f" one kind: convert the actions of some in a wrapper"
            )
        low, high = self.action_bounds
        for name, of in zip(self.names, self.spaces, strict=True):
            size = len(of.action_low)
            if not ((of.action_low == low[:size]).all() and (of.action_high == high[:size]).all()):
                raise ConfigError(
                    f"{what}: the bounds of the actions of agent {name!r} are not those of the agent with the most"
                    f" dimensions: rescale all actions to -1 .. 1 in a wrapper"
                )

    @property
    def shape(self) -> object:
        """What copies of an environment must have in common."""
        return [(str(name), of.width, of.kind, of.sizes) for name, of in zip(self.names, self.spaces, strict=True)]

    @property
    def kind(self) -> Kind:
        """Kind of the actions of all agents; discrete ones count as multi-discrete where others have these."""
        return max((spaces.kind for spaces in self.spaces), key=get_args(Kind).index)

    @property
    def dimensions(self) -> int:
        """K or D, most dimensions of an agent's action."""
        return max(len(spaces.sizes) or len(spaces.action_low) for spaces in self.spaces)

    @property
    def action_bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """[D] each, bounds of continuous actions; those of any agent that has the dimension, as all have the same."""
        widest = max(self.spaces, key=lambda spaces: len(spaces.action_low))
        return widest.action_low, widest.action_high

    @property
    def width(self) -> int:
        """O, numbers in the widest flattened observation."""
        return max(spaces.width for spaces in self.spaces)

    @property
    def options(self) -> int:
        """A, most options of a discrete action."""
        return max((spaces.sizes[0] for spaces in self.spaces if spaces.kind == "discrete"), default=0)


def parts(returned: Any, names: tuple[str, ...], what: str, at: str) -> tuple[Any, ...]:
    """What reset or step returned: one dictionary per name.

    Raises:
        HookError: If it is something else.
    """
    if isinstance(returned, tuple) and len(returned) == len(names):
        if {dict}.issuperset(map(type, returned)) or all(isinstance(part, Mapping) for part in returned):
            return returned
        kinds = ", ".join(type(part).__name__ for part in returned)
        raise HookError(f"{what}, {at}: {', '.join(names)} must be dictionaries by agent, not {kinds}")
    kind = f"{len(returned)} values" if isinstance(returned, tuple) else f"a {type(returned).__name__}"
    raise HookError(f"{what}, {at}: it returned {kind}, not the {len(names)} values {', '.join(names)}")
