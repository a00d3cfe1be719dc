"""The contract of a topology (who may listen to whom), and protocols of temporal gates (when) and of message noise."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError
from torch import Tensor, nn
from typing_extensions import TypeVar

from agentcomm.base import registry
from agentcomm.base.errors import PluginError
from agentcomm.base.plugin import Plugin, PluginConfig


class Graph(NamedTuple):
    """A communication graph.

    Attributes:
        source: [B, N, k] int64, senders per receiver: different ones, and never the receiver itself.
        kept: [B, N, k] bool, edges that exist; None for all. Only graphs of varying degree need it. With a graph per
            round [B, G, N, k]: later rounds use the last of the G graphs.
    """

    source: Tensor
    kept: Tensor | None = None


class TopologyConfig(PluginConfig):
    """Arguments every topology has."""


T_co = TypeVar("T_co", bound=TopologyConfig, default=TopologyConfig, covariant=True)


class Topology(Plugin[T_co], nn.Module):
    """The source of a policy's communication graphs. Implement ``graph``; by default nothing is sampled or learned.

    Sampled graphs are functions of a *draw*, one number per world, which is recorded instead of the noise that is
    computed from it. Learned and dynamic topologies are sampled, and implement ``draw`` and ``weight``.

    Attributes:
        degree: k, slots per receiver.
        learned: Whether its parameters are trained by their own optimizer; see :class:`LearnedTopology`.
        needs_held_out: Whether it learns from worlds that the model does not learn from.
        dynamic: Whether every step has a new graph, computed from agents' observations. Its parameters are trained with
            the model's.
        acts: Whether a dynamic topology's choices of senders are actions of their receivers, with log-probabilities in
            PPO's ratio; see :meth:`choice`. Otherwise its edges have straight-through weights.
        scheduled: Whether the graph depends on the step of the episode; see :meth:`at`.
    """

    learned: ClassVar[bool] = False
    dynamic: ClassVar[bool] = False
    scheduled: ClassVar[bool] = False
    needs_held_out: bool = False
    acts: bool = False
    degree: int

    def __init__(self, config: T_co) -> None:
        nn.Module.__init__(self)
        self.config = config

    @classmethod
    @abstractmethod
    def for_team(cls, config: TopologyConfig, num_agents: int, width: int) -> Topology:
        """The topology of a team of N agents whose hidden vectors have ``width`` entries.

        A team of one has no links: a topology that cannot serve it returns one that can.
        """

    @abstractmethod
    def graph(self, draw: Tensor | None, num_worlds: int, hidden: Tensor | None = None) -> Graph:
        """The graphs of the draws [B], or the executed graph for None. Dynamic ones depend on ``hidden`` [B, N, H]."""

    def at(self, graph: Graph, step: Tensor) -> Graph:
        """The graph in the present step, given what :meth:`graph` returned; called only if it is ``scheduled``.

        Args:
            graph: The graph, of the same degree.
            step: [B] int64, steps since each world's episode began.
        """
        return graph

    def draw(self, num_worlds: int, generator: torch.Generator) -> Tensor:
        """[B] int64, draws that determine one sampled graph per world; [0] if nothing is sampled."""
        return torch.zeros(0, dtype=torch.int64, device=generator.device)

    def weight(self, source: Tensor, draw: Tensor, hidden: Tensor | None = None) -> Tensor | None:
        """Relaxed edges [B, N, K] in 0 .. 1, whose gradient reaches the graph's parameters; None without any.

        Those above a half are open. With a graph per round [B, G, N, K].

        Args:
            source: [B, N, K] int64, senders: those of recorded graphs, or more.
            draw: [B] int64, the draws of the recorded graphs.
            hidden: [B, N, H] for dynamic graphs.
        """
        return None

    @property
    def relaxed(self) -> bool:
        """Whether the edges of a dynamic graph have straight-through weights in updates."""
        return self.dynamic and not self.acts

    def choice(self, source: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probability and entropy in nats [B, N] of each receiver's choice of senders; 0 unless it is an action.

        Args:
            source: [B, N, k] int64, senders as :meth:`graph` sampled them.
            hidden: [B, N, H].
        """
        zero = hidden.new_zeros(source.shape[:2])
        return zero, zero

    def ranking(self) -> Tensor | None:
        """Scores [N, N] of senders per receiver, by which a receiver that gives up a link chooses another one.

        None without a preference.
        """
        return None

    def anneal(self, progress: float) -> None:
        """Update buffers that depend on the progress of training (0 .. 1); none by default."""

    @abstractmethod
    def resize(self, identity: Tensor) -> None:
        """Adapt to a team of another size.

        Args:
            identity: [N'] int64, for each agent of the new team, the agent of the trained team that it stands in for.

        Raises:
            ConfigError: If the topology is tied to the size of its team.
        """


