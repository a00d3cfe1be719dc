"""ddcl: quantization with subtractive dither, which is differentiable (DDCL, arXiv 2511.01554).

Sender and receivers share noise u, uniform in (-delta/2, delta/2). The sender transmits the integers
``n = round((z + u) / delta)`` and receivers reconstruct ``delta n - u``. The error is uniform in the same interval and
independent of z (Schuchman, IEEE Trans. Commun. Technol. 12(4), 1964), so it is additive noise: d/dz = 1 without bias.
A rollout records the error, and an update adds it to the present payload as a constant.

Training charges ``price`` per bit of the bound ``sum log2(2 |z| / delta + 1)``, so payloads shrink where precision is
worth less than bits.

Deviations, since no code has been found and the paper was read in summaries only: u is a counter-based hash of a seed,
the sender and the sequence number, so nobody stores or sends it, and it repeats with each episode; integers are written
in Elias gamma code (IEEE Trans. Inf. Theory 21(2), 1975), whose real size is what the ledger counts; and the price
applies to all payloads, whoever listens.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from agentcomm.base.errors import MessageError
from agentcomm.codecs.bits import BitReader, BitWriter
from agentcomm.contracts.codec import Codec, CodecConfig, Coded, Received
from agentcomm.contracts.shape import TeamShape
from agentcomm.wire.keyring import mix

STEPS = 2**20  # largest |n|: float32 tells its multiples of delta apart
_STRIDE = 0x1E3779B97F4A7C15  # an odd step between counters (splitmix64)


class DDCLConfig(CodecConfig):
    """Arguments of ``ddcl``."""

    delta: float = Field(1.0, ge=1e-6, le=1e6, description="width of a quantization step")
    price: float = Field(4e-3, ge=0, description="what a bit costs in the loss of training, in units of PPO's loss")
    seed: int = Field(0, ge=0, description="seed of the noise that all agents share")


class DDCL(Codec[DDCLConfig]):
    """Sends D integers in Elias gamma code. ``bits = sum 1 + 2 floor(log2(k))``, k = 2 n for n > 0, else 1 - 2 n."""

    stateful = True  # decoding needs sender and sequence number, but no memory

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """The default, and fine steps."""
        return {"": {}, "fine": {"delta": 0.05, "seed": 3}}

    def __init__(self, config: DDCLConfig, team_shape: TeamShape) -> None:
        super().__init__(config, team_shape)
        self.charges = config.price > 0

    def noise(self, sender: Tensor, sequence: Tensor) -> Tensor:
        """[..., D], the shared noise of messages with these senders and sequence numbers, int64 [...] each."""
        start = mix(mix(sequence + self.config.seed * _STRIDE) + sender)
        place = torch.arange(1, self.team_shape.width + 1, device=sender.device) * _STRIDE
        bits = (mix(start.unsqueeze(-1) + place) >> 41) & 0x7FFFFF  # 23 bits, so that no number rounds to 1
        return ((bits.float() + 0.5) / 2**23 - 0.5) * self.config.delta

    def encode(self, payload: Tensor, memory: dict[str, Tensor], step: Tensor, round_: int) -> Coded:
        """Round to multiples of delta after adding the noise."""
        sender = torch.arange(payload.shape[1], device=payload.device).view(1, -1)
        u = self.noise(sender, (step * self.team_shape.rounds + round_).view(-1, 1))
        n = ((payload + u) / self.config.delta).clamp(-STEPS, STEPS).round().long()
        length = torch.frexp(_code(n).double()).exponent.long()  # floor(log2) + 1
        return Coded(n.float() * self.config.delta, (2 * length - 1).sum(-1))

    def decode(self, received: Received, memory: dict[str, Tensor]) -> Tensor:
        """Subtract the noise that belongs to the claimed sender and the sequence number."""
        return received.values - self.noise(received.sender, received.sequence)

    def price(self, payload: Tensor) -> Tensor:
        """The price of a bit times the bound ``sum log2(2 |z| / delta + 1)``."""
        return self.config.price * (2 * payload.abs() / self.config.delta + 1).log2().sum(-1)

    def pack(self, payload: NDArray[np.float32]) -> bytes:
        """The frame [D], multiples of delta, as Elias gamma codes."""
        n = (torch.from_numpy(np.array(payload, dtype=np.float64)) / self.config.delta).round().long()
        writer = BitWriter()
        for code in _code(n).tolist():
            writer.write(code, 2 * code.bit_length() - 1)  # as many leading zeros as bits follow the first one
        return writer.to_bytes()

    def unpack(self, data: bytes) -> NDArray[np.float32]:
        """The frame [D]; raises MessageError for another length or an integer out of range."""
        reader = BitReader(data)
        codes = [_read(reader) for _ in range(self.team_shape.width)]
        reader.end()
        n = torch.tensor([code // 2 if code % 2 == 0 else -(code // 2) for code in codes])
        values: NDArray[np.float32] = (n.float() * self.config.delta).numpy()
        return values


def _code(n: Tensor) -> Tensor:
    """Integers as positive ones: 0, 1, -1, 2, -2, ... become 1, 2, 3, 4, 5, ..."""
    return torch.where(n > 0, 2 * n, 1 - 2 * n)


def _read(reader: BitReader) -> int:
    """The next Elias gamma code."""
    zeros = 0
    while not reader.read(1):
        zeros += 1
        if zeros > STEPS.bit_length():
            raise MessageError(f"coded payload is not a ddcl code: an integer is beyond +-{STEPS}")
    code = 1 << zeros | reader.read(zeros)
    if code > 2 * STEPS + 1:
        raise MessageError(f"coded payload is not a ddcl code: an integer is beyond +-{STEPS}")
    return code
