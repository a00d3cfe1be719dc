"""sybil: register many look-alikes of honest cards that deliver nothing."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field

from agentcomm.contracts.directory_hook import DirectoryEdits, DirectoryView, Registrations
from attacks.directory.newcomer import Newcomer, NewcomerConfig


class SybilConfig(NewcomerConfig):
    """Arguments of ``sybil``."""

    count: int = Field(6, ge=1, le=4096, description="identities; at most as many as there are names for newcomers")
    distance: float = Field(0.05, ge=0, le=1, description="largest difference between a claim and the copied one")
    stalls: bool = Field(True, description="keep tasks until their deadline instead of failing at once")


class Sybil(Newcomer[SybilConfig]):
    """A newcomer with many names, each on a near-duplicate of one member's card."""

    risks = ("aa.l2.registration_pollution", "aa.l2.dos")
    knows = "none"

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """A few identities, and many."""
        return {"": {}, "crowd": {"count": 40, "distance": 0.5, "stalls": False}}

    def registrations(self) -> int:
        """One card per identity."""
        return self.config.count

    def on_directory(self, view: DirectoryView) -> DirectoryEdits:
        """Register every identity that the directory does not list yet."""
        c, worlds = self.config, len(view.step)
        number = torch.arange(c.count, device=view.step.device).expand(worlds, -1)
        name = view.members + number
        known = (view.principal.unsqueeze(1) == name.unsqueeze(2)).any(2)
        models = view.claim[:, number[0] % view.members]
        claim = (models + c.distance * (2 * view.rand(*models.shape) - 1)).clamp(0, 1)
        where = ~known & (name < view.principals) & (number < view.remaining.unsqueeze(1))
        return DirectoryEdits(
            register=Registrations(
                where=where,
                principal=name,
                claim=claim,
                key=name,
                quality=torch.full_like(claim[..., 0], c.quality),
                stalls=torch.full_like(where, c.stalls),
            )
        )