class LearnedTopologyConfig(TopologyConfig):
    """Arguments every learned topology has."""

    learning_rate: float = Field(0.1, gt=0, description="learning rate of the graph's own optimizer (Adam)")


L_co = TypeVar("L_co", bound=LearnedTopologyConfig, default=LearnedTopologyConfig, covariant=True)


class LearnedTopology(Topology[L_co]):
    """A topology whose parameters are trained by their own optimizer (:mod:`agentcomm.training.graph_step`).

    Attributes:
        exact: [], nonzero once sampling returns the executed graph; the graph is no longer trained then.
    """

    learned = True
    exact: Tensor

    @abstractmethod
    def log_probability(self, source: Tensor, draw: Tensor) -> Tensor:
        """[U, N], log-probabilities of the rows [U, N, k] that were sampled by the draws [U]."""

    @abstractmethod
    def row_entropy(self) -> Tensor:
        """[N], entropy in nats of each receiver's distribution over senders."""

    @abstractmethod
    def agreement(self, source: Tensor) -> Tensor:
        """[], share of the sampled rows of [B, N, k] that equal the executed ones."""


class TopologyChoice(BaseModel):
    """A registered topology by name, with its arguments as further keys: a field of a policy's config."""

    model_config = ConfigDict(frozen=True, extra="allow")
    axis: ClassVar[Literal["topology"]] = "topology"
    accepts: ClassVar[str] = "the name of a topology, or {name: NAME, key: value}"

    name: str = Field(description="name of the topology; see `agentcomm list topologies`")

    @model_validator(mode="before")
    @classmethod
    def _check(cls, data: Any) -> Any:
        """Reject unknown topologies and wrong arguments, and replace the name by the registry's."""
        if isinstance(data, str):
            data = {"name": data}
        if not isinstance(data, dict) or not isinstance(data.get("name"), str):
            return data
        try:
            plugin = registry.find(cls.axis, data["name"])
        except PluginError as error:
            raise PydanticCustomError("plugin", "{problem}", {"problem": str(error)}) from None
        plugin.Config.model_validate({key: value for key, value in data.items() if key != "name"})
        return data | {"name": plugin.name}

    @classmethod
    def arguments_of(cls, given: Any) -> type[BaseModel] | None:
        """The arguments of the topology that ``given`` names; None if it names none."""
        name = given.get("name") if isinstance(given, dict) else given
        try:
            config: type[BaseModel] = registry.find(cls.axis, str(name)).Config
        except PluginError:
            return None
        return config

    def build(self, num_agents: int, width: int) -> Topology:
        """Build the topology for a team of N agents whose hidden vectors have ``width`` entries."""
        config = registry.build_config(self.axis, self.name, dict(self.model_extra or {}))
        made: Topology = registry.find(self.axis, self.name).for_team(config, num_agents, width)
        return made


class TemporalGate(Protocol):
    """A gate that decides in every step whether an agent listens (receiver's side) or speaks (sender's side).

    Attributes:
        side: The side that decides.
        straight_through: Whether its gradients flow through received messages instead of through its own
            log-probability; see :mod:`policies.parts.gate`.
        forced_open: Share of straight-through gates that are forced open in rollouts.
        dropped: Share of their open links that are dropped in rollouts.
    """

    side: Literal["receiver", "sender"]
    straight_through: bool
    forced_open: float
    dropped: float

    def __call__(self, hidden: Tensor) -> Tensor:
        """Hidden vectors [B, N, H] -> logits [B, N] of open gates."""
        ...

    def weight(self, logit: Tensor, noise: Tensor) -> Tensor:
        """Relaxed gates [B, N] for given noise, through which gradients flow (straight-through only)."""
        ...

    def note(self, rate: Tensor) -> None:
        """Called with the share [] of its open decisions in every update."""
        ...

    def anneal(self, progress: float) -> None:
        """Called with the progress of training (0 .. 1) after every update."""
        ...


class MessageNoise(Protocol):
    """A stochastic encoder of payloads; see :mod:`policies.parts.bottleneck`.

    Attributes:
        weight: Loss per nat of information in a message.
        spoken: [D] bool, entries of greedy payloads that carry information; the others are not sent.
    """

    weight: float
    spoken: Tensor

    def __call__(self, said: Tensor, draw: Tensor | None, round_: int) -> tuple[Tensor, Tensor]:
        """Payloads [B, N, D] without noise and the draws [B] of a step -> noisy payloads and nats, both [B, N, D]."""
        ...

    def note(self, nats: Tensor) -> None:
        """Called with the nats per entry [..., D] in every update."""
        ...
