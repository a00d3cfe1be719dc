"""The contract of a codec: it compresses payloads to few bits on the wire, and decodes them at the receivers."""

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
    """Encoded payloads.

    Attributes:
        values: [B, N, W] float32, the values that the bits on the wire represent.
        bits: [B, N] int64, size of each payload in bits.
    """

    values: Tensor
    bits: Tensor


@dataclass(frozen=True)
class Received:
    """Encoded payloads in the inboxes, of the messages that have not been refused so far.

    Attributes:
        values: [B, N, M, W] values as they arrived.
        present: [B, N, M] bool.
        sender: [B, N, M] int64, claimed sender.
        sequence: [B, N, M] int64, sequence number.
        step: [B] int64, step of each world's episode.
        round: Round within the step.
    """

    values: Tensor
    present: Tensor
    sender: Tensor
    sequence: Tensor
    step: Tensor
    round: int


class CodecConfig(PluginConfig):
    """Arguments of every codec."""


C_co = TypeVar("C_co", bound=CodecConfig, default=CodecConfig, covariant=True)


class Codec(Plugin[C_co]):
    """Compresses payloads. Implement :meth:`encode`, :meth:`pack` and :meth:`unpack`; if stateful, also :meth:`decode`.

    The batch never produces bytes: it computes the values they represent and their size. ``pack`` and ``unpack``
    convert one payload to bytes and back, and agree with ``encode``: ``unpack(pack(x))`` equals ``encode(x).values`` to
    the last bit, and ``pack(x)`` has ``ceil(bits / 8)`` bytes.

    Attributes:
        charges: Whether training pays for what is sent; if so, :meth:`price` is called.
        stateful: Whether decoding depends on more than the payload, such as earlier messages or the sender; if so,
            :meth:`decode` is called.
    """

    stateful: ClassVar[bool] = False
    charges: bool = False

    def __init__(self, config: C_co, team_shape: TeamShape) -> None:
        self.config = config
        self.team_shape = team_shape

    @abstractmethod
    def encode(self, payload: Tensor, memory: dict[str, Tensor], step: Tensor, round_: int) -> Coded:
        """Encode the payloads of all agents.

        Args:
            payload: [B, N, D] float32.
            memory: The tensors of :meth:`memory`; may be changed in place.
            step: [B] int64, step of each world's episode.
            round_: Round within the step.
        """

    def decode(self, received: Received, memory: dict[str, Tensor]) -> Tensor:
        """[B, N, M, D] payloads decoded from the values that arrived; by default, these values themselves."""
        return received.values

    def memory(self) -> dict[str, Tensor]:
        """Fresh memory: tensors [B, ...], whose rows are reset when the episode of their world ends."""
        return {}

    def price(self, payload: Tensor) -> Tensor:
        """[...] what payloads [..., D] cost in the loss of training, differentiable: 0 unless it ``charges``."""
        return payload.new_zeros(payload.shape[:-1])

    @abstractmethod
    def pack(self, payload: NDArray[np.float32]) -> bytes:
        """One payload [D] (for a stateful codec, one frame) as bytes."""

    @abstractmethod
    def unpack(self, data: bytes) -> NDArray[np.float32]:
        """The values [W] that the bytes represent.

        Raises:
            MessageError: If the codec cannot have written the bytes: too short, too long, or values out of range.
        """
