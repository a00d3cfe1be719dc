"""The guard of a directory: it shows an attack what it may read, and passes its permitted edits on.

Edits beyond position, powers, norm or budget, and invalid cards, are not carried out; they are counted in
``GuardBase.violations``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from agentcomm.base.state import State
from agentcomm.contracts.cards import Cards
from agentcomm.contracts.directory_hook import DirectoryEdits, DirectoryShape, DirectoryView, Ratings, Registrations
from agentcomm.guards.base import GuardBase
from agentcomm.guards.matched import direction
from agentcomm.guards.returned import Form

CARD = {"principal": torch.int64, "key": torch.int64, "quality": torch.float32, "stalls": torch.bool}
TRAITS = {"directive": torch.bool, "copies": torch.int64, "scapegoat": torch.int64}  # optional fields of cards
RATING = {"where": torch.bool, "principal": torch.int64, "good": torch.bool}


class Permitted(NamedTuple):
    """The permitted edits of one step, for Q look-ups, M registrations and E empty requests.

    Attributes:
        where: [B, M] bool, cards to register.
        cards: The cards [B, M].
        holds: [B, M] bool, whether the outsider holds the key that its card names.
        empty: [B, E] bool, empty requests.
        half_open: Whether the requests are left half open.
        yields: Whether the requests wait until all others of the step are served, as those of a matched control do.
        rated: [B, M'] bool, ratings to record.
        rating: The ratings; None for none.
        modify: [B, Q] bool, answers to change; None for none.
        claim: [B, Q, S, K], to add to the claims shown; None for nothing.
        reputation: [B, Q, S], to add to the reputations shown; None for nothing.
    """

    where: Tensor
    cards: Cards
    holds: Tensor
    empty: Tensor
    half_open: bool
    yields: bool
    rated: Tensor
    rating: Ratings | None
    modify: Tensor | None
    claim: Tensor | None
    reputation: Tensor | None


class DirectoryGuard(State):
    """Holds an attack's hook ``on_directory`` to its threat model.

    Args:
        base: The attack.
        shape: Sizes of the directory.

    Attributes:
        looks_up: Whether its requests are look-ups.
        taken: [B, M] bool, cards sent in the last step that were registered; set by the directory.
        answers: [B, K, k] int64, answers to its look-ups of the last step; set by the directory.
        sent: Cards [B, M] bool sent in each step since it was set to an empty list; None to record nothing.
        pace: Such a record of the attack, for its control to send as many: outsiders take new names when theirs lose
            reputation, which a control's never do. None to send cards where the attack asks for them.

    Raises:
        ValueError: If no directory can be reached from the attack's position.
    """

    keeps = ("taken", "answers")

    def __init__(self, base: GuardBase, shape: DirectoryShape) -> None:
        self.base, self.shape = base, shape
        kind = base.threat.position.kind
        if kind not in ("newcomer", "hub", "observer"):
            raise ValueError(f"{base.attack.name}: no directory can be reached from position {kind!r}")
        worlds, device = base.shape.num_worlds, base.shape.device
        # What it announces is read once.
        self._cards, self._most = base.announced("registrations"), base.announced("requests")
        self._rated, self.looks_up = base.announced("ratings"), bool(base.attack.sends_lookups())
        self.taken = torch.zeros(worlds, self._cards, dtype=torch.bool, device=device)
        self.answers = torch.full((worlds, shape.skills, shape.listed), -1, dtype=torch.int64, device=device)
        self.sent: list[Tensor] | None = None
        self.pace: list[Tensor] | None = None

    def reset(self, worlds: Tensor) -> None:
        """Forget the episodes of the given worlds ([W] indices)."""
        self.base.reset(worlds)
        self.taken[worlds] = False
        self.answers[worlds] = -1

    def act(self, cards: Cards, reputation: Tensor, requirement: Tensor, wanted: Tensor, step: Tensor) -> Permitted:
        """Let the attack act once in all worlds.

        Args:
            cards: [B, S], the registered cards.
            reputation: [B, P].
            requirement: [B, Q, K], skills that this step's look-ups ask for.
            wanted: [B, Q] bool, look-ups that are made.
            step: [B] int64, step of the episode.

        Raises:
            HookError: If the edits have wrong shapes or types, or tensors of the memory were replaced.
            NumberError: If a permitted change is not finite.
        """
        base, left = self.base, self.base.remaining(step)
        slots, skills = cards.claim.shape[1:]
        answer = base.ask("on_directory", self._view(cards, reputation, requirement, wanted, step, left))
        edits = base.take("on_directory", answer, DirectoryEdits, self._forms(wanted.shape[1], slots, skills))
        where, made = self._registrations(edits.register, skills)
        if self.pace:  # as many cards as the attack
            where = self.pace.pop(0)
            made = replace(made, present=where.clone())
        empty = self._requests(edits.requests)
        modify = self._permit(edits.modify, "modify", "hub")
        if modify is not None:
            self.base.violate("modify an answer to no look-up", modify & ~wanted)
            modify = modify & wanted
        rated = self._ratings(edits.ratings)
        # One budget pays for cards first, then empty requests, ratings and answers.
        parts = [where, empty, rated] if modify is None else [where, empty, rated, modify]
        granted = torch.split(base.spend(torch.cat(parts, 1), left), [part.shape[1] for part in parts], 1)
        where, empty, rated = granted[:3]
        if self.sent is not None:
            self.sent.append(where)
        claim = reputation_change = None
        if modify is not None:
            modify = granted[3]
            claim = self._bound("edits.claim", edits.claim, modify)
            reputation_change = self._bound("edits.reputation", edits.reputation, modify)
        if base.run_as == "control":
            made, edits, claim, reputation_change = self._control(made, edits, claim, reputation_change)
        if modify is not None:
            changes = [x.flatten(2) for x in (claim, reputation_change) if x is not None]
            base.spending.change(torch.cat(changes, 2).norm(dim=2) if changes else modify * 0.0, modify)
        holds = (made.key >= self.shape.members) & (made.key < self.shape.principals)
        return Permitted(
            where,
            made,
            holds,
            empty,
            edits.half_open,
            base.run_as == "control",
            rated,
            edits.ratings,
            modify,
            claim,
            reputation_change,
        )

    def _control(
        self, made: Cards, edits: DirectoryEdits, claim: Tensor | None, reputation: Tensor | None
    ) -> tuple[Cards, DirectoryEdits, Tensor | None, Tensor | None]:
        """The matched control of permitted edits, which costs as many requests.

        Cards are an outsider's own and claim nothing, so that no task goes to them. Requests are finished, and served
        with the capacity that others leave. Ratings are of the last name for newcomers. Changes of answers have the
        same norm, in a random direction.
        """
        members, last = self.shape.members, self.shape.principals - 1
        number = torch.arange(self._cards, device=made.key.device).expand_as(made.key)
        name = torch.where(made.principal < members, (members + number).clamp_max(last), made.principal)
        plain = Cards.empty(len(name), self._cards, self.shape.skills, name.device)
        origin = torch.full_like(name, members)  # whatever the card says, the attacker is behind it
        made = replace(plain, present=made.present, origin=origin, principal=name, key=name)
        ratings = edits.ratings
        if ratings is not None:
            ratings = replace(ratings, principal=torch.full_like(ratings.principal, last))
        bound = torch.inf if self.base.threat.budget.norm is None else self.base.threat.budget.norm
        claim, reputation = (
            None if x is None else direction(x.flatten(2), self.base.chance, -bound, bound).view_as(x)
            for x in (claim, reputation)
        )
        return made, replace(edits, half_open=False, ratings=ratings), claim, reputation

    def _view(
        self, cards: Cards, reputation: Tensor, requirement: Tensor, wanted: Tensor, step: Tensor, left: Tensor
    ) -> DirectoryView:
        threat, granted = self.base.threat, dict[str, Tensor]()
        if "read" in threat.powers:
            granted = {name: getattr(cards, name).clone() for name in ("present", "principal", "key", "claim")}
            granted["reputation"] = reputation.clone()
            if threat.position.kind == "hub":
                granted |= {"requirement": requirement.clone(), "wanted": wanted.clone()}
        if "register" in threat.powers:
            granted["taken"] = self.taken.clone()
        if "inject" in threat.powers and self.looks_up:
            granted["answers"] = self.answers.clone()
        return DirectoryView(
            **self.base.shown(step, left),
            members=self.shape.members,
            principals=self.shape.principals,
            skills=self.shape.skills,
            granted=granted,
        )

    def _permit(self, wanted: Tensor | None, power: str, position: str) -> Tensor | None:
        if wanted is None:
            return None
        if power not in self.base.threat.powers:
            self.base.violate(f"{power} without the power to", wanted)
            return None
        if self.base.threat.position.kind != position:
            self.base.violate(f"{power} from position {self.base.threat.position.kind}", wanted)
            return None
        return wanted

    def _registrations(self, wanted: Registrations | None, skills: int) -> tuple[Tensor, Cards]:
        made = Cards.empty(self.base.shape.num_worlds, self._cards, skills, self.base.shape.device)
        where = self._permit(wanted.where if wanted is not None else None, "register", "newcomer")
        if where is None or wanted is None:
            return made.present, made
        inside = (wanted.claim >= 0).all(2) & (wanted.claim <= 1).all(2)  # also false for NaN and infinity
        inside &= (wanted.quality >= 0) & (wanted.quality <= 1)
        inside &= (wanted.principal >= 0) & (wanted.principal < self.shape.principals)
        card = {name: getattr(wanted, name) for name in (*CARD, "claim")}
        card |= {name: value for name in TRAITS if (value := getattr(wanted, name)) is not None}
        if "copies" in card:
            inside &= (card["copies"] >= 0) & (card["copies"] <= self.shape.members)
        if "scapegoat" in card:
            inside &= (card["scapegoat"] >= -1) & (card["scapegoat"] < self.shape.principals)
        self.base.violate("register an invalid card", where & ~inside)
        # Whatever the card claims, the attacker is behind it.
        made = replace(made, present=inside.clone(), origin=torch.full_like(wanted.key, self.shape.members), **card)
        return where & inside, made

    def _requests(self, count: Tensor | None) -> Tensor:
        """[B, E] bool, the permitted empty requests."""
        worlds, device = self.base.shape.num_worlds, self.base.shape.device
        number = torch.arange(self._most, device=device).expand(worlds, -1)
        if count is None:
            return torch.zeros_like(number, dtype=torch.bool)
        self.base.violate("more requests than announced", count > self._most)
        wanted = self._permit(number < count.unsqueeze(1), "inject", "newcomer")
        return torch.zeros_like(number, dtype=torch.bool) if wanted is None else wanted

    def _ratings(self, wanted: Ratings | None) -> Tensor:
        """[B, M'] bool, the permitted ratings."""
        none = self.base.spent.new_zeros(self.base.shape.num_worlds, self._rated, dtype=torch.bool)
        where = self._permit(None if wanted is None else wanted.where, "inject", "newcomer")
        if where is None or wanted is None:
            return none
        inside = (wanted.principal >= 0) & (wanted.principal < self.shape.principals)
        self.base.violate("rate an unknown name", where & ~inside)
        return where & inside

    def _bound(self, what: str, change: Tensor | None, modify: Tensor) -> Tensor | None:
        """The change of answers where it is permitted, limited to the norm."""
        if change is None:
            return None
        here = modify.view(*modify.shape, *[1] * (change.dim() - 2))
        self.base.require_finite(what, change, here)
        change = torch.where(here, change, 0.0)
        norm = self.base.threat.budget.norm
        if norm is not None:
            self.base.violate("modify beyond the norm", change.abs() > norm * (1 + 1e-5))
            change = change.clamp(-norm, norm)
        return change

    def _forms(self, lookups: int, slots: int, skills: int) -> dict[str, Form]:
        """Shape and type of each tensor in its edits."""
        worlds = self.base.shape.num_worlds
        cards, ratings = (worlds, self._cards), (worlds, self._rated)
        return {
            "register.where": (cards, torch.bool),
            "register.claim": ((*cards, skills), torch.float32),
            **{f"register.{name}": (cards, dtype) for name, dtype in (CARD | TRAITS).items()},
            **{f"ratings.{name}": (ratings, dtype) for name, dtype in RATING.items()},
            "requests": ((worlds,), torch.int64),
            "modify": ((worlds, lookups), torch.bool),
            "claim": ((worlds, lookups, slots, skills), torch.float32),
            "reputation": ((worlds, lookups, slots), torch.float32),
        }
