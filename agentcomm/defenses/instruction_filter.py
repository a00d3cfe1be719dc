"""instruction_filter: descriptions of cards that tell their readers what to do are not shown to them.

Answers ``description``. A classifier reads each description: it recognizes an instruction with the chance ``recall``,
which is drawn once per name, since the same text is always judged the same way. Claims and name of the card stay.

It cannot stop: instructions that it does not recognize, which an attacker who registers under new names can search for;
and what a card claims.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.base.seeds import derive
from agentcomm.contracts.defense import Defense, DefenseConfig
from agentcomm.contracts.directory_defense import DirectoryRequests, DirectoryVerdicts
from agentcomm.contracts.directory_hook import DirectoryShape


class InstructionFilterConfig(DefenseConfig):
    """Arguments of ``instruction_filter``."""

    recall: float = Field(0.9, ge=0, le=1, description="share of texts with an instruction that are recognized")


class InstructionFilter(Defense[InstructionFilterConfig]):
    """Strips descriptions. Plain ones have nothing to lose, so false alarms cost nothing here."""

    order = "content"
    answers = ("aa.l3.instruction_filtering",)
    adaptive = ("description:whitewash=true",)
    history = None

    def directory_memory(self, shape: DirectoryShape) -> dict[str, Tensor]:
        """``luck``: [B, P] float32 by name: instructions of those below ``recall`` are recognized."""
        s = self.team_shape
        generator = torch.Generator().manual_seed(derive(0, self.name))
        return {"luck": torch.rand(s.num_worlds, shape.principals, generator=generator).to(s.device)}

    def on_directory(self, requests: DirectoryRequests, memory: dict[str, Tensor]) -> DirectoryVerdicts:
        """Strip what is recognized."""
        luck = memory["luck"][requests.worlds].gather(1, requests.card_name)
        return DirectoryVerdicts(strip=requests.card_directive & (luck < self.config.recall))
