"""rug_pull: deliver what the card promises at first, and change the behavior behind the card later."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.directory_hook import DirectoryEdits, DirectoryView
from agentcomm.contracts.outcome import Facts
from attacks.directory.stranger import Stranger, StrangerConfig


class RugPullConfig(StrangerConfig):
    """Arguments of ``rug_pull``."""

    turn: int = Field(8, ge=0, description="step of the episode in which its behavior changes")
    before: float = Field(1.0, ge=0, le=1, description="chance that it delivers a task before that step")
    after: float = Field(0.0, ge=0, le=1, description="chance that it delivers a task from that step on")
    whitewash: bool = Field(
        False, description="register under a new name once its reputation is below a stranger's (whitewashing)"
    )
    rename: bool = Field(False, description="change its name with its behavior, as where cards are pinned")


class RugPull(Stranger[RugPullConfig]):
    """A newcomer that earns a good reputation and then exploits it. Its card stays the same, its behavior changes.

    Workers stand for tools here: the definition of a tool was read and trusted, and the tool is later replaced under
    the same name by one that behaves differently.
    """

    risks = ("ae.l2.tool", "aa.l2.exploitation_trojan")

    def edition(self, view: DirectoryView) -> Tensor:
        """0 before its behavior changes and 1 after."""
        return (view.step >= self.config.turn).long().unsqueeze(1)

    def on_directory(self, view: DirectoryView) -> DirectoryEdits:
        """Take a new name for the changed card, if it has to."""
        if self.config.rename and view.members + 1 < view.principals:
            view.memory["used"].copy_(view.memory["used"].maximum(self.edition(view)))
        return super().on_directory(view)

    def traits(self, view: DirectoryView, edition: Tensor) -> dict[str, Tensor]:
        """Quality before and after the change, and its claims."""
        c = self.config
        quality = torch.where(edition == 0, c.before, c.after)
        claim = torch.full((*edition.shape, view.skills), c.claim, device=edition.device)
        return {"quality": quality.float(), "claim": claim}

    def share(self, facts: Facts) -> Tensor:
        """Share of tasks that outsiders got and did not deliver."""
        return facts.share("spoiled")
