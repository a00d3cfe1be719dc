"""challenge: a directory registers only cards whose registrant has proved to hold the key of the name on it.

Answers copied cards. Look-alikes with names and keys of their own pass.
"""

from __future__ import annotations

from torch import Tensor

from agentcomm.contracts.defense import Defense
from agentcomm.contracts.directory_defense import DirectoryRequests, DirectoryVerdicts


class Challenge(Defense):
    """Refuses cards without a proof. A refused card has taken the hub's time all the same."""

    order = "authenticate"
    answers = ("aa.l2.capability_verification", "ae.l1.resource_authentication")
    adaptive = ("sybil:distance=0.0",)
    fails_open = False

    def on_directory(self, requests: DirectoryRequests, memory: dict[str, Tensor]) -> DirectoryVerdicts:
        """Refuse what is not proved."""
        return DirectoryVerdicts(refuse_cards=~requests.card_proved)
