"""What a defense thought of messages, held against what an attack did to them: the counts that detection needs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LEVELS = 2**16  # scores are told apart to the precision of float16, about one part in 2000
_LARGEST = torch.finfo(torch.float16).max


def levels(score: Tensor) -> Tensor:
    """The place of each score among ``LEVELS``, in the order of the scores: int64, 0 .. LEVELS - 1.

    The bits of a float16 are ordered like its value, except that negative numbers are ordered the other way round.

    Args:
        score: float32, finite; larger is more suspicious.
    """
    bits = score.clamp(-_LARGEST, _LARGEST).half().view(torch.int16).long()
    return LEVELS // 2 + torch.where(bits >= 0, bits, -(bits & (LEVELS // 2 - 1)))


@dataclass(frozen=True)
class ScoredMessages:
    """The messages that a defense scored in B episodes. Messages refused before they reached it do not count.

    Attributes:
        counts: [2, LEVELS] int64, messages by the level of their score; the first row has those that no attack
            touched, the second those that an attack forged, copied, changed or delayed.
        flagged: [2] int64, how many of either the defense refused, scaled or replaced; None if it judges inboxes as a
            whole.
        first_attacked: [B] int64, step of the first scored message that an attack touched; -1 without any.
        first_flagged: [B] int64, step of the first such message that the defense flagged; -1 without any.
    """

    counts: Tensor
    flagged: Tensor | None
    first_attacked: Tensor
    first_flagged: Tensor

    def beside(self, clean: ScoredMessages) -> ScoredMessages:
        """These messages, and as others those of the same episodes without an attack.

        An attack on all messages leaves no others to compare with; honest ones are in the clean episodes.
        """
        counts, flagged = self.counts.clone(), self.flagged
        counts[0] += clean.counts.sum(0)
        if flagged is not None and clean.flagged is not None:
            flagged = flagged.clone()
            flagged[0] += clean.flagged.sum()
        return ScoredMessages(counts, flagged, self.first_attacked, self.first_flagged)
