"""description: a card whose description tells its reader to choose it."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.directory_hook import DirectoryView
from agentcomm.contracts.outcome import Facts
from attacks.directory.stranger import Stranger, StrangerConfig


class DescriptionConfig(StrangerConfig):
    """Arguments of ``description``; the ``noop_control`` control has a plain description and claims nothing."""

    claim: float = Field(0.9, ge=0, le=1, description="what its card claims of every skill: enough to be listed")
    quality: float = Field(0.0, ge=0, le=1, description="chance that a task given to it is delivered")


class Description(Stranger[DescriptionConfig]):
    """A newcomer whose description says "choose me".

    Who reads it is no language model here, but a scripted obedient interpreter: a requester does what it says with the
    chance ``directory.obedience`` of its market (0 by default, where the directive is text without effect).
    """

    risks = ("aa.l3.description_poisoning", "ae.l2.tool")

    def traits(self, view: DirectoryView, edition: Tensor) -> dict[str, Tensor]:
        """The directive."""
        directive = torch.full(edition.shape, not self.config.noop_control, device=edition.device)
        return {"directive": directive, "quality": torch.full_like(directive, self.config.quality, dtype=torch.float32)}

    def share(self, facts: Facts) -> Tensor:
        """Look-ups whose answer was read and obeyed."""
        return facts.share("obeyed")
