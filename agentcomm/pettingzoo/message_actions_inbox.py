"""Messages of policies that were not trained here: what they may say, and what they are shown of an inbox.

Such policies have inputs of fixed size, so messages are sorted by claimed sender: the first k rows are for those that
claim to come from the k senders that an agent listens to, in ascending order, and the last row is for everybody else.
Of several messages with the same claim, the last one in the inbox is shown.

Shapes: B worlds, N agents, M inbox slots, K = k + 1 rows, D payload width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Space
from pydantic import Field
from torch import Tensor

from agentcomm.base.errors import ConfigError
from agentcomm.base.fields import Strict
from agentcomm.contracts.inbox import Inbox
from agentcomm.contracts.topology import Topology, TopologyChoice

F = TypeVar("F", bound=Callable[..., Any])
Array = np.ndarray[Any, Any]


class Symbols(Strict):
    """Messages are symbols 0 .. symbols - 1, sent as one-hot payloads of length sqrt(symbols).

    Receivers read the symbol whose entry is the largest, whatever happened to the payload on its way.
    """

    symbols: int = Field(4, ge=2, le=256, description="number of symbols")
    silence: bool = Field(False, description="whether there is another message, after the last symbol: to say nothing")

    @property
    def width(self) -> int:
        """D."""
        return self.symbols

    @property
    def space(self) -> Space[Any]:
        """What an agent may say."""
        return Discrete(self.symbols + self.silence)

    @property
    def low(self) -> float:
        """Smallest entry of a payload as it is shown."""
        return 0.0

    def spoken(self, message: Array) -> tuple[Array, Array]:
        """Messages [...] as payloads [..., D] float32, and which agents say something ([...] bool)."""
        speaks = message < self.symbols
        coded = np.eye(self.symbols + self.silence, self.symbols, dtype=np.float32)[message]
        return coded * np.float32(math.sqrt(self.symbols)), speaks

    def read(self, payload: Tensor) -> Tensor:
        """Payloads [..., D] as they are shown: one-hot symbols."""
        symbol = payload.nan_to_num(0.0).argmax(-1)
        return torch.nn.functional.one_hot(symbol, self.symbols).float()

    def holds(self, message: Array) -> bool:
        """Whether these are messages [...] that can be sent."""
        return message.dtype.kind in "iu" and bool(((message >= 0) & (message < self.symbols + self.silence)).all())


class Vectors(Strict):
    """Messages are vectors of ``width`` numbers from -``limit`` to ``limit``; receivers clip what they get."""

    width: int = Field(8, ge=1, le=4096, description="entries of a message")
    limit: float = Field(1.0, gt=0, description="largest absolute value of an entry")

    @property
    def space(self) -> Space[Any]:
        """What an agent may say."""
        return Box(-self.limit, self.limit, (self.width,), np.float32)

    @property
    def low(self) -> float:
        """Smallest entry of a payload as it is shown."""
        return -self.limit

    def spoken(self, message: Array) -> tuple[Array, Array]:
        """Messages [..., D] as payloads, and which agents say something: all of them ([...] bool)."""
        return message.astype(np.float32).clip(-self.limit, self.limit), np.ones(message.shape[:-1], bool)

    def read(self, payload: Tensor) -> Tensor:
        """Payloads [..., D] as they are shown: clipped, with 0 for what is not a number."""
        return payload.nan_to_num(0.0).clamp(-self.limit, self.limit)

    def holds(self, message: Array) -> bool:
        """Whether these are messages [..., D] that can be sent."""
        return message.dtype.kind in "fiu" and message.shape[-1:] == (self.width,) and bool(np.isfinite(message).all())


Messages = Symbols | Vectors


class Received(NamedTuple):
    """What agents are shown of their inboxes, in K rows; [...] is nothing for one agent, [B, N] for a batch.

    Attributes:
        payload: [..., K, D] float32: one-hot symbols, or vectors; 0 in rows without a message.
        mask: [..., K] bool, rows with a message.
        sender: [..., K] int64, its sender as claimed, by number; N for outsiders, and for an empty last row.
        senders: N + 1, number of names that a sender can have.
    """

    payload: Any
    mask: Any
    sender: Any
    senders: int

    def flat(self, observation: Array) -> Array:
        """[..., W] float32: an observation [..., O], payloads, mask and one-hot senders: the wrapper's observation."""
        before = observation.shape[:-1]
        parts = (
            observation,
            np.asarray(self.payload).reshape(*before, -1),
            self.mask,
            np.eye(self.senders, dtype=np.float32)[self.sender].reshape(*before, -1),
        )
        return np.concatenate([np.asarray(part, np.float32) for part in parts], -1)

    def of(self, world: int, agent: int) -> Received:
        """The inbox of one agent in one world of a batch."""
        return Received(self.payload[world, agent], self.mask[world, agent], self.sender[world, agent], self.senders)

    def numpy(self) -> Received:
        """The same as arrays."""
        payload, mask, sender = (part.cpu().numpy() for part in (self.payload, self.mask, self.sender))
        return Received(payload, mask, sender, self.senders)


