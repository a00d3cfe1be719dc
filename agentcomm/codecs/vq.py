"""vq: vector quantization; every group of a payload is replaced by the nearest codeword of a shared codebook.

Payloads are small and have equal size, and receivers get an integrity check: honest senders only send codewords, so the
defense ``codeword`` rejects payloads outside the codebook.
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
    """Sends the index of a codeword for each group. ``bits = groups log2(codewords)``.

    Payloads are clamped to +-65504 first.
    """

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """The default, a fine and a coarse codebook."""
        return {"": {}, "fine": {"groups": 16, "codewords": 64, "seed": 3}, "coarse": {"groups": 1, "codewords": 2}}

    def __init__(self, config: VectorQuantizationConfig, team_shape: TeamShape) -> None:
        super().__init__(config, team_shape)
        self.codebook = get_codebook(config, team_shape.width)
        self._on_device = self.codebook.to(team_shape.device)

    def encode(self, payload: Tensor, memory: dict[str, Tensor], step: Tensor, round_: int) -> Coded:
        """Replace every group by its nearest codeword."""
        code = nearest(payload.clamp(-LARGEST, LARGEST), self._on_device)
        bits = self.config.groups * index_bits(self.config.codewords)
        return Coded(look_up(code, self._on_device), sizes(payload, bits))

    def pack(self, payload: NDArray[np.float32]) -> bytes:
        """The index of each group's codeword."""
        writer = BitWriter()
        for number in nearest(as_batch(payload).clamp(-LARGEST, LARGEST), self.codebook).flatten().tolist():
            writer.write(number, index_bits(self.config.codewords))
        return writer.to_bytes()

    def unpack(self, data: bytes) -> NDArray[np.float32]:
        """Look up the codewords; raises MessageError for another length. All indices are valid."""
        reader = BitReader(data)
        code = torch.tensor([reader.read(index_bits(self.config.codewords)) for _ in range(self.config.groups)])
        reader.end()
        values: NDArray[np.float32] = look_up(code, self.codebook).numpy()
        return values
