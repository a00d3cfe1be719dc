"""The contract of a topology: who may listen to whom. With it, the temporal gate (when) and noise on messages."""

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
    """Who may listen to whom.

    Attributes:
        source: [B, N, k] int64 senders per receiver, each once and never the receiver itself.
        kept: [B, N, k] bool, which of them really; None for all. Only graphs of varying degree need it.
    """

    source: Tensor
    kept: Tensor | None = None


class TopologyConfig(PluginConfig):
    """Arguments every topology has."""


T_co = TypeVar("T_co", bound=TopologyConfig, default=TopologyConfig, covariant=True)


class Topology(Plugin[T_co], nn.Module):
    """Where a policy's graphs come from. Implement ``graph``; this base class samples nothing and learns nothing.

    Sampled graphs are functions of a *draw*, one number per world, which is recorded instead of the noise that is
    computed from it. Topologies that are learned or dynamic are sampled, and implement ``draw`` and ``weight``.

    Attributes:
        degree: k, slots per receiver.
        learned: Whether its parameters are trained by their own optimizer; see :class:`LearnedTopology`.
        needs_held_out: Whether it learns from worlds that are kept from the model.
        dynamic: Whether there is a new graph in every step, made from what agents see then. Its parameters are trained
            with the model's.
    """

    learned: ClassVar[bool] = False
    dynamic: ClassVar[bool] = False
    needs_held_out: bool = False
    degree: int

    def __init__(self, config: T_co) -> None:
        nn.Module.__init__(self)
        self.config = config

    @classmethod
    @abstractmethod
    def for_team(cls, config: TopologyConfig, num_agents: int, width: int) -> Topology:
        """The topology of a team of N agents whose hidden vectors have ``width`` entries.

        A team of one has nobody to listen to: what cannot serve it returns a topology that can.
        """

    @abstractmethod
    def graph(self, draw: Tensor | None, num_worlds: int, hidden: Tensor | None = None) -> Graph:
        """The graphs of those draws [B]; the executed graph without. Dynamic ones look at ``hidden`` [B, N, H]."""

    def draw(self, num_worlds: int, generator: torch.Generator) -> Tensor:
        """[B] int64 to sample one graph per world with; [0] where nothing is sampled."""
        return torch.zeros(0, dtype=torch.int64, device=generator.device)

    def weight(self, source: Tensor, draw: Tensor, hidden: Tensor | None = None) -> Tensor | None:
        """Straight-through weights [B, N, k] (value 1) of recorded edges; None where no gradient flows."""
        return None

    def anneal(self, progress: float) -> None:
        """Let what follows the share of training done (0 .. 1) do so, in buffers. Nothing by default."""

    @abstractmethod
    def resize(self, identity: Tensor) -> None:
        """Serve a team of another size: [N'] int64, which agent of the trained team each agent stands in for.

        Raises:
            ConfigError: If the graph cannot.
        """


class LearnedTopologyConfig(TopologyConfig):
    """Arguments every learned topology has."""

    learning_rate: float = Field(0.1, gt=0, description="of the graph's own optimizer (Adam)")


L_co = TypeVar("L_co", bound=LearnedTopologyConfig, default=LearnedTopologyConfig, covariant=True)


class LearnedTopology(Topology[L_co]):
    """A topology whose parameters are trained by their own optimizer (:mod:`agentcomm.training.graph_step`).

    Attributes:
        exact: [] nonzero once sampling returns the executed graph, from when on the graph is not trained.
    """

    learned = True
    exact: Tensor

    @abstractmethod
    def log_probability(self, source: Tensor, draw: Tensor) -> Tensor:
        """[U, N] log-probability of the rows [U, N, k] that draws [U] gave."""

    @abstractmethod
    def row_entropy(self) -> Tensor:
        """[N] entropy in nats of each receiver's distribution over senders."""

    @abstractmethod
    def agreement(self, source: Tensor) -> Tensor:
        """Share of sampled rows of [B, N, k] that equal the executed ones, []."""


class TopologyChoice(BaseModel):
    """A registered topology by name, with its arguments beside it: a field of a policy's config."""

    model_config = ConfigDict(frozen=True, extra="allow")
    axis: ClassVar[Literal["topology"]] = "topology"

    name: str = Field(description="name of the topology; see `agentcomm list topologies`")

    @model_validator(mode="before")
    @classmethod
    def _check(cls, data: Any) -> Any:
        """Refuse unknown topologies and wrong arguments, and write the name as the registry does."""
        if not isinstance(data, dict) or not isinstance(data.get("name"), str):
            return data
        try:
            plugin = registry.find(cls.axis, data["name"])
        except PluginError as error:
            raise PydanticCustomError("plugin", "{problem}", {"problem": str(error)}) from None
        plugin.Config.model_validate({key: value for key, value in data.items() if key != "name"})
        return data | {"name": plugin.name}

    def build(self, num_agents: int, width: int) -> Topology:
        """The topology of a team of N agents whose hidden vectors have ``width`` entries."""
        config = registry.build_config(self.axis, self.name, dict(self.model_extra or {}))
        made: Topology = registry.find(self.axis, self.name).for_team(config, num_agents, width)
        return made


class TemporalGate(Protocol):
    """What decides at every step whether an agent listens, or, at the sender's side, speaks.

    Attributes:
        side: Whose decision it is.
        straight_through: Whether gradients reach it through what was heard instead of through its own
            log-probability; see :mod:`policies.parts.gate`.
    """

    side: Literal["receiver", "sender"]
    straight_through: bool

    def __call__(self, hidden: Tensor) -> Tensor:
        """Hidden [B, N, H] -> logit [B, N] of being open."""
        ...

    def weight(self, logit: Tensor, noise: Tensor) -> Tensor:
        """Soft openness [B, N] of gates drawn with that noise, by which gradients flow (straight-through only)."""
        ...


class MessageNoise(Protocol):
    """What turns what an agent would say into a noisy message; see :mod:`policies.parts.bottleneck`.

    Attributes:
        weight: What the loss pays per nat of information in a message.
        spoken: [D] bool, entries of greedy payloads that carry information; the others are not sent.
    """

    weight: float
    spoken: Tensor

    def __call__(self, said: Tensor, draw: Tensor | None, round_: int) -> tuple[Tensor, Tensor]:
        """[B, N, D] and the draws [B] of a step -> payloads [B, N, D], and nats per entry [B, N, D]."""
        ...

    def note(self, nats: Tensor) -> None:
        """Receives the nats per entry [..., D] of every update."""
        ...
