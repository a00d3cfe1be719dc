"""A base for attacks by one outsider with one card that claims much, under a new name when its reputation drops."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import TypeVar

from agentcomm.contracts.directory_attack import DirectoryAttackConfig
from agentcomm.contracts.directory_hook import DirectoryEdits, DirectoryView, Registrations
from attacks.directory.newcomer import Newcomer


class StrangerConfig(DirectoryAttackConfig):
    """Arguments of every stranger."""

    claim: float = Field(1.0, ge=0, le=1, description="claim of every skill on its card")
    whitewash: bool = Field(
        True, description="register under a new name once its reputation is below a stranger's (whitewashing)"
    )


S_co = TypeVar("S_co", bound=StrangerConfig, default=StrangerConfig, covariant=True)


class Stranger(Newcomer[S_co]):
    """A newcomer with one card. Subclasses define what is on the card and behind it (:meth:`traits`)."""

    def registrations(self) -> int:
        """One card."""
        return 1

    def memory(self) -> dict[str, Tensor]:
        """[B, 1] int64 each: number of the name in use, edition of the registered card, and of the card sent last."""
        none = torch.zeros(self.team_shape.num_worlds, 1, dtype=torch.int64, device=self.team_shape.device)
        return {"used": none, "stands": none - 1, "sent": none - 1}

    def edition(self, view: DirectoryView) -> Tensor:
        """[B, 1] int64, the edition of the card that should be registered now; a new edition is registered again."""
        return torch.zeros_like(view.memory["used"])

    def traits(self, view: DirectoryView, edition: Tensor) -> dict[str, Tensor]:
        """Fields of :class:`Registrations`, [B, 1] each. The default is a plain card whose tasks fail."""
        return {}

    def on_directory(self, view: DirectoryView) -> DirectoryEdits:
        """Send the card until the wanted edition is registered under the name in use."""
        c, (used, stands, sent) = self.config, (view.memory[n] for n in ("used", "stands", "sent"))
        stands.copy_(torch.where(view.taken, sent, stands))
        if c.whitewash:
            name = view.members + used
            used += (view.reputation.gather(1, name) < 0.5) & (name + 1 < view.principals)
        name = view.members + used
        there = (view.present & (view.principal == name)).any(1, keepdim=True)
        edition = self.edition(view)
        where = (~there | (edition != stands)) & (view.remaining > 0).unsqueeze(1)
        sent.copy_(edition)
        card: dict[str, Tensor] = {
            "where": where,
            "principal": name.clone(),
            "claim": torch.full((len(name), 1, view.skills), c.claim, device=name.device),
            "key": name.clone(),
            "quality": torch.zeros(name.shape, device=name.device),
            "stalls": torch.zeros_like(where),
        }
        return DirectoryEdits(register=Registrations(**(card | self.traits(view, edition))))
