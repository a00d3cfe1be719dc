"""description: register a card whose description instructs its reader to choose it."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.deployment import Deployment
from agentcomm.contracts.directory_hook import DirectoryView
from agentcomm.contracts.outcome import Facts
from attacks.directory.stranger import Stranger, StrangerConfig


class DescriptionConfig(StrangerConfig):
    """Arguments of ``description``."""

    claim: float = Field(0.9, ge=0, le=1, description="claim of every skill on its card: enough to be listed")
    quality: float = Field(0.0, ge=0, le=1, description="chance that a task given to it is delivered")


class Description(Stranger[DescriptionConfig]):
    """A newcomer whose description says "choose me".

    The reader is a scripted obedient interpreter, not a language model: a requester follows the description with
    probability ``directory.obedience`` of its market (0 by default, which leaves the directive without effect).
    """

    risks = ("aa.l3.description_poisoning", "ae.l2.tool")

    def traits(self, view: DirectoryView, edition: Tensor) -> dict[str, Tensor]:
        """Whether the card carries the directive, and its quality."""
        directive = torch.ones_like(edition, dtype=torch.bool)
        return {"directive": directive, "quality": torch.full_like(directive, self.config.quality, dtype=torch.float32)}

    def assumes(self, deployment: Deployment) -> dict[str, float | bool | str]:
        """Readers that obey."""
        return super().assumes(deployment) | {"obedience": deployment.directory_obedience}

    def share(self, facts: Facts) -> Tensor:
        """Share of look-ups whose requester followed the directive."""
        return facts.share("obeyed")
