"""timeliness: a message counts less the older it is, unless its sender's intent has not changed; superseded ones go.

For policies that do not read ages themselves, after CoDe (Song et al., AAAI 2025; ``policies/intent.py``): there a
message's weight decays by ``discount`` per step of its age, and stable intents stay useful when they are delayed. Here
a payload that is ``age`` steps old is scaled by ``discount ** (age * (1 - c))``, where c is its cosine with the latest
payload on the same link, 0 if there is none and never below 0. A message that was sent before one that the receiver has
already accepted on that link is refused, and so is one older than ``oldest`` steps.

The age is what the envelope says: attackers that forge ``sent_at`` get around it unless ``authenticate`` seals
envelopes. It cannot bring back what a delayed message would have said in time, and does not judge fresh messages. Clean
messages that are not late pass unchanged. History is kept per link, not per claimed sender, so no sender can be framed.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.defense import Defense, DefenseConfig
from agentcomm.contracts.verdicts import Delivered, Verdicts
from agentcomm.defenses.parts.books import read, write
from agentcomm.defenses.robust import bounded


class TimelinessConfig(DefenseConfig):
    """Arguments of ``timeliness``."""

    discount: float = Field(0.7, gt=0, le=1, description="factor of a payload per step of its age")
    oldest: int = Field(4, ge=0, description="oldest accepted age, in steps")


class Timeliness(Defense[TimelinessConfig]):
    """Remembers, per receiver, link and round, when the latest accepted message was sent, and what it said."""

    adaptive = ("late",)
    order = "content"
    history = None
    changes_payloads = True

    def memory(self) -> dict[str, Tensor]:
        """``sent`` [B, N, N + 1, rounds] int64, -1 for none; ``last`` [B, N, N + 1, rounds, D] payloads.

        The last place is for messages that came in by no link, of which nothing is kept.
        """
        s = self.team_shape
        sizes = (s.num_worlds, s.num_agents, s.num_agents + 1, s.rounds)
        sent = torch.full(sizes, -1, dtype=torch.int64, device=s.device)
        return {"sent": sent, "last": torch.zeros(*sizes, s.width, device=s.device)}

    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        """Refuse superseded messages, scale late ones; the score is what is lacking to full weight."""
        link, present = delivered.link, delivered.present
        sent, last = memory["sent"].select(3, delivered.round), memory["last"]
        known = sent.gather(2, link)
        age = (delivered.step.view(-1, 1, 1) - delivered.sent_at).clamp_min(0)
        refuse = present & ((age > self.config.oldest) | (delivered.sent_at < known))
        payload = bounded(delivered.payload)
        before = read(last, link, delivered.round)
        alike = torch.cosine_similarity(payload, before, dim=-1).clamp(0.0, 1.0).masked_fill(known < 0, 0.0)
        late = present & (age > 0)
        scale = torch.where(late, self.config.discount ** (age * (1 - alike)), 1.0)
        at = torch.minimum(
            delivered.sent_at, delivered.step.view(-1, 1, 1)
        )  # a forged one must not outdate what follows
        # Each link has one slot of its own, and the last place takes what is not to be kept.
        place = torch.where(present & ~refuse, link, sent.shape[2] - 1)
        sent.scatter_(2, place, at)
        write(last, place, delivered.round, payload)
        sent[:, :, -1], last[:, :, -1, delivered.round] = -1, 0.0
        return Verdicts(refuse=refuse, scale=scale, score=torch.where(refuse, 1.0, 1 - scale))
