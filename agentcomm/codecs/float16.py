"""float16: half the size of float32 payloads, at a relative error of 2^-11.

Numbers beyond +-65504, the range of IEEE binary16, are clamped; numbers below 6e-8 become zero.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from agentcomm.codecs.bits import BitReader, as_batch, as_bytes, narrow, sizes
from agentcomm.contracts.codec import Codec, Coded


class Float16(Codec):
    """Rounds to the nearest half-precision number. ``bits = 16 D``."""

    def encode(self, payload: Tensor, memory: dict[str, Tensor], step: Tensor, round_: int) -> Coded:
        """Round each number."""
        return Coded(narrow(payload, "float16"), sizes(payload, 16 * self.team_shape.width))

    def pack(self, payload: NDArray[np.float32]) -> bytes:
        """D numbers in network byte order."""
        return as_bytes(narrow(as_batch(payload), "float16"), "float16")

    def unpack(self, data: bytes) -> NDArray[np.float32]:
        """Read them back; raises MessageError for another length or a number that is not finite."""
        reader = BitReader(data)
        values = reader.read_numbers(self.team_shape.width, "float16")
        reader.end()
        return values
