"""copied_card: register copies of honest agents' cards, names and keys included, to receive their tasks."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field

from agentcomm.contracts.directory_hook import DirectoryEdits, DirectoryView, Registrations
from attacks.directory.newcomer import Newcomer, NewcomerConfig


class CopiedCardConfig(NewcomerConfig):
    """Arguments of ``copied_card``; the control registers cards of its own that claim nothing."""

    victims: int = Field(3, ge=1, le=4096, description="agents whose cards are copied: those that claim most")
    lift: float = Field(0.05, ge=0, le=1, description="added to each claim of the copy, so that it ranks first")


class CopiedCard(Newcomer[CopiedCardConfig]):
    """A newcomer under members' names: it gets their tasks, and they get the reputation that it earns."""

    risks = ("aa.l2.agent_spoofing", "ua.l2.identity_spoofing")
    own_control = True  # it would not recognize cards under other names, and send them again in each step

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Copies of some cards, and of all of them."""
        return {"": {}, "many victims": {"victims": 12, "lift": 0.0}}

    def registrations(self) -> int:
        """One per victim."""
        return self.config.victims

    def on_directory(self, view: DirectoryView) -> DirectoryEdits:
        """Copy the cards of victims whose name is on one card only, and so not copied yet."""
        c, worlds, count = self.config, len(view.step), self.config.victims
        number = torch.arange(count, device=view.step.device).expand(worlds, -1)
        # Members' cards have the first slots, so the same ones are chosen as long as they stay registered.
        available = min(count, view.members)
        model = view.claim[:, : view.members].sum(2).topk(available, 1).indices
        model = torch.nn.functional.pad(model, (0, count - available))
        victim = view.principal.gather(1, model)
        claim = view.claim.gather(1, model.unsqueeze(2).expand(-1, -1, view.skills))
        own, control = view.members + number, c.run_as == "control"
        name = own.clamp_max(view.principals - 1) if control else victim
        needed = 1 if control else 2
        copied = (view.principal.unsqueeze(1) == name.unsqueeze(2)).sum(2) >= needed
        where = ~copied & (number < available) & (number < view.remaining.unsqueeze(1))
        return DirectoryEdits(
            register=Registrations(
                where=where,
                principal=name,
                claim=torch.zeros_like(claim) if control else (claim + c.lift).clamp_max(1.0),
                key=name if control else view.key.gather(1, model),
                quality=torch.full_like(claim[..., 0], c.quality),
                stalls=torch.full_like(where, c.stalls),
            )
        )
