"""int8: symmetric uniform quantization to multiples -127 .. 127 of one scale per payload.

scale = max |x| / 127, so the error of a number is at most scale / 2 (if the scale is a normal float32 number: payloads
above 1e-36). One large coordinate makes the quantization of all others coarse.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agentcomm.base.errors import MessageError
from agentcomm.codecs.bits import BitReader, as_batch, as_bytes, finite, sizes
from agentcomm.contracts.codec import Codec, Coded


def quantize(payload: Tensor) -> tuple[Tensor, Tensor]:
    """Integers [B, N, D] int8 and their scale [B, N, 1]; a payload of zeros has scale 0."""
    scale = payload.abs().amax(-1, keepdim=True) / 127
    steps = payload / torch.where(scale > 0, scale, 1.0)
    return steps.round().clamp(-127, 127).to(torch.int8), scale


class Int8(Codec):
    """Sends the scale as float32, then a signed byte for each number. ``bits = 32 + 8 D``."""

    def encode(self, payload: Tensor, memory: dict[str, Tensor], step: Tensor, round_: int) -> Coded:
        """Quantize each payload with its own scale."""
        steps, scale = quantize(payload)
        return Coded(steps.float() * scale, sizes(payload, 32 + 8 * self.team_shape.width))

    def pack(self, payload: NDArray[np.float32]) -> bytes:
        """Scale, then D signed bytes."""
        steps, scale = quantize(as_batch(payload))
        return as_bytes(scale, "float32") + steps.numpy().tobytes()

    def unpack(self, data: bytes) -> NDArray[np.float32]:
        """Read them back; raises MessageError for another length, a scale below zero, or the byte -128."""
        reader = BitReader(data)
        scale = reader.read_numbers(1, "float32")
        steps = np.frombuffer(
            reader.read(8 * self.team_shape.width).to_bytes(self.team_shape.width, "big"), dtype=np.int8
        )
        reader.end()
        if scale[0] < 0 or (steps == -128).any():
            raise MessageError("coded payload is not an int8 code: its scale is negative, or a number is -128")
        with np.errstate(over="ignore"):
            return finite(steps.astype(np.float32) * scale)
