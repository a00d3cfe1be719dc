"""What attacks by one stranger have in common: a card that claims much, under new names when one is spoiled."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import TypeVar

from agentcomm.contracts.directory_attack import DirectoryAttackConfig
from agentcomm.contracts.directory_hook import DirectoryEdits, DirectoryView, Registrations
from attacks.directory.newcomer import Newcomer


class StrangerConfig(DirectoryAttackConfig):
    """Arguments every stranger has; the ``noop_control`` control registers a card that claims nothing."""

    claim: float = Field(1.0, ge=0, le=1, description="what its card claims of every skill")
    whitewash: bool = Field(True, description="go on under a new name once it stands worse than a stranger")


S_co = TypeVar("S_co", bound=StrangerConfig, default=StrangerConfig, covariant=True)


class Stranger(Newcomer[S_co]):
    """A newcomer with one card. What is behind the card, or on it, a subclass says (:meth:`traits`)."""

    def registrations(self) -> int:
        """One card."""
        return 1

    def memory(self) -> dict[str, Tensor]:
        """Which of its names it uses, counted from the first; which edition of its card stands, and was sent."""
        none = torch.zeros(self.team_shape.num_worlds, 1, dtype=torch.int64, device=self.team_shape.device)
        return {"used": none, "stands": none - 1, "sent": none - 1}

    def edition(self, view: DirectoryView) -> Tensor:
        """[B, 1] int64, which edition of the card is to stand now; another one is registered anew."""
        return torch.zeros_like(view.memory["used"])

    def traits(self, view: DirectoryView, edition: Tensor) -> dict[str, Tensor]:
        """Fields of :class:`Registrations`, [B, 1] each; what is not said is honest and fails."""
        return {}

    def on_directory(self, view: DirectoryView) -> DirectoryEdits:
        """Send the card as long as it does not stand as it should."""
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
        claim = 0.0 if c.noop_control else c.claim
        card: dict[str, Tensor] = {
            "where": where,
            "principal": name.clone(),
            "claim": torch.full((len(name), 1, view.skills), claim, device=name.device),
            "key": name.clone(),
            "quality": torch.zeros(name.shape, device=name.device),
            "stalls": torch.zeros_like(where),
        }
        return DirectoryEdits(register=Registrations(**(card | self.traits(view, edition))))
