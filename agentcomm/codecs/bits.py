"""Helpers of codecs: reading and writing bits, half-precision numbers, and reproducible sums.

Batch and bytes must agree to the last bit for any batch size and device. Elementwise IEEE arithmetic guarantees this,
but reductions and ``topk`` do not. Therefore sums are computed in a fixed order, and ties go to the lowest index.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agentcomm.base.errors import MessageError

Number = Literal["float16", "float32"]
NUMBER_BITS: dict[Number, int] = {"float16": 16, "float32": 32}
LARGEST = 65504.0  # largest float16 number; larger ones are clamped


def narrow(values: Tensor, number: Number) -> Tensor:
    """Float32 values after rounding to a format; float16 clamps to +-65504."""
    return values if number == "float32" else values.clamp(-LARGEST, LARGEST).half().float()


def tree_sum(values: Tensor) -> Tensor:
    """Sum over the last dimension, pairwise and in the same order for any batch and device."""
    while (width := values.shape[-1]) > 1:
        values = torch.nn.functional.pad(values, (0, width % 2))
        half = values.shape[-1] // 2
        values = values[..., :half] + values[..., half:]
    return values.squeeze(-1)


def index_bits(count: int) -> int:
    """Number of bits of an integer in 0 .. count - 1."""
    return (count - 1).bit_length()


def as_batch(payload: NDArray[np.float32]) -> Tensor:
    """One payload [D] as a batch [1, 1, D], so that bytes are computed by the code of the batch."""
    return torch.from_numpy(np.array(payload, dtype=np.float32)).view(1, 1, -1)


def as_bytes(values: Tensor, number: Number) -> bytes:
    """Numbers in network byte order."""
    return values.detach().cpu().numpy().astype(f">f{NUMBER_BITS[number] // 8}").tobytes()


class BitWriter:
    """Writes integers and bytes as a stream of bits, most significant bit first."""

    def __init__(self) -> None:
        self._value = 1  # a leading one keeps zeros
        self.bits = 0

    def write(self, value: int, bits: int) -> None:
        """Append an integer of at most ``bits`` bits."""
        self._value = self._value << bits | value
        self.bits += bits

    def write_bytes(self, data: bytes) -> None:
        """Append bytes, at any bit position."""
        self.write(int.from_bytes(data, "big"), 8 * len(data))

    def to_bytes(self) -> bytes:
        """The stream as bytes, padded with zeros."""
        padding, size = -self.bits % 8, math.ceil(self.bits / 8)
        return (self._value << padding).to_bytes(size + 1, "big")[1:]


class BitReader:
    """Reads the output of :class:`BitWriter`; raises MessageError at its end."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self.left = 8 * len(data)

    def read(self, bits: int) -> int:
        """The next ``bits`` bits as an integer.

        Raises:
            MessageError: If fewer are left.
        """
        if bits > self.left:
            raise MessageError(f"coded payload ends too early: {bits} more bits expected, {self.left} left")
        self.left -= bits
        return self._value >> self.left & (1 << bits) - 1

    def read_numbers(self, count: int, number: Number) -> NDArray[np.float32]:
        """The next ``count`` numbers.

        Raises:
            MessageError: If fewer are left, or one is infinite or not a number.
        """
        bits = NUMBER_BITS[number]
        data = self.read(count * bits).to_bytes(count * bits // 8, "big")
        return finite(np.frombuffer(data, dtype=f">f{bits // 8}").astype(np.float32))

    def end(self) -> None:
        """Check that only padding zeros are left.

        Raises:
            MessageError: If other bits follow.
        """
        if self.left >= 8 or self.read(self.left):
            raise MessageError("coded payload has data after its end")


def finite(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The values, if all are finite.

    Raises:
        MessageError: If one is infinite or not a number.
    """
    if not np.isfinite(values).all():
        raise MessageError("coded payload contains a number that is not finite")
    return values


def sizes(payload: Tensor, bits: int) -> Tensor:
    """[B, N] int64, the same size for every payload [B, N, D]."""
    return torch.full(payload.shape[:2], bits, dtype=torch.int64, device=payload.device)
