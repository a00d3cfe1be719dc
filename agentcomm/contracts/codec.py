"""The contract of a codec: payloads become few bits on the wire, and numbers again at the receivers."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import TypeVar

from agentcomm.base.plugin import Plugin, PluginConfig
from agentcomm.contracts.shape import TeamShape


class Coded(NamedTuple):
    """Payloads on the wire.

    Attributes:
        values: [B, N, W] float32, what travels, as it is read back from the bits.
        bits: [B, N] int64, size of each.
    """

    values: Tensor
    bits: Tensor


@dataclass(frozen=True)
class Received:
    """What lies in the inboxes: of the messages that were not refused so far.

    Attributes:
        values: [B, N, M, W] as they arrived.
        present: [B, N, M] bool.
        sender: [B, N, M] int64, claimed.
        sequence: [B, N, M] int64.
        step: [B] int64.
        round: Exchange within the step.
    """

    values: Tensor
    present: Tensor
    sender: Tensor
    sequence: Tensor
    step: Tensor
    round: int


class CodecConfig(PluginConfig):
    """Arguments every codec has."""


C_co = TypeVar("C_co", bound=CodecConfig, default=CodecConfig, covariant=True)


class Codec(Plugin[C_co]):
    """Implement :meth:`encode`, :meth:`pack` and :meth:`unpack`; one that remembers, :meth:`decode`, too.

    The batch never makes bytes: it computes what they would say and how many they would be. ``pack`` and
    ``unpack`` make them, for one payload, and agree with it: ``unpack(pack(x))`` is ``encode(x).values`` to the last
    bit, and ``pack(x)`` has ``ceil(bits / 8)`` bytes.

    Attributes:
        stateful: Whether receivers need to remember what they heard; then :meth:`decode` is called.
    """

    stateful: ClassVar[bool] = False

    def __init__(self, config: C_co, team_shape: TeamShape) -> None:
        self.config = config
        self.team_shape = team_shape

    @abstractmethod
    def encode(self, payload: Tensor, memory: dict[str, Tensor], step: Tensor, round_: int) -> Coded:
        """Encode what all agents say.

        Args:
            payload: [B, N, D] float32.
            memory: The tensors of :meth:`memory`; may be changed in place.
            step: [B] int64, step of each world's episode.
            round_: Exchange within the step.
        """

    def decode(self, received: Received, memory: dict[str, Tensor]) -> Tensor:
        """[B, N, M, D] payloads from what arrived; what travels is the payload itself unless a codec says otherwise."""
        return received.values

    def memory(self) -> dict[str, Tensor]:
        """Fresh memory: tensors [B, ...] that are reset with their world."""
        return {}

    @abstractmethod
    def pack(self, payload: NDArray[np.float32]) -> bytes:
        """One payload [D] (or increment, for one that remembers) as bytes."""

    @abstractmethod
    def unpack(self, data: bytes) -> NDArray[np.float32]:
        """The values [W] that the bytes say.

        Raises:
            MessageError: If these are no bytes of this codec: too short, too long, or values out of range.
        """
