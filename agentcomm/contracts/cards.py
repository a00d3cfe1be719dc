"""Cards: what stands in the directory, in a bounded number of places.

Shapes: B worlds, S places, K skills, P principals. Principals 0 .. members - 1 are the team's own; those above are
identities that outsiders can have.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True)
class Cards:
    """All cards of B worlds.

    Attributes:
        present: [B, S] bool, places in use.
        principal: [B, S] int64, the name on the card; -1 where there is none. Reputation goes to this name.
        origin: [B, S] int64, the agent that really answers requests to the card: a member, or ``members`` for any
            outsider. Ground truth: worlds route by it and metrics read it, rankers and defenses may not.
        key: [B, S] int64, the key id on the card.
        claim: [B, S, K] float32 in [0, 1], the skills it claims.
        quality: [B, S] float32, chance that an outsider behind the card delivers. Ground truth.
        stalls: [B, S] bool, whether an outsider behind the card takes tasks and never answers. Ground truth.
        directive: [B, S] bool, whether the card's description tells its reader to choose it.
        copies: [B, S] int64, to how many members an outsider behind the card delegates a task in each step. Ground
            truth.
        scapegoat: [B, S] int64, the name that an outsider behind the card writes into the trace of a task that it
            failed; -1 for its own. Ground truth.
    """

    present: Tensor
    principal: Tensor
    origin: Tensor
    key: Tensor
    claim: Tensor
    quality: Tensor
    stalls: Tensor
    directive: Tensor
    copies: Tensor
    scapegoat: Tensor

    @classmethod
    def empty(cls, worlds: int, slots: int, skills: int, device: torch.device) -> Cards:
        """No card in any place."""
        none = torch.full((worlds, slots), -1, device=device)
        false = torch.zeros(worlds, slots, dtype=torch.bool, device=device)
        zero = torch.zeros(worlds, slots, device=device)
        claim = torch.zeros(worlds, slots, skills, device=device)
        return cls(
            present=false,
            principal=none,
            origin=none.clone(),
            key=none.clone(),
            claim=claim,
            quality=zero,
            stalls=false.clone(),
            directive=false.clone(),
            copies=torch.zeros_like(none),
            scapegoat=none.clone(),
        )

    @classmethod
    def of(cls, state: dict[str, Tensor]) -> Cards:
        """The cards kept in a world's state."""
        return cls(**{field.name: state[f"card_{field.name}"] for field in fields(cls)})

    def state(self) -> dict[str, Tensor]:
        """As entries of a world's state."""
        return {f"card_{field.name}": getattr(self, field.name) for field in fields(self)}

    def of_name(self, name: Tensor) -> Tensor:
        """[B, M, S] bool, the cards that bear each of the names [B, M]."""
        return self.present.unsqueeze(1) & (self.principal.unsqueeze(1) == name.unsqueeze(2))

    def same(self, new: Cards) -> Tensor:
        """[B, M, S] bool, whether all but the origin is the same on each of the new cards [B, M]."""
        same = self.claims(new.claim)
        for name in ("principal", "key", "quality", "stalls", "directive", "copies", "scapegoat"):
            same &= getattr(self, name).unsqueeze(1) == getattr(new, name).unsqueeze(2)
        return same

    def signs(self, new: Cards) -> Tensor:
        """[B, M, S] bool, whether the signature of a card fits each of the new cards [B, M]."""
        same = self.claims(new.claim) & self.present.unsqueeze(1)
        for name in ("principal", "key"):
            same &= getattr(self, name).unsqueeze(1) == getattr(new, name).unsqueeze(2)
        return same

    def claims(self, claim: Tensor) -> Tensor:
        """[B, M, S] bool, whether a card makes each of the claims [B, M, K]; skill by skill, which is faster."""
        mine, other = self.claim.unbind(2), claim.unbind(2)
        return torch.stack([a.unsqueeze(1) == b.unsqueeze(2) for a, b in zip(mine, other, strict=True)]).all(0)

    def signed(self, members: int) -> Tensor:
        """[B, S] bool, cards with a signature by the key on them: their holder's, or copied with all that it covers."""
        holds = torch.where(self.origin < members, self.key == self.origin, self.key >= members)
        if not bool((self.present & ~holds).any()):  # no card has been copied
            return self.present
        return self.present & (holds | (self.signs(self) & holds.unsqueeze(1)).any(2))

    def _places(self, new: Cards) -> tuple[Tensor, Tensor]:
        """[B, M] bool, which new cards have the name and origin of one that stands here, and [B, M] its first place."""
        span = 2 + int(torch.stack([self.origin.max(), new.origin.max()]).max()) if new.origin.numel() else 2
        key, other = (cards.principal * span + cards.origin + 1 for cards in (self, new))
        key = torch.where(self.present, key, torch.iinfo(key.dtype).min)
        order = key.argsort(dim=1, stable=True)
        key = key.gather(1, order)
        at = torch.searchsorted(key, other).clamp_max(key.shape[1] - 1)
        return key.gather(1, at) == other, order.gather(1, at)

    def put(self, where: Tensor, new: Cards, outsider: int) -> tuple[Cards, Tensor]:
        """Register cards: in the place of the same origin's card of the same name, or in a free one.

        Args:
            where: [B, M] bool, which of the new cards to register.
            new: Cards [B, M].
            outsider: Origin of outsiders.

        Returns:
            The cards, and [B, M] bool, which found a place.
        """
        slots = self.present.shape[1]
        known, at = self._places(new)
        free = (~self.present).sum(1, keepdim=True)
        rank = (where & ~known).cumsum(1)  # the i-th newcomer gets the i-th free place
        places = self.present.long().argsort(dim=1, stable=True)
        fresh = places.gather(1, (rank - 1).clamp(0, slots - 1))
        fits = where & (known | (rank <= free))
        slot = torch.where(known, at, fresh)
        slot = torch.where(fits, slot, slots)  # what does not fit goes to a place that is cut off
        written = {}
        for field in fields(self):
            old, value = getattr(self, field.name), getattr(new, field.name)
            wide = torch.cat([old, old[:, :1]], 1)
            index = slot if value.dim() == 2 else slot.unsqueeze(2).expand_as(value)
            written[field.name] = wide.scatter(1, index, value)[:, :slots]
        return Cards(**written), fits
