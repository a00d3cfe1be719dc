"""float32: uncompressed payloads of 32 bits per number; the baseline of all other codecs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from agentcomm.codecs.bits import BitReader, as_batch, as_bytes, sizes
from agentcomm.contracts.codec import Codec, Coded


class Float32(Codec):
    """Lossless. ``bits = 32 D``."""

    def encode(self, payload: Tensor, memory: dict[str, Tensor], step: Tensor, round_: int) -> Coded:
        """The payload itself."""
        return Coded(payload, sizes(payload, 32 * self.team_shape.width))

    def pack(self, payload: NDArray[np.float32]) -> bytes:
        """D numbers in network byte order."""
        return as_bytes(as_batch(payload), "float32")

    def unpack(self, data: bytes) -> NDArray[np.float32]:
        """Read them back; raises MessageError for another length or a number that is not finite."""
        reader = BitReader(data)
        values = reader.read_numbers(self.team_shape.width, "float32")
        reader.end()
        return values
