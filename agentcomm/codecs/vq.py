"""vq: every part of a payload is replaced by the nearest codeword of a codebook that both sides know.

Few bits, all payloads of one size, and an integrity check for free: what is no codeword was not said by an honest
sender (defense ``codeword``).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agentcomm.codecs.bits import LARGEST, BitReader, BitWriter, as_batch, index_bits, sizes
from agentcomm.codecs.codebook import CodebookConfig, get_codebook, look_up, nearest
from agentcomm.contracts.codec import Codec, CodecConfig, Coded
from agentcomm.contracts.shape import TeamShape


class VectorQuantizationConfig(CodebookConfig, CodecConfig):
    """Arguments of ``vq``."""


class VectorQuantization(Codec[VectorQuantizationConfig]):
    """Sends a codeword's number for each group. ``bits = groups log2(codewords)``.

    Payloads are clamped to +-65504 before the nearest codeword is looked for.
    """

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Fine and coarse codebooks, too."""
        return {"": {}, "fine": {"groups": 16, "codewords": 64, "seed": 3}, "coarse": {"groups": 1, "codewords": 2}}

    def __init__(self, config: VectorQuantizationConfig, team_shape: TeamShape) -> None:
        super().__init__(config, team_shape)
        self.codebook = get_codebook(config, team_shape.width)
        self._on_device = self.codebook.to(team_shape.device)

    def encode(self, payload: Tensor, memory: dict[str, Tensor], step: Tensor, round_: int) -> Coded:
        """Replace every part by its nearest codeword."""
        code = nearest(payload.clamp(-LARGEST, LARGEST), self._on_device)
        bits = self.config.groups * index_bits(self.config.codewords)
        return Coded(look_up(code, self._on_device), sizes(payload, bits))

    def pack(self, payload: NDArray[np.float32]) -> bytes:
        """The number of each group's codeword."""
        writer = BitWriter()
        for number in nearest(as_batch(payload).clamp(-LARGEST, LARGEST), self.codebook).flatten().tolist():
            writer.write(number, index_bits(self.config.codewords))
        return writer.to_bytes()

    def unpack(self, data: bytes) -> NDArray[np.float32]:
        """Look the codewords up; raises MessageError for another length. Any numbers are a code."""
        reader = BitReader(data)
        code = torch.tensor([reader.read(index_bits(self.config.codewords)) for _ in range(self.config.groups)])
        reader.end()
        values: NDArray[np.float32] = look_up(code, self.codebook).numpy()
        return values
