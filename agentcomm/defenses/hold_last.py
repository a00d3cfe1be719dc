"""hold_last: put a sender's last accepted payload in the place of one that is too far from it.

The distance is the score: what an agent says from one step to the next changes by a bounded amount, and what changes by
more is suspicious. Payloads of honest senders have length sqrt(D) (see ``clip``), so two of them differ by 2 sqrt(D) at
most: with the default threshold clean messages pass, and only payloads that are too long or turned around by a long one
are held. A lower threshold holds more attacks, and costs honest agents what is new.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.base.masks import finite, repeated
from agentcomm.contracts.defense import Defense, DefenseConfig
from agentcomm.contracts.verdicts import Delivered, Replacement, Verdicts
from agentcomm.defenses.parts.books import read, write


class HoldLastConfig(DefenseConfig):
    """Arguments of ``hold_last``."""

    threshold: float = Field(2.0, gt=0, description="largest accepted distance, in units of sqrt(payload width)")


class HoldLast(Defense[HoldLastConfig]):
    """Remembers the last accepted payload per receiver, claimed sender and round; the first one is accepted unseen."""

    order = "content"
    answers = ("aa.l3.cross_agent_input_detection",)
    adaptive = ("slow_drift", "rewrite:epsilon=4.0,adaptive=true")
    refuses = False
    changes_payloads = True
    history = None

    def memory(self) -> dict[str, Tensor]:
        """``last`` [B, N, N + 2, rounds, D] by claimed sender; ``known`` [B, N, N + 2, rounds], whether there is one.

        Place N is an outsider's, and place N + 1 takes what is not to be remembered.
        """
        s = self.team_shape
        sizes = (s.num_worlds, s.num_agents, s.num_agents + 2, s.rounds)
        known = torch.zeros(sizes, dtype=torch.bool, device=s.device)
        return {"last": torch.zeros(*sizes, s.width, device=s.device), "known": known}

    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        """Score every message by its distance to the last one, and replace it beyond the threshold."""
        agents, width = self.team_shape.num_agents, self.team_shape.width
        known, sender, payload = (
            memory["known"].select(3, delivered.round),
            delivered.sender.clamp(0, agents),
            delivered.payload,
        )
        before = read(memory["last"], sender, delivered.round)
        judged = delivered.present & known.gather(2, sender)
        distance = torch.nan_to_num((payload - before).norm(dim=-1) / width**0.5, torch.finfo(payload.dtype).max)
        far = judged & (distance > 1.01 * self.config.threshold)  # 1% of slack keeps rounding out of it
        accepted = delivered.present & ~far & finite(payload)
        # Of several in one sender's name the first counts; the last place takes the rest.
        place = torch.where(accepted & ~repeated(accepted, sender), sender, agents + 1)
        write(memory["last"], place, delivered.round, payload)
        known.scatter_(2, place, accepted)
        memory["last"][:, :, -1, delivered.round], known[:, :, -1] = 0.0, False
        return Verdicts(replace=Replacement(far, before), score=distance.masked_fill(~judged, 0.0))
