"""my_codec: each number as one byte, in steps of 1/16 between -8 and 8."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agentcomm.base.errors import MessageError
from agentcomm.contracts.codec import Codec, Coded

STEPS = 16  # per unit
LARGEST = 127


class MyCodec(Codec):
    """Rounds to the nearest step, and clamps. ``bits = 8 D``."""

    def encode(self, payload: Tensor, memory: dict[str, Tensor], step: Tensor, round_: int) -> Coded:
        """The values that the bytes stand for, and the size of each payload."""
        whole = (payload.nan_to_num() * STEPS).round().clamp(-LARGEST, LARGEST)
        bits = torch.full(payload.shape[:-1], 8 * payload.shape[-1], dtype=torch.int64, device=payload.device)
        return Coded(whole / STEPS + 0.0, bits)  # no negative zero: a byte has none

    def pack(self, payload: NDArray[np.float32]) -> bytes:
        """One payload [D] as D bytes."""
        whole = (np.nan_to_num(payload) * np.float32(STEPS)).round().clip(-LARGEST, LARGEST)
        return whole.astype(np.int8).tobytes()

    def unpack(self, data: bytes) -> NDArray[np.float32]:
        """Read them back; rejects what ``pack`` cannot have written."""
        whole = np.frombuffer(data, np.int8)
        if len(whole) != self.team_shape.width or (whole < -LARGEST).any():
            raise MessageError(f"my_codec: {len(data)} bytes are no payload of {self.team_shape.width} numbers")
        return whole.astype(np.float32) / np.float32(STEPS)
