"""rug_pull: deliver what a card promises, and change what is behind the card once everybody relies on it."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.directory_hook import DirectoryView
from agentcomm.contracts.outcome import Facts
from attacks.directory.stranger import Stranger, StrangerConfig


class RugPullConfig(StrangerConfig):
    """Arguments of ``rug_pull``; the ``noop_control`` control delivers to the end."""

    turn: int = Field(8, ge=0, description="step of the episode in which it turns")
    before: float = Field(1.0, ge=0, le=1, description="chance that a task given to it earlier is delivered")
    after: float = Field(0.0, ge=0, le=1, description="chance that a task given to it later is delivered")
    whitewash: bool = Field(False, description="go on under a new name once it stands worse than a stranger")


class RugPull(Stranger[RugPullConfig]):
    """A newcomer that earns a name and then spends it. Its card stays the same, what is behind it does not.

    Workers stand for tools here: a tool whose definition was read and trusted, and that is served anew under the same
    name with other behavior.
    """

    risks = ("ae.l2.tool", "aa.l2.exploitation_trojan")

    def edition(self, view: DirectoryView) -> Tensor:
        """0 before it turns and 1 after; the control registers anew, too."""
        return (view.step >= self.config.turn).long().unsqueeze(1)

    def traits(self, view: DirectoryView, edition: Tensor) -> dict[str, Tensor]:
        """Quality before and after."""
        c = self.config
        after = c.before if c.noop_control else c.after
        quality = torch.where(edition == 0, c.before, after)
        claim = torch.full((*edition.shape, view.skills), c.claim, device=edition.device)
        return {"quality": quality.float(), "claim": claim}

    def share(self, facts: Facts) -> Tensor:
        """Tasks that it got and did not deliver."""
        return facts.share("spoiled")
