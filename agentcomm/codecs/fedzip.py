"""fedzip: the largest numbers, quantized to three centroids, with Huffman codes.

FedZip (arXiv 2102.01593) for messages: sparsify by magnitude, cluster the remaining numbers by k-means with three
centroids, and write symbols and index gaps in Huffman codes. Only the table of symbols is sent, as three word lengths,
since it depends on the payload. The table of gaps is known to both sides: it is optimal for k indices drawn uniformly
from D, P(gap = g) = C(D - 1 - g, k - 1) / C(D, k). Sending one per payload would cost more than the indices.

The size of a message depends on its content, so even an encrypted message leaks information through its length.
"""

from __future__ import annotations

from math import comb
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from agentcomm.base.errors import MessageError
from agentcomm.codecs.bits import LARGEST, BitReader, BitWriter, as_batch, as_bytes, narrow, tree_sum
from agentcomm.codecs.huffman import Code, code_lengths
from agentcomm.codecs.top_k import Kept, count_kept, largest, spread
from agentcomm.contracts.codec import Codec, CodecConfig, Coded
from agentcomm.contracts.shape import TeamShape

ITERATIONS = 10


def assign(values: Tensor, centroids: Tensor) -> Tensor:
    """[..., k] int64, the nearest of the centroids [..., 3], which are in ascending order; the lower one of two."""
    middle = (centroids[..., :-1] + centroids[..., 1:]) / 2
    return (values.unsqueeze(-1) > middle.unsqueeze(-2)).sum(-1)


def cluster(values: Tensor) -> Tensor:
    """[..., 3] centroids of values [..., k]: Lloyd's iterations from the quantiles 1/6, 1/2 and 5/6."""
    count = values.shape[-1]
    centroids = values.sort(-1).values[..., [count // 6, count // 2, 5 * count // 6]]
    for _ in range(ITERATIONS):
        member = assign(values, centroids).unsqueeze(-2) == torch.arange(3, device=values.device).unsqueeze(-1)
        total = tree_sum(values.unsqueeze(-2).masked_fill(~member, 0.0))
        size = member.sum(-1)
        centroids = torch.where(size > 0, total / size.clamp_min(1), centroids)
    return centroids


class FedZipConfig(CodecConfig):
    """Arguments of ``fedzip``."""

    k: Kept = Field(0.25, description="numbers to keep: a share of the width (0.25) or a count (8)")


class FedZip(Codec[FedZipConfig]):
    """Sends three float16 centroids, three 2-bit word lengths, then gap and symbol of each kept number.

    ``bits = 48 + 6 + sum of gap words + sum of symbol words``. Three symbols that occur f times each take
    ``2 k - max f`` bits, two take k, and so does a single one. Numbers are clamped to +-65504, the range of float16.
    """

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Some numbers, one, and all of them."""
        return {"": {}, "of one": {"k": 1}, "of all": {"k": 1.0}}

    def __init__(self, config: FedZipConfig, team_shape: TeamShape) -> None:
        super().__init__(config, team_shape)
        self.count = count_kept(config.k, team_shape.width)
        spare = team_shape.width - self.count
        lengths = code_lengths([comb(team_shape.width - 1 - gap, self.count - 1) for gap in range(spare + 1)])
        self.gap_code = Code(lengths)
        self._gap_bits = torch.tensor(lengths, device=team_shape.device)

    def _compress(self, payload: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Indices, gaps before them and symbols, [B, N, k] each, and the centroids [B, N, 3]."""
        places = largest(payload, self.count)
        gaps = places.diff(dim=-1, prepend=torch.full_like(places[..., :1], -1)) - 1
        kept = payload.gather(-1, places).clamp(-LARGEST, LARGEST)
        centroids = narrow(cluster(kept), "float16")
        return places, gaps, assign(kept, centroids), centroids

    def encode(self, payload: Tensor, memory: dict[str, Tensor], step: Tensor, round_: int) -> Coded:
        """Compress each payload and compute the size of its code."""
        places, gaps, symbols, centroids = self._compress(payload)
        values = spread(places, centroids.gather(-1, symbols), self.team_shape.width)
        occurs = torch.stack([(symbols == s).sum(-1) for s in range(3)], -1)
        all_three = (occurs > 0).all(-1)
        symbol_bits = torch.where(all_three, 2 * self.count - occurs.amax(-1), self.count)
        return Coded(values, 48 + 6 + symbol_bits + self._gap_bits[gaps].sum(-1))

    def pack(self, payload: NDArray[np.float32]) -> bytes:
        """Centroids, word lengths, and for each kept number its gap and its symbol."""
        _, gaps, symbols, centroids = self._compress(as_batch(payload))
        lengths = code_lengths(symbols.flatten().bincount(minlength=3).tolist())
        code, writer = Code(lengths), BitWriter()
        writer.write_bytes(as_bytes(centroids, "float16"))
        for length in lengths:
            writer.write(length, 2)
        for gap, symbol in zip(gaps.flatten().tolist(), symbols.flatten().tolist(), strict=True):
            self.gap_code.write(writer, gap)
            code.write(writer, symbol)
        return writer.to_bytes()

    def unpack(self, data: bytes) -> NDArray[np.float32]:
        """Read them back; raises MessageError for another length, tables that are no code, or unknown words."""
        reader = BitReader(data)
        centroids = reader.read_numbers(3, "float16")
        lengths = [reader.read(2) for _ in range(3)]
        if sorted(lengths) not in ([0, 0, 1], [0, 1, 1], [1, 2, 2]):
            raise MessageError(f"coded payload is not a fedzip code: no Huffman code has words of {lengths} bits")
        code, place = Code(lengths), -1
        values = np.zeros(self.team_shape.width, dtype=np.float32)
        for _ in range(self.count):
            place += 1 + self.gap_code.read(reader)
            if place >= self.team_shape.width:
                raise MessageError("coded payload is not a fedzip code: an index exceeds its width")
            values[place] = centroids[code.read(reader)]
        reader.end()
        return values
