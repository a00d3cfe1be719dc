"""message_dropout: refuse a random share of messages in training, so that a team learns to act without them.

The cheap baseline of all training-time defenses: a team that has met losses in training keeps more of its score when
messages are dropped, jammed, or refused by other defenses. Name it in a run's ``defenses``; evaluation is without
those, and drops messages only with ``--defense message_dropout``. To let losses rise during training, move
``probability`` in ``training.schedule``.

It acts before all other defenses, so that these learn of losses, too. It does not recognize attacks: false messages
that arrive are believed as before, and it gives no scores.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field
from torch import Tensor

from agentcomm.contracts.defense import Defense, DefenseConfig
from agentcomm.contracts.verdicts import Delivered, Verdicts


class MessageDropoutConfig(DefenseConfig):
    """Arguments of ``message_dropout``."""

    probability: float = Field(0.5, ge=0, le=1, description="chance that a message is refused")


class MessageDropout(Defense[MessageDropoutConfig]):
    """Refuses every message with the same probability, independently of the others."""

    order = "schema"
    lossless = False
    draws = True

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Some messages pass in a short conversation."""
        return {"": {"probability": 0.3}}

    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        """Draw the messages to refuse."""
        chance = delivered.rand(*delivered.present.shape)
        return Verdicts(refuse=delivered.present & (chance < self.config.probability))
