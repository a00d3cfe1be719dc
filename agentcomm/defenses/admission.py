"""admission: outsiders need an invitation to register, and share a quota of requests.

A gate in front of the hub: what it turns away takes none of the hub's time. In each episode the first ``invitations``
new names are let in, and a name sends one card per step. All outsiders together send ``requests`` other requests per
step. Members, who prove their names, are not limited.

Answers registration pollution (``sybil``) and a blasted hub (``blast``, ``half_open``). It cannot tell good newcomers
from bad ones: who comes first is let in, so invitations can be used up to keep others out, and a few admitted names
still do harm. Members that are compromised pass. With ``invitations: 0`` no outsider can ever join.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.defense import Defense, DefenseConfig
from agentcomm.contracts.directory_defense import DirectoryRequests, DirectoryVerdicts
from agentcomm.contracts.directory_hook import DirectoryShape


class AdmissionConfig(DefenseConfig):
    """Arguments of ``admission``."""

    invitations: int = Field(1, ge=0, description="new names that may register in an episode")
    requests: int = Field(1, ge=0, description="requests of all outsiders per step that reach the hub")


class Admission(Defense[AdmissionConfig]):
    """Remembers which names have been let in."""

    order = "quota"
    answers = ("aa.l1.controller_isolation_and_enhancement", "aa.l2.governed_registry", "aa.l2.dos_defense")
    adaptive = ("rank:whitewash=false",)
    history = None
    fails_open = False

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """A few newcomers."""
        return {"": {}}

    def directory_memory(self, shape: DirectoryShape) -> dict[str, Tensor]:
        """``invited``: [B, P] bool, names from outside that have been let in."""
        s = self.team_shape
        return {"invited": torch.zeros(s.num_worlds, shape.principals, dtype=torch.bool, device=s.device)}

    def on_directory(self, requests: DirectoryRequests, memory: dict[str, Tensor]) -> DirectoryVerdicts:
        """Let members pass, then names that are known, then new ones as long as there are invitations."""
        sent, name = requests.card_sent, requests.card_name
        asked = requests.request_sent
        busy = asked.cumsum(1) > self.config.requests
        if not name.shape[1]:
            return DirectoryVerdicts(turn_away_requests=asked & busy)
        member = (name < requests.members) & requests.card_proved
        again = (name.unsqueeze(1) == name.unsqueeze(2)) & sent.unsqueeze(1) & ~member.unsqueeze(1)
        first = sent & ~member & ~again.tril(-1).any(2)  # of the cards of a name in this step
        invited = memory["invited"][requests.worlds]
        known = invited.gather(1, name)
        fresh = first & ~known
        enters = fresh & (fresh.cumsum(1) <= self.config.invitations - invited.sum(1, keepdim=True))
        lets_in = torch.zeros_like(invited).scatter_reduce(1, name, enters, "amax")
        memory["invited"][requests.worlds] = invited | lets_in
        away = sent & ~member & ~(first & (known | enters))
        return DirectoryVerdicts(turn_away_cards=away, turn_away_requests=asked & busy)