def receive(inbox: Inbox, messages: Messages) -> Received:
    """Sort the messages of inboxes into rows, and read them.

    Args:
        inbox: The delivered messages. Slots refer to senders as claimed; those of outsiders, to the receiver itself.
        messages: What messages are.

    Returns:
        Tensors for a batch.
    """
    agents = inbox.links.shape[1]
    width, slots = inbox.spoken.shape[-1], inbox.mask.shape[-1]
    if not slots:
        return empty(inbox.links, width)
    own = torch.arange(agents, device=inbox.mask.device).view(1, -1, 1)
    claimed = inbox.source.masked_fill(inbox.source == own, agents)
    same = claimed.unsqueeze(3) == inbox.links.unsqueeze(2)  # [B, N, M, k]
    row = torch.cat([same, ~same.any(-1, keepdim=True)], -1) & inbox.mask.unsqueeze(-1)
    number = torch.arange(1, slots + 1, device=row.device).view(1, 1, -1, 1)
    last = (row * number).amax(2) - 1  # the last slot of each row, or -1
    mask, slot = last >= 0, last.clamp_min(0)
    payload = messages.read(inbox.payload().gather(2, slot.unsqueeze(-1).expand(-1, -1, -1, width)))
    other = claimed.gather(2, slot[..., -1:]).masked_fill(~mask[..., -1:], agents)
    sender = torch.cat([inbox.links, other], -1)
    return Received(payload.masked_fill(~mask.unsqueeze(-1), 0.0), mask, sender, agents + 1)


def empty(links: Tensor, width: int) -> Received:
    """Inboxes without messages.

    Args:
        links: [B, N, k] int64, whom agents listen to.
        width: D.
    """
    rows = (*links.shape[:2], links.shape[2] + 1)
    sender = torch.nn.functional.pad(links, (0, 1), value=links.shape[1])
    mask = torch.zeros(rows, dtype=torch.bool, device=links.device)
    return Received(torch.zeros(*rows, width, device=links.device), mask, sender, links.shape[1] + 1)


def inbox_space(messages: Messages, rows: int, agents: int) -> Dict:
    """The space of one agent's inbox of K rows in a team of N."""
    high = 1.0 if isinstance(messages, Symbols) else messages.limit
    return Dict(
        {
            "payload": Box(messages.low, high, (rows, messages.width), np.float32),
            "mask": MultiBinary(rows),
            "sender": MultiDiscrete([agents + 1] * rows),
        }
    )


def fixed_topology(choice: TopologyChoice, agents: int, width: int) -> Topology:
    """Build a topology that needs no training.

    Raises:
        ConfigError: If it is learned.
    """
    made = choice.build(agents, width)
    if made.learned or made.dynamic:
        raise ConfigError(
            f"topology: {choice.name} is learned together with a policy of the testbed; choose a fixed one, such as"
            " full, ring, exponential or random"
        )
    return made


class Declared(NamedTuple):
    """How a callable takes part as a team's policy; see :func:`foreign_policy`."""

    messages: Messages
    batched: bool
    state: int
    topology: TopologyChoice


def foreign_policy(
    messages: Messages | None = None, *, batched: bool = False, state: int = 0, topology: Any = "full"
) -> Callable[[F], F]:
    """Decorator that declares how a callable, or a function that makes one, takes part as a team's policy.

    Per agent, it is called as ``policy(agent, observation, inbox)`` with the agent's name, its observation [O] and a
    :class:`Received` of one agent, and returns an action and a message; None as message says nothing. An action is a
    number, or [A] logits from which evaluation takes the likeliest or a sample; a vector for other action spaces.

    Batched, it is called as ``policy(observation, inbox)`` with arrays [B, N, O] and a :class:`Received` of [B, N], and
    returns actions [B, N] (or logits [B, N, A]) and messages [B, N] of symbols, or [B, N, D] of vectors.

    With a state, the last argument and the last result are what agents remember, [B, N, state] float32, or [state] per
    agent, which is 0 when an episode starts. The callable must remember nothing else.

    Args:
        messages: What messages are; None for four symbols.
        batched: Whether it is called for all worlds and agents at once.
        state: Numbers that each agent remembers.
        topology: Who listens to whom: a fixed topology, by name or as in a config.
    """

    def declare(function: F) -> F:
        choice = TopologyChoice.model_validate(topology)
        function.declared = Declared(messages or Symbols(), batched, state, choice)  # type: ignore[attr-defined]
        return function

    return declare
