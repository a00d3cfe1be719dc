"""top_k: sends the k largest numbers of a payload with their indices; the others become zero.

A contraction: ||C(x) - x||^2 <= (1 - k/D) ||x||^2. Of equally large numbers those of the lowest index are kept.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from agentcomm.base.errors import ConfigError, MessageError
from agentcomm.codecs.bits import (
    NUMBER_BITS,
    BitReader,
    BitWriter,
    Number,
    as_batch,
    as_bytes,
    index_bits,
    narrow,
    sizes,
)
from agentcomm.contracts.codec import Codec, CodecConfig, Coded
from agentcomm.contracts.shape import TeamShape

# Numbers to keep: a share of the payload's width (0.25), or a count (8).
Kept = Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, le=1)]


def count_kept(k: int | float, width: int) -> int:
    """Number of kept numbers of a payload of ``width`` numbers; at least one.

    Raises:
        ConfigError: If it exceeds the width.
    """
    count = k if isinstance(k, int) else max(1, round(k * width))
    if count > width:
        raise ConfigError(f"k={k} exceeds the width of payloads: keep at most {width} numbers")
    return count


def largest(payload: Tensor, count: int) -> Tensor:
    """[B, N, count] indices of the largest magnitudes, in ascending order."""
    order = torch.sort(payload.abs(), dim=-1, descending=True, stable=True)
    return order.indices[..., :count].sort(-1).values


def sparsify(payload: Tensor, count: int, number: Number) -> tuple[Tensor, Tensor]:
    """Indices [B, N, count] and values [B, N, count] to send; negative zeros become zeros."""
    places = largest(payload, count)
    return places, narrow(payload.gather(-1, places), number) + 0.0


def spread(places: Tensor, values: Tensor, width: int) -> Tensor:
    """[B, N, width], zero except for the values at their indices."""
    return torch.zeros(*values.shape[:-1], width, device=values.device).scatter(-1, places, values)


def write_sparse(writer: BitWriter, payload: Tensor, count: int, number: Number) -> None:
    """Write indices and values of one payload [1, 1, D]."""
    places, values = sparsify(payload, count, number)
    for place in places.flatten().tolist():
        writer.write(place, index_bits(payload.shape[-1]))
    writer.write_bytes(as_bytes(values, number))


def read_sparse(reader: BitReader, width: int, count: int, number: Number) -> NDArray[np.float32]:
    """[width] a payload from :func:`write_sparse`; raises MessageError if indices are not ascending or out of range."""
    places = [reader.read(index_bits(width)) for _ in range(count)]
    if places[-1] >= width or any(a >= b for a, b in pairwise(places)):
        raise MessageError("coded payload is not a sparse code: its indices are not ascending, or exceed the width")
    values = np.zeros(width, dtype=np.float32)
    values[places] = reader.read_numbers(count, number)
    return values


def sparse_bits(width: int, count: int, number: Number) -> int:
    """Size of ``count`` indices and values, in bits."""
    return count * (index_bits(width) + NUMBER_BITS[number])


class TopKConfig(CodecConfig):
    """Arguments of ``top_k``."""

    k: Kept = Field(0.25, description="numbers to keep: a share of the width (0.25) or a count (8)")
    number: Number = Field("float16", description="format of the kept numbers; float16 clamps to +-65504")


class TopK(Codec[TopKConfig]):
    """Sends k indices, then k numbers. ``bits = k (ceil(log2 D) + 16 or 32)``."""

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Some numbers, one, and all of them."""
        return {"": {}, "of one": {"k": 1, "number": "float32"}, "of all": {"k": 1.0}}

    def __init__(self, config: TopKConfig, team_shape: TeamShape) -> None:
        super().__init__(config, team_shape)
        self.count = count_kept(config.k, team_shape.width)

    def encode(self, payload: Tensor, memory: dict[str, Tensor], step: Tensor, round_: int) -> Coded:
        """Keep the largest numbers."""
        width, number = self.team_shape.width, self.config.number
        values = spread(*sparsify(payload, self.count, number), width)
        return Coded(values, sizes(payload, sparse_bits(width, self.count, number)))

    def pack(self, payload: NDArray[np.float32]) -> bytes:
        """Indices in ascending order, then numbers."""
        writer = BitWriter()
        write_sparse(writer, as_batch(payload), self.count, self.config.number)
        return writer.to_bytes()

    def unpack(self, data: bytes) -> NDArray[np.float32]:
        """Read them back; raises MessageError for another length, indices out of order or numbers not finite."""
        reader = BitReader(data)
        values = read_sparse(reader, self.team_shape.width, self.count, self.config.number)
        reader.end()
        return values
