"""The contract of a communicating policy.

A policy with R rounds takes a step as follows: encode the observation; in each round every agent speaks, the network
delivers, and every agent hears; then act. The same template runs in rollouts, where messages pass the network
(:mod:`agentcomm.step.decide`), and in updates, where the network's effects are replayed from the record
(:mod:`agentcomm.step.replay`).

The agents of an ``autoregressive`` policy act in turns: messages of the last round tell their senders' actions, and an
agent acts once it has received those of the agents that it listens to and that come before it.

A policy with a memory also implements ``recall``, called after ``encode``, and may implement ``retain``, called before
``act``. The memory is a tensor [B, N, S] that belongs to the loop (:class:`agentcomm.step.loop.TeamLoop`): it is 0 when
an episode starts, for members that join, and for those that have left.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import TypeVar

from agentcomm.base.errors import ConfigError
from agentcomm.base.plugin import Plugin, PluginConfig
from agentcomm.contracts.actions import ActionSpace
from agentcomm.contracts.inbox import Inbox
from agentcomm.contracts.topology import Topology
from agentcomm.contracts.world import World


class PolicyConfig(PluginConfig):
    """Arguments every policy has."""

    squashed: bool = Field(True, description="squash continuous actions into their bounds by tanh, instead of clipping")


@dataclass(frozen=True)
class Steps:
    """Recorded steps, from which auxiliary losses are computed.

    Attributes:
        observation: [R, N, O].
        hidden: [R, N, H], its encoding by ``encode`` and ``recall``.
        action: [R, N, ...] of the action space.
        following: [R, N] int64, row of a member's next step in the same episode; -1 where these rows lack it, as
            at the end of an episode or a chunk. Rows of policies without memory are shuffled: it is -1 everywhere.
    """

    observation: Tensor
    hidden: Tensor
    action: Tensor
    following: Tensor


Deliver = Callable[[int, Tensor], Inbox]


P_co = TypeVar("P_co", bound=PolicyConfig, default=PolicyConfig, covariant=True)


class CommPolicy(Plugin[P_co], nn.Module):
    """A policy for a team. Implement ``encode``, ``speak``, ``hear``, ``act`` and ``value``.

    Attributes:
        rounds: Rounds of messages per step; 0 for a policy without messages.
        width: Payload width D.
        topology: The communication graph: who may listen to whom.
        gate: The temporal gate (:class:`agentcomm.contracts.topology.TemporalGate`); None for gates that are always
            open.
        message_noise: The stochastic encoder of messages (a :class:`MessageNoise`); None for messages without noise.
        autoregressive: Whether the last round tells actions. Such a policy also implements ``tell``, and its ``hear``,
            ``retain``, ``act`` and ``tell`` treat each agent independently, because they are called with some of the
            agents only.
        message_price: What payloads [..., D] cost in the loss of training, [...], where a codec charges for them
            (:meth:`agentcomm.contracts.codec.Codec.price`); None for nothing.
        reads_age: Whether ``hear`` reads the age of messages (``Inbox.age``), which rollouts then record.
        memory_width: Width S of an agent's memory; 0 for a policy without memory.
        keeps_heard: Whether ``retain`` is implemented, so that messages depend on those of earlier steps.
        predictable: Whether attacks that know the policy can compute what it would do, with gradients.
        num_agents: N of the present team.
        actions: What agents can do; ``act`` returns its parameters.
    """

    rounds: int
    width: int
    topology: Topology
    gate: Any  # a TemporalGate or None
    message_noise: Any  # a MessageNoise or None
    message_price: Callable[[Tensor], Tensor] | None = None
    autoregressive: bool = False
    reads_age: bool = False
    memory_width: int = 0
    keeps_heard: bool = False
    predictable: bool = True
    num_agents: int
    actions: ActionSpace
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
    def actions_in(cls, config: PolicyConfig, world: World) -> ActionSpace:
        """The actions of a policy in a world."""
        return world.actions.with_squashing(config.squashed)

    @classmethod
    @abstractmethod
    def without_messages(cls, config: PolicyConfig) -> PolicyConfig:
        """The config of the same policy without messages: the control that results are compared with."""

    @abstractmethod
    def encode(self, observation: Tensor) -> Tensor:
        """Observations [B, N, O] -> hidden vectors [B, N, H], before any message is received."""

    def recall(self, encoded: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Add memory to encoded observations, before gates, graph, critic and messages: what is seen.

        Args:
            encoded: [B, N, H], as ``encode`` returns it.
            memory: [B, N, S], memory of earlier steps.

        Returns:
            Hidden vectors [B, N, H], and the memory with this step's observations.
        """
        return encoded, memory

    def retain(self, state: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Add memory to the state after the last round, before ``act``: what is heard.

        Agents act on what they have just heard; their hidden vectors, and so gates, graph, critic and messages, depend
        on it from the next step on. In an autoregressive policy the last round includes the actions of earlier agents.

        Args:
            state: [B, N, H] after the last round.
            memory: [B, N, S], as ``recall`` returned it.

        Returns:
            The state to act on [B, N, H], and the memory with this step's messages.
        """
        return state, memory

    @abstractmethod
    def speak(self, hidden: Tensor, round_: int) -> Tensor:
        """Hidden vectors [B, N, H] -> payloads [B, N, D] of this round."""

    @abstractmethod
    def hear(self, hidden: Tensor, inbox: Inbox, round_: int) -> Tensor:
        """Hidden vectors [B, N, H] and inboxes -> hidden vectors [B, N, H]."""

    def symbols(self, inbox: Inbox) -> Tensor | None:
        """[B, N, M] int64, the messages of inboxes as the symbols that the policy reads; None if they are vectors."""
        return None

    @abstractmethod
    def act(self, hidden: Tensor) -> Tensor:
        """Hidden vectors [B, N, H] after the last round -> parameters of action distributions [B, N, P], as logits."""

    @abstractmethod
    def value(self, hidden: Tensor) -> Tensor:
        """Hidden vectors before any message [B, N, H] -> values [B, N] in units of the normalized return.

        Used in training only.

        The critic may use all agents' observations, but no gates, messages or actions: it is the baseline of all of
        these, and a critic that knew whether a gate was open would leave no advantage to the gate.
        """

    def tell(self, hidden: Tensor, action: Tensor) -> Tensor:
        """Hidden vectors before the last round and actions [B, N, ...] -> payloads [B, N, D] of the last round."""
        raise NotImplementedError(f"{type(self).__name__} is not autoregressive and tells no actions")

    def auxiliary(self, steps: Steps) -> Tensor | None:
        """An auxiliary loss of recorded steps, added to PPO's; None for none."""
        return None

    def anneal(self, progress: float) -> None:
        """Update buffers that depend on the progress of training (0 .. 1), such as those of topology and gate."""
        self.topology.anneal(progress)
        if self.gate is not None:
            self.gate.anneal(progress)

    def listen(self, hidden: Tensor) -> Tensor:
        """Gate logits [B, N] from encoded observations [B, N, H]; called only if there is a ``gate``."""
        logit: Tensor = self.gate(hidden)
        return logit

    def listening_cost(self) -> Tensor | float:
        """Cost of a step with an open gate to its agent, in units of reward, [] or a number."""
        return 0.0

    def resize_team(self, identity: Sequence[int]) -> None:
        """Adapt to a team of another size.

        Args:
            identity: For each agent of the new team, the agent of the trained team that it stands in for.

        Raises:
            ConfigError: If the policy is tied to the size of its team.
        """
        raise ConfigError(f"policy {self.name!r} is tied to the {self.num_agents} agents that it was trained with")

    def expected_return(self, value: Tensor) -> Tensor:
        """Normalized value estimates -> value estimates in units of reward."""
        return value * self.return_scale + self.return_mean

    def graph_parameters(self) -> list[nn.Parameter]:
        """Parameters of the topology that are trained by their own optimizer."""
        return list(self.topology.parameters()) if self.topology.learned else []

    @property
    def exchanges(self) -> int:
        """Most exchanges of messages in a step: one per round, and of an autoregressive last round one per turn."""
        return self.rounds - 1 + self.num_agents if self.autoregressive else self.rounds

    def run(
        self, hidden: Tensor, deliver: Deliver, action: Tensor | None = None, memory: Tensor | None = None
    ) -> Tensor:
        """Run all rounds and return parameters of action distributions [B, N, P].

        Args:
            hidden: [B, N, H], encoded observations; zero for agents that have left.
            deliver: Maps a round and its payloads [B, N, D] to the inboxes.
            action: [B, N, ...] actions told in the last round; for autoregressive policies only.
            memory: [B, N, S], as ``recall`` returned it; None for one of 0.
        """
        state = self.communicate(hidden, deliver, action)
        if self.keeps_heard:
            state, _ = self.retain(
                state, state.new_zeros(*state.shape[:2], self.memory_width) if memory is None else memory
            )
        return self.act(state)

    def communicate(self, hidden: Tensor, deliver: Deliver, action: Tensor | None = None) -> Tensor:
        """Run all rounds and return the state [B, N, H] after them; arguments as in :meth:`run`."""
        state = hidden
        for round_ in range(self.rounds):
            if self.autoregressive and round_ == self.rounds - 1:
                if action is None:
                    raise ValueError("an autoregressive policy needs its actions here; to act, use agentcomm.step")
                spoken = self.tell(state, action)
            else:
                spoken = self.speak(state, round_)
            state = self.hear(state, deliver(round_, spoken), round_)
        return state
