"""A parallel environment whose actions carry messages and whose observations carry an inbox, for any learner.

Messages pass the testbed's message layer: the same channels, codecs, attacks, defenses and ledger as those of teams
trained here. So agents trained by RLlib, TorchRL or Stable-Baselines, or written by hand, can be trained and tested
under them. To evaluate such agents in a grid of attacks and defenses, see :mod:`policies.foreign`.

A message that an agent chooses in step t is in the inboxes of step t + 1, if nothing delays it. The inboxes of the
first and of the last observation of an episode hold no messages of the team.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.spaces import Space
from pettingzoo import ParallelEnv
from pettingzoo.utils import BaseParallelWrapper

from agentcomm.base.errors import ConfigError
from agentcomm.network.ledger import COUNTS
from agentcomm.pettingzoo.kinds import as_parallel
from agentcomm.pettingzoo.message_actions_inbox import Messages, Symbols
from agentcomm.pettingzoo.message_actions_inbox import Received as Received
from agentcomm.pettingzoo.message_actions_inbox import Vectors as Vectors
from agentcomm.pettingzoo.message_actions_inbox import foreign_policy as foreign_policy
from agentcomm.pettingzoo.message_actions_layer import MessageLayer
from agentcomm.pettingzoo.message_actions_spaces import FlatSpaces, NestedSpaces
from agentcomm.pettingzoo.spaces import MASK
from agentcomm.pettingzoo.view import view
from agentcomm.runs.choices import Choice
from agentcomm.runs.given import Given


class MessageActionWrapper(BaseParallelWrapper):  # type: ignore[misc]  # PettingZoo's generics are not typed for mypy
    """A parallel environment with messages.

    With ``flat=True``, an observation is one ``Box``: the environment's own observation, flattened, and then the inbox
    (payloads, mask, one-hot claimed senders; :meth:`Received.flat`). Discrete actions and symbols form one
    ``MultiDiscrete``, continuous actions and vectors one ``Box``. So stock policies of fixed size can use them; action
    masks are in ``infos`` then (:class:`agentcomm.pettingzoo.message_actions_spaces.FlatSpaces`). With
    ``flat=False``, observations are dictionaries ``observation`` and ``inbox``, and actions ``action`` and ``message``.

    An inbox has a row for each sender that the agent listens to, and one for everybody else, by claimed sender
    (:mod:`agentcomm.pettingzoo.message_actions_inbox`).

    Attacks that need the policy, and those that act on anything but messages, are refused, as are defenses that act on
    actions or learn from clean episodes: evaluate the trained policy under these (``agentcomm evaluate``).
    """

    def __init__(
        self,
        env: ParallelEnv | str,
        messages: Messages | None = None,
        *,
        topology: Any = "full",
        attacks: Given | Sequence[Given] = (),
        defenses: Given | Sequence[Given] = (),
        transport: Mapping[str, Any] | None = None,
        flat: bool = True,
        team_reward: bool = False,
        **arguments: Any,
    ) -> None:
        """Wrap an environment.

        Args:
            env: A PettingZoo ``ParallelEnv``, or what :func:`agentcomm.pettingzoo.kinds.as_parallel` can convert; or
                the name of a registered environment as on the command line, such as ``"relay_line:members=3"``.
            messages: What agents may say: ``Symbols(...)`` or ``Vectors(...)``; None for four symbols.
            topology: Who listens to whom: a fixed topology by name, or with arguments as in a config.
            attacks: Attacks on messages, such as ``"drop:probability=0.5"``; all act together.
            defenses: Defenses that act together, such as ``"authenticate+clip"``.
            transport: Channels and codec, as in a config: ``{"channels": ["loss"], "codec": "int8"}``.
            flat: Whether spaces are flat.
            team_reward: Whether each agent gets the mean reward of all present agents. Messages help others, so senders
                learn from rewards only if they share them.
            **arguments: Further arguments of a registered environment.

        Raises:
            AgentcommError: If the environment or a plug-in is unknown, or something does not fit.
        """
        chosen: dict[str, Any] = {"topology": topology, "attacks": attacks, "defenses": defenses}
        chosen |= {"transport": transport, "flat": flat, "team_reward": team_reward}
        self._made_with = (env, messages, chosen | arguments)
        env = _environment(env, arguments)
        super().__init__(env)
        self.messages, self.team_reward = messages or Symbols(), team_reward
        self.metadata = dict(getattr(env, "metadata", {}))
        self._names = list(env.possible_agents)
        name = str(self.metadata.get("name", type(env).__name__))
        self.layer = MessageLayer(name, len(self._names), self.messages, topology, attacks, defenses, transport)
        make = FlatSpaces if flat else NestedSpaces
        self._spaces = {
            agent: make(
                agent,
                env.observation_space(agent),
                env.action_space(agent),
                self.messages,
                self.layer.rows,
                len(self._names),
            )
            for agent in self._names
        }
        self._t = 0
        self._said = np.zeros((len(self._names), self.messages.width), np.float32)
        self._speaks = np.zeros(len(self._names), bool)

    def __reduce__(self) -> Any:
        """Copies, as vectorizing tools make them, are new environments of the same kind; a seeded reset starts them."""
        return _made, self._made_with

    def observation_space(self, agent: Any) -> Space[Any]:
        """The agent's own observation with its inbox."""
        return self._spaces[agent].observation

    def action_space(self, agent: Any) -> Space[Any]:
        """The agent's own action with a message."""
        return self._spaces[agent].action

    @property
    def counts(self) -> dict[str, int]:
        """Messages of all episodes since the last seeded reset, by their fate (:mod:`agentcomm.network.ledger`)."""
        return {name: int(self.layer.comms.network.ledger[name]) for name in COUNTS}

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[Any, Any], dict[Any, dict[str, Any]]]:
        """Start an episode.

        Args:
            seed: Makes this and the following episodes reproducible: those of the environment, the channels, the
                attacks and the defenses.
            options: Passed on to the environment.
        """
        observations, infos = self.env.reset(seed=seed, options=options)
        self.layer.start(seed)
        self._t, self._speaks = 0, np.zeros_like(self._speaks)
        return self._with_inboxes(observations), self._with_masks(observations, infos)

    def step(
        self, actions: Mapping[Any, Any]
    ) -> tuple[dict[Any, Any], dict[Any, float], dict[Any, bool], dict[Any, bool], dict[Any, dict[str, Any]]]:
        """Take one step: act in the environment, and deliver the messages with the next observations.

        Raises:
            ValueError: If an action is not in its space.
        """
        own: dict[Any, Any] = {}
        self._speaks = np.zeros_like(self._speaks)
        for agent, action in actions.items():
            own[agent], message = self._spaces[agent].split(action)
            number = self._names.index(agent)
            self._said[number], self._speaks[number] = self.messages.spoken(message)
        observations, rewards, terminations, truncations, infos = self.env.step(own)
        self._t += 1
        if not self.env.agents:
            self.layer.end()
        if self.team_reward and rewards:
            rewards = dict.fromkeys(rewards, float(np.mean([rewards[agent] for agent in actions if agent in rewards])))
        infos = self._with_masks(observations, infos)
        return self._with_inboxes(observations), rewards, terminations, truncations, infos

    def _with_masks(self, observations: Mapping[Any, Any], infos: Mapping[Any, Any]) -> dict[Any, Any]:
        """Infos with the masks of flat actions."""
        found = dict(infos)
        for agent, observation in observations.items():
            told = infos.get(agent) or {}
            if (mask := self._spaces[agent].mask(observation, told)) is not None:
                found[agent] = told | {MASK: mask}
        return found

    def _with_inboxes(self, observations: Mapping[Any, Any]) -> dict[Any, Any]:
        """Observations with inboxes, empty after the end of an episode."""
        present = np.array([name in self.env.agents for name in self._names])
        if present.any():
            received = self.layer.deliver(self._said, self._speaks & present, present, self._t)
        else:
            received = self.layer.nothing()
        return {
            agent: self._spaces[agent].join(observation, received.of(0, self._names.index(agent)))
            for agent, observation in observations.items()
        }


def _environment(env: Any, arguments: dict[str, Any]) -> Any:
    """The parallel environment to wrap."""
    if isinstance(env, str):
        choice = Choice.parse(env).changed(arguments)
        return view(choice.name, **choice.arguments)
    if arguments:
        raise ConfigError(f"{', '.join(arguments)}: arguments go with the name of an environment, not with a made one")
    return as_parallel(env, "the wrapped environment")


def _made(env: Any, messages: Messages | None, chosen: dict[str, Any]) -> MessageActionWrapper:
    return MessageActionWrapper(env, messages, **chosen)
