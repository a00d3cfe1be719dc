"""The contract of a communicating policy.

A policy with R rounds takes a step like this: encode the observation; in each round every agent speaks,
the network delivers, every agent hears; then act. The very same template runs in a rollout, where
messages pass the network (:mod:`agentcomm.step.decide`), and in an update, where what the network did is
replayed from the record (:mod:`agentcomm.step.replay`).

A policy that ``autoregressive`` acts in turns: what its agents say in the last round tells what they are about to
do, and an agent acts once those that it listens to and that come before it have spoken.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import TypeVar

from agentcomm.base.errors import ConfigError
from agentcomm.base.plugin import Plugin, PluginConfig
from agentcomm.contracts.inbox import Inbox
from agentcomm.contracts.topology import Topology
from agentcomm.contracts.world import World


class PolicyConfig(PluginConfig):
    """Arguments every policy has."""


Deliver = Callable[[int, Tensor], Inbox]


P_co = TypeVar("P_co", bound=PolicyConfig, default=PolicyConfig, covariant=True)


class CommPolicy(Plugin[P_co], nn.Module):
    """A policy for a team. Implement ``encode``, ``speak``, ``hear``, ``act`` and ``value``.

    Attributes:
        rounds: Rounds of messages per step; 0 for a policy that never speaks.
        width: Payload width D.
        topology: Who may listen to whom.
        gate: When (:class:`agentcomm.contracts.topology.TemporalGate`); None for gates that are always open.
        message_noise: What adds noise to messages in training (a :class:`MessageNoise`); None for messages as
            they are spoken.
        autoregressive: Whether the last round tells actions; such a policy also implements ``tell``, and its ``hear``,
            ``act`` and ``tell`` treat agents one by one, because they are called with some of the agents only.
        num_agents: N of the team it serves now.
        num_actions: A.
    """

    rounds: int
    width: int
    topology: Topology
    gate: Any  # a TemporalGate or None
    message_noise: Any  # a MessageNoise or None
    autoregressive: bool = False
    num_agents: int
    num_actions: int
    return_mean: Tensor
    return_scale: Tensor

    def __init__(self, config: P_co) -> None:
        nn.Module.__init__(self)
        self.config = config
        self.message_noise = None
        # Values are learned in units of the return's mean and spread, which training keeps here.
        self.register_buffer("return_mean", torch.tensor(0.0))
        self.register_buffer("return_scale", torch.tensor(1.0))

    @classmethod
    @abstractmethod
    def for_world(cls, config: PolicyConfig, world: World) -> CommPolicy:
        """Build the policy that fits a world's agents, observations and actions."""

    @classmethod
    @abstractmethod
    def without_messages(cls, config: PolicyConfig) -> PolicyConfig:
        """The same policy with nobody listening: the control that every result is held against."""

    @abstractmethod
    def encode(self, observation: Tensor) -> Tensor:
        """Observation [B, N, O] -> hidden [B, N, H], before anything is heard."""

    @abstractmethod
    def speak(self, hidden: Tensor, round_: int) -> Tensor:
        """Hidden -> payloads [B, N, D] of this round."""

    @abstractmethod
    def hear(self, hidden: Tensor, inbox: Inbox, round_: int) -> Tensor:
        """Hidden and what was delivered -> hidden."""

    @abstractmethod
    def act(self, hidden: Tensor) -> Tensor:
        """Hidden after the last round -> action logits [B, N, A]."""

    @abstractmethod
    def value(self, hidden: Tensor) -> Tensor:
        """What ``encode`` returned -> values [B, N] in units of the normalized return; used in training only.

        The critic may look at all agents' observations, but not at gates, messages or actions: it is the
        baseline that all of these are held against, and one that knew whether a gate was open would credit
        the gate with nothing.
        """

    def tell(self, hidden: Tensor, action: Tensor) -> Tensor:
        """Hidden before the last round and actions [B, N] -> payloads [B, N, D] of the last round."""
        raise NotImplementedError(f"{type(self).__name__} tells no actions")

    def auxiliary(self, observation: Tensor, hidden: Tensor) -> Tensor | None:
        """A loss of the policy's own, added to PPO's; None for none.

        Args:
            observation: [R, N, O].
            hidden: What ``encode`` returned for it.
        """
        return None

    def anneal(self, progress: float) -> None:
        """Let parts that follow the share of training done (0 .. 1) do so, in buffers; here, the topology."""
        self.topology.anneal(progress)

    def listen(self, hidden: Tensor) -> Tensor | None:
        """Gate logits [B, N] from what each agent knows before it hears anything; None if all always listen."""
        if self.gate is None:
            return None
        logit: Tensor = self.gate(hidden)
        return logit

    def listening_cost(self) -> float:
        """What a step with an open gate costs its agent, in units of reward."""
        return 0.0

    def resize_team(self, identity: Sequence[int]) -> None:
        """Serve a team of another size from now on.

        Args:
            identity: Per agent of the new team, the agent of the trained team that it stands in for.

        Raises:
            ConfigError: If the policy is tied to the size of its team.
        """
        raise ConfigError(f"policy {self.name!r} is tied to the {self.num_agents} agents that it was trained with")

    def expected_return(self, value: Tensor) -> Tensor:
        """Value estimates in units of reward."""
        return value * self.return_scale + self.return_mean

    def graph_parameters(self) -> list[nn.Parameter]:
        """Parameters of the graph, trained by their own optimizer."""
        return list(self.topology.parameters()) if self.topology.learned else []

    @property
    def exchanges(self) -> int:
        """Most exchanges of messages in a step: one per round, or where actions are told, per turn of the last."""
        return self.rounds - 1 + self.num_agents if self.autoregressive else self.rounds

    def run(self, hidden: Tensor, deliver: Deliver, action: Tensor | None = None) -> Tensor:
        """The template: action logits [B, N, A].

        Args:
            hidden: ``encode(observation)``, zero for agents that are gone.
            deliver: Takes the round and the payloads [B, N, D] and returns the inboxes.
            action: [B, N] int64, what agents tell of in the last round (where they do).
        """
        state = hidden
        for round_ in range(self.rounds):
            if self.autoregressive and round_ == self.rounds - 1:
                if action is None:
                    raise ValueError("a policy that tells actions needs them here; it acts through agentcomm.step")
                spoken = self.tell(state, action)
            else:
                spoken = self.speak(state, round_)
            state = self.hear(state, deliver(round_, spoken), round_)
        return self.act(state)
