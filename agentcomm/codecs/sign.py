"""sign: one bit per number, its sign, times the mean magnitude of the payload.

The scaled sign of signSGD with error feedback (arXiv 1901.09847): a contraction with
||C(x) - x||^2 = (1 - ||x||_1^2 / (D ||x||_2^2)) ||x||^2. Zeros, including negative ones, count as positive.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agentcomm.base.errors import MessageError
from agentcomm.codecs.bits import BitReader, BitWriter, as_batch, as_bytes, sizes, tree_sum
from agentcomm.contracts.codec import Codec, Coded


def mean_magnitude(payload: Tensor) -> Tensor:
    """[B, N, 1] mean magnitude; numbers are divided before summation to avoid overflow."""
    return tree_sum(payload.abs() / payload.shape[-1]).unsqueeze(-1)


class Sign(Codec):
    """Sends the mean magnitude as float32, then a bit for each number, set if it is negative. ``bits = 32 + D``."""

    def encode(self, payload: Tensor, memory: dict[str, Tensor], step: Tensor, round_: int) -> Coded:
        """Keep signs and one scale."""
        scale = mean_magnitude(payload)
        return Coded(torch.where(payload < 0, -scale, scale), sizes(payload, 32 + self.team_shape.width))

    def pack(self, payload: NDArray[np.float32]) -> bytes:
        """Scale, then D bits."""
        batch, writer = as_batch(payload), BitWriter()
        writer.write_bytes(as_bytes(mean_magnitude(batch), "float32"))
        for negative in (batch < 0).flatten().tolist():
            writer.write(negative, 1)
        return writer.to_bytes()

    def unpack(self, data: bytes) -> NDArray[np.float32]:
        """Read them back; raises MessageError for another length or a scale that is negative or not finite."""
        reader = BitReader(data)
        scale = reader.read_numbers(1, "float32")
        negative = np.array([reader.read(1) for _ in range(self.team_shape.width)], dtype=bool)
        reader.end()
        if scale[0] < 0:
            raise MessageError("coded payload is not a sign code: its scale is negative")
        return np.where(negative, -scale, scale)
