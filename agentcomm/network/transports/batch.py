"""The batch transport: messages are tensors, seals are symbolic, and sizes are computed without producing bytes."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.traffic import Traffic
from agentcomm.contracts.transport import Transport, Wire
from agentcomm.wire.encoding import sizes
from agentcomm.wire.keyring import Keyring

SEAL_BYTES = 32  # of an HMAC-SHA256 tag
LARGEST = {"sent_round": 0xFF, "hops": 0xFF, "sender": 0xFFFF, "audience": 0xFFFF}
LARGEST |= dict.fromkeys(("sequence", "sent_at", "expiry"), 0xFFFF_FFFF)


class BatchTransport(Transport):
    """Carries the messages of thousands of worlds as tensors.

    Args:
        team_shape: Unused; the traffic has all sizes.
        keyring: Verifies symbolic seals.
        seed: Unused; there are no real keys.
    """

    writes_codecs: ClassVar[bool] = True

    def __init__(self, team_shape: TeamShape, keyring: Keyring, seed: int) -> None:
        self._keyring = keyring

    def send(self, sent: Traffic, departed: Traffic, wire: Wire) -> Tensor:
        """[B, N, M] int64 bytes; numbers too large for an envelope are clamped to its largest ones."""
        fields = {name: getattr(departed, name).clamp(0, top) for name, top in LARGEST.items()}
        seal_bytes = (departed.seal != 0) * SEAL_BYTES
        return sizes(
            **fields, key=departed.key, payload_bytes=wire.payload_bytes, seal_bytes=seal_bytes, codec=wire.codec
        )

    def carry(self, step: Tensor, round_: int, lost: Tensor, waits: Tensor, hops: Tensor, released: Tensor) -> None:
        """Do nothing: the link stores the tensors of delayed messages."""

    def receive(self, traffic: Traffic) -> Traffic:
        """The traffic, unchanged."""
        return traffic

    def verify(self, traffic: Traffic) -> Tensor:
        """[B, N, M] bool, by the symbolic keyring."""
        return self._keyring.verify(traffic)

    def signers(self, traffic: Traffic) -> Tensor:
        """[B, N, M] int64, by the symbolic keyring; -1 for none."""
        return self._keyring.signers(traffic)

    def reset(self, worlds: Tensor) -> None:
        """Do nothing: this transport has no state."""
