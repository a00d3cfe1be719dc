"""What a defense at the senders is shown of the messages of an exchange, before they are sealed."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Outgoing:
    """The links of an exchange, and the messages that agents send over them.

    Attributes:
        step: [B] int64.
        round: Exchange within the step.
        sent: [B, N, k] bool, links on which a message leaves.
        due: [B, N] bool, receivers whose messages this exchange carries; where agents act in turns, the others get
            theirs in another exchange of the step.
        source: [B, N, k] int64, the sender of each link.
    """

    step: Tensor
    round: int
    sent: Tensor
    due: Tensor
    source: Tensor
