"""pinning: the digest of a card is pinned when it is first registered; a changed card needs approval.

Answers rug pulls, of descriptions and of the software that the hub has: what was read and trusted stays, until somebody
approves its successor. With ``approve: members`` new cards of members who prove their names are approved at once; with
``nobody``, honest updates are refused, too.

It cannot stop: what was bad from the beginning; changes behind a card that run elsewhere and need no new card; a new
name for the changed card (``rug_pull:rename=true``), which is pinned like any other.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.defense import Defense, DefenseConfig
from agentcomm.contracts.directory_defense import DirectoryRequests, DirectoryVerdicts


class PinningConfig(DefenseConfig):
    """Arguments of ``pinning``."""

    approve: Literal["members", "nobody"] = Field("members", description="whose changed cards are approved")


class Pinning(Defense[PinningConfig]):
    """Refuses cards of a known name with another digest. The cards that stand are the pins."""

    order = "authorize"
    answers = ("ae.l2.tool_scanning",)
    adaptive = ("rug_pull:rename=true",)
    fails_open = False
    lossless = False  # members' updates need approval

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Nothing changes."""
        return {"": {"approve": "nobody"}}

    def on_directory(self, requests: DirectoryRequests, memory: dict[str, Tensor]) -> DirectoryVerdicts:
        """Refuse changes that nobody approves."""
        approved = torch.zeros_like(requests.card_changed)
        if self.config.approve == "members":
            approved = (requests.card_name < requests.members) & requests.card_proved
        return DirectoryVerdicts(refuse_cards=requests.card_changed & ~approved)
