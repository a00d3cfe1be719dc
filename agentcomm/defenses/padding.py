"""padding: fill messages up to the next multiple of a bucket, so that their sizes tell little about their contents.

Codecs that spend more bytes on richer payloads, and numbers in headers that grow, give each message a size of its own.
Padded to buckets, an observer learns the number of the bucket and no more; with a bucket as long as the longest
message, nothing (RFC 8446, section 5.4; RFC 8467).

It assumes that payloads are encrypted, padding included. It cannot hide whether a message is sent: see
``constant_rate``. Small buckets leave as many distinguishable sizes as they are many.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field
from torch import Tensor

from agentcomm.contracts.defense import Defense, DefenseConfig
from agentcomm.contracts.deployment import Deployment


class PaddingConfig(DefenseConfig):
    """Arguments of ``padding``."""

    bucket: int = Field(256, ge=1, le=65536, description="bytes to whose next multiple a message is filled up")


class Padding(Defense[PaddingConfig]):
    """Adds bytes to messages of agents."""

    order = "schema"
    answers = ("ua.l1.encryption_and_traffic_obfuscation",)
    adaptive = ("eavesdrop:encrypted=true",)
    refuses = False

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Small buckets."""
        return {"": {"bucket": 64}}

    def assumes(self, deployment: Deployment) -> dict[str, bool | float | str]:
        """Payloads that observers cannot read."""
        return super().assumes(deployment) | {"encryption": True}

    def pad(self, size: Tensor) -> Tensor:
        """[B, N, M] int64 bytes, the next multiple of the bucket."""
        bucket = self.config.bucket
        return (size + bucket - 1) // bucket * bucket
