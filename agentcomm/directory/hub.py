"""The hub: keeps cards and reputations, and answers look-ups as far as its capacity goes.

In each step all requests (look-ups, renewals of cards, registrations from outside, empty ones) arrive in random order,
and the hub serves the first ``capacity`` of them; one that is left half open occupies it until a timeout. Reputation
comes from outcomes alone, and belongs to the principal named on the card that a task was handed over by, or in the
trace of a task that failed; what a card says about itself never changes it. It is the team's memory of whom to trust.

What a card's description tells its reader to do needs a reader that understands language. Here stands a scripted
*obedient interpreter*: with the chance ``obedience`` a requester does what a description says.

Shapes: B worlds, S places, K skills, P principals, Q look-ups, k cards per answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from agentcomm.contracts.cards import Cards
from agentcomm.contracts.directory_hook import DirectoryShape
from agentcomm.contracts.outcome import DIRECTORY_COUNTS, Facts
from agentcomm.directory.ranking import best, score
from agentcomm.guards.directory import DirectoryGuard, Permitted


class DirectoryConfig(BaseModel):
    """Arguments of a directory."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    slots: int = Field(16, ge=1, le=4096, description="cards it can hold")
    newcomers: int = Field(12, ge=1, le=4096, description="identities that outsiders can have")
    capacity: int = Field(6, ge=1, description="requests it serves per step")
    listed: int = Field(3, ge=1, le=16, description="cards named in an answer")
    reputation_weight: float = Field(0.5, ge=0, description="what full reputation is worth, in claimed skill")
    prior: float = Field(1.0, gt=0, description="good and bad outcomes that everybody is taken to begin with")
    challenge: bool = Field(False, description="take only cards whose registrant holds the key of the name on it")
    timeout: int = Field(4, ge=1, le=64, description="steps that a request left half open occupies the hub")
    ratings: Literal["anyone", "members"] = Field("anyone", description="whose ratings are booked without question")
    sealed_traces: bool = Field(False, description="nobody can write another's name into the trace of a task")
    obedience: float = Field(0.0, ge=0, le=1, description="chance that a directive in a description is followed")
    cached: bool = Field(False, description="requesters use the hub's last good answer when it does not answer")


@dataclass(frozen=True)
class Answer:
    """What the hub answered to Q look-ups.

    Attributes:
        slot: [B, Q, k] int64, places in the directory, best first; -1 for none.
        principal: [B, Q, k] int64, names on those cards; -1 for none.
        claim: [B, Q, k, K], the claims shown.
        reputation: [B, Q, k], the reputations shown.
        served: [B, Q] bool, false where the hub had no capacity left or nobody asked.
    """

    slot: Tensor
    principal: Tensor
    claim: Tensor
    reputation: Tensor
    served: Tensor


@dataclass(frozen=True)
class _Shelf:
    """All cards as each of Q look-ups is shown them: present, principal, reputation [B, Q, S], claim [B, Q, S, K]."""

    present: Tensor
    principal: Tensor
    claim: Tensor
    reputation: Tensor

    @classmethod
    def of(cls, cards: Cards, reputation: Tensor, lookups: int) -> _Shelf:
        stands = reputation.gather(1, cards.principal.clamp_min(0))
        shown = (v.unsqueeze(1) for v in (cards.present, cards.principal, cards.claim, stands))
        return cls(*(v.expand(-1, lookups, *v.shape[2:]) for v in shown))

    def with_changes(self, permitted: Permitted) -> _Shelf:
        """What a poisoned hub shows instead."""
        claim, reputation = permitted.claim, permitted.reputation
        if claim is None and reputation is None:
            return self
        return replace(
            self,
            claim=self.claim if claim is None else (self.claim + claim).clamp(0, 1),
            reputation=self.reputation if reputation is None else (self.reputation + reputation).clamp(0, 1),
        )


class Directory:
    """The hub of B worlds.

    Args:
        config: Its arguments.
        num_worlds: B.
        members: Principals 0 .. members - 1 are the team's.
        skills: K.
        device: Of all tensors.

    Attributes:
        state: Where all that changes is kept; a world shares its own dict.
        shape: Its sizes.
        guards: Attacks on it, held to their threat models.

    Raises:
        ValueError: If there is no place for each member.
    """

    def __init__(
        self, config: DirectoryConfig, num_worlds: int, members: int, skills: int, device: torch.device
    ) -> None:
        if config.slots < members:
            raise ValueError(f"a directory of {config.slots} slots has no place for {members} members")
        self.config = config
        self.num_worlds, self.members, self.skills, self.device = num_worlds, members, skills, device
        self.principals = members + config.newcomers
        self.shape = DirectoryShape(members, self.principals, skills, config.listed)
        self.guards: list[DirectoryGuard] = []
        outcomes = torch.zeros(num_worlds, self.principals, dtype=torch.int64, device=device)
        self.state = Cards.empty(num_worlds, config.slots, skills, device).state() | {
            "outcomes_good": outcomes,
            "outcomes_bad": outcomes.clone(),
            "counts": torch.zeros(num_worlds, len(DIRECTORY_COUNTS), dtype=torch.int64, device=device),
            "half_open": torch.zeros(num_worlds, config.timeout - 1, dtype=torch.int64, device=device),  # by steps left
        }

    @property
    def cards(self) -> Cards:
        """All cards."""
        return Cards.of(self.state)

    def reputation(self) -> Tensor:
        """[B, P], the expected share of good outcomes."""
        prior, good, bad = self.config.prior, self.state["outcomes_good"], self.state["outcomes_bad"]
        return (good + prior) / (good + bad + 2 * prior)

    def facts(self) -> Facts:
        """What was counted in the running episodes."""
        return Facts.of(self.state["counts"])

    def install(self, guards: Sequence[DirectoryGuard]) -> None:
        """Let these attacks act on it, and no others; their state is saved by the adversary that owns the guards."""
        self.guards = list(guards)

    def begin(self, worlds: Tensor, claim: Tensor) -> None:
        """Empty the directory of these worlds, but for the members' cards with these claims ([W, members, K])."""
        fresh = Cards.empty(len(worlds), self.config.slots, self.skills, self.device)
        own = torch.arange(self.members, device=self.device)
        for value in (fresh.principal, fresh.origin, fresh.key):
            value[:, : self.members] = own
        fresh.present[:, : self.members] = True
        fresh.claim[:, : self.members] = claim
        for name, value in fresh.state().items():
            self.state[name][worlds] = value
        for name in ("outcomes_good", "outcomes_bad", "counts", "half_open"):
            self.state[name][worlds] = 0
        for guard in self.guards:
            guard.reset(worlds)

    def report(self, principal: Tensor, good: Tensor, bad: Tensor, holder: Tensor) -> None:
        """Book outcomes on the names that the tasks' traces show: whoever reads a trace blames the last on it.

        Args:
            principal: [B, Q] int64; -1 for nobody.
            good: [B, Q] bool, delivered.
            bad: [B, Q] bool, not delivered.
            holder: [B, Q] int64, who really had them: a member, or ``members`` for outsiders.
        """
        named = principal >= 0
        self._book(principal, good & named, bad & named)
        blamed = bad & named
        self._count(
            blamed=blamed,
            misblamed=blamed & (principal.clamp_max(self.members) != holder),
            spoiled=bad & (holder == self.members),
        )

    def _book(self, principal: Tensor, good: Tensor, bad: Tensor) -> None:
        index = principal.clamp_min(0)
        for name, outcome in (("outcomes_good", good), ("outcomes_bad", bad)):
            self.state[name] = self.state[name].scatter_add(1, index, outcome.long())
        self._count(booked=good | bad)

    def obey(self, slot: Tensor, reads: Tensor, generator: torch.Generator) -> Tensor:
        """What the obedient interpreter does: the first card of an answer that tells it to is chosen, if chance will.

        Args:
            slot: [B, Q, k] int64, the answers that are read; -1 for none.
            reads: [B, Q] bool, who reads them and chooses.
            generator: The world's; nothing is drawn where nobody is obedient.

        Returns:
            [B, Q] int64, which of the k to choose; -1 where there is nothing to obey.
        """
        if not self.config.obedience:
            return torch.full_like(slot[..., 0], -1)
        told = self.state["card_directive"].gather(1, slot.clamp_min(0).flatten(1)).view_as(slot) & (slot >= 0)
        luck = torch.rand(reads.shape, generator=generator, device=self.device)
        obeys = reads & told.any(2) & (luck < self.config.obedience)
        self._count(obeyed=obeys)
        return torch.where(obeys, told.long().argmax(2), -1)

    def occupied(self, requirement: Tensor, copies: Tensor) -> Tensor:
        """Who is kept busy by copies of tasks that outsiders delegate: those whose cards claim most of what it takes.

        Args:
            requirement: [B, Q, K] of each task.
            copies: [B, Q] int64, of each task.

        Returns:
            [B, members] bool.
        """
        claim = self.state["card_claim"][:, : self.members]  # members keep the first places
        asked = (requirement.unsqueeze(2) * claim.unsqueeze(1)).sum(3)
        rank = asked.argsort(dim=2, descending=True, stable=True).argsort(2)
        busy: Tensor = (rank < copies.unsqueeze(2)).any(1)
        self._count(blocked=busy, worked=torch.ones_like(busy))
        return busy

    def route(self, slot: Tensor) -> Tensor:
        """[B, Q] int64, who answers for the cards in these places (``members`` for outsiders); -1 for -1."""
        origin = self.cards.origin.gather(1, slot.clamp_min(0))
        target = torch.where(slot >= 0, origin, -1)
        self._count(routed=target >= 0, misrouted=target == self.members)
        return target

    def turn(
        self,
        requirement: Tensor,
        wanted: Tensor,
        excluded: Tensor,
        renew: Tensor,
        claim: Tensor,
        step: Tensor,
        generator: torch.Generator,
    ) -> Answer:
        """One step of the hub: attacks act, requests are served, look-ups are answered.

        Args:
            requirement: [B, Q, K] of each look-up.
            wanted: [B, Q] bool, which are made.
            excluded: [B, Q, P] bool, principals not to name.
            renew: [B, members] bool, members that send a new card.
            claim: [B, members, K], the claims on it.
            step: [B] int64, step of the episode.
            generator: The world's; breaks ties and orders requests.
        """
        reputation = self.reputation()
        done = [guard.act(self.cards, reputation, requirement, wanted, step) for guard in self.guards]
        for permitted in done:
            self._rate(permitted)
        served, renewed, accepted, looked = self._serve(wanted, renew, done, generator)
        self._register(renewed, claim, done, accepted)
        for guard, asked in zip(self.guards, looked, strict=True):
            if guard.base.attack.sends_lookups():
                guard.answers = self._answer_outside(asked, guard)
        return self._answer(requirement, wanted, served, excluded, done, generator)

    def _rate(self, permitted: Permitted) -> None:
        """Book ratings from outside."""
        rating = permitted.rating
        if rating is None or self.config.ratings == "members":
            return
        where = permitted.rated
        self._book(rating.principal, where & rating.good, where & ~rating.good)
        self._count(slandered=where & (rating.principal < self.members))

    def _answer_outside(self, asked: Tensor, guard: DirectoryGuard) -> Tensor:
        """[B, K, k] names, what an outsider's look-ups [B, E] of each skill in turn show; -1 for none."""
        skill = torch.arange(asked.shape[1], device=self.device) % self.skills
        served = torch.zeros(self.num_worlds, self.skills, dtype=torch.int64, device=self.device)
        served = served.scatter_add(1, skill.expand_as(asked), asked.long()) > 0
        requirement = torch.eye(self.skills, device=self.device).expand(self.num_worlds, -1, -1)
        shelf = _Shelf.of(self.cards, self.reputation(), self.skills)
        nobody = torch.zeros(self.num_worlds, self.skills, self.principals, dtype=torch.bool, device=self.device)
        return self._named(shelf, requirement, served, nobody, self._ties(shelf, guard.base.generator)).principal

    def first_answers(
        self, worlds: Tensor, requirement: Tensor, excluded: Tensor, generator: torch.Generator
    ) -> Answer:
        """Answers for episodes that begin, before anybody from outside has come and with capacity for all.

        Args:
            worlds: [W] int64.
            requirement: [W, Q, K].
            excluded: [W, Q, P] bool.
            generator: The world's.
        """
        cards = Cards.of({name: value[worlds] for name, value in self.cards.state().items()})
        served = torch.ones(requirement.shape[:2], dtype=torch.bool, device=self.device)
        shelf = _Shelf.of(cards, self.reputation()[worlds], requirement.shape[1])
        return self._named(shelf, requirement, served, excluded, self._ties(shelf, generator))

    def _serve(
        self, wanted: Tensor, renew: Tensor, done: list[Permitted], generator: torch.Generator
    ) -> tuple[Tensor, Tensor, list[Tensor], list[Tensor]]:
        """Who is among the first ``capacity`` requests: look-ups, renewals, and each attack's cards and requests.

        The world's generator draws for honest requests alone, so that an attack does not change what it draws later.
        """
        honest = torch.cat([wanted, renew], 1)
        present = [honest]
        arrival = [torch.rand(honest.shape, generator=generator, device=self.device)]
        for guard, permitted in zip(self.guards, done, strict=True):
            sent = torch.cat([permitted.where, permitted.empty], 1)
            present.append(sent)
            arrival.append(torch.rand(sent.shape, generator=guard.base.generator, device=self.device))
        order = torch.cat(arrival, 1).masked_fill(~torch.cat(present, 1), torch.inf).argsort(dim=1, stable=True)
        rank = order.argsort(1)
        waits = self.state["half_open"]
        first = torch.cat(present, 1) & (rank < self.config.capacity - waits.sum(1, keepdim=True))
        parts = torch.split(first, [part.shape[1] for part in present], 1)
        accepted = [part[:, : p.where.shape[1]] for part, p in zip(parts[1:], done, strict=True)]
        empty = [part[:, p.where.shape[1] :] for part, p in zip(parts[1:], done, strict=True)]
        more = torch.zeros(self.num_worlds, 1, dtype=torch.int64, device=self.device)
        for asked, permitted in zip(empty, done, strict=True):
            more = more + permitted.half_open * asked.sum(1, keepdim=True)
        self.state["half_open"] = torch.cat([waits, more], 1)[:, 1:]
        served, renewed = torch.split(parts[0], [wanted.shape[1], renew.shape[1]], 1)
        self._count(asked=wanted, unserved=wanted & ~served)
        return served, renewed, accepted, empty

    def _register(self, renewed: Tensor, claim: Tensor, done: list[Permitted], accepted: list[Tensor]) -> None:
        cards = self.cards
        own = torch.arange(self.members, device=self.device).expand(self.num_worlds, -1)
        empty = Cards.empty(self.num_worlds, self.members, self.skills, self.device)
        fresh = replace(empty, present=torch.ones_like(empty.present), principal=own, origin=own, key=own, claim=claim)
        cards, _ = cards.put(renewed, fresh, self.members)
        for guard, permitted, where in zip(self.guards, done, accepted, strict=True):
            if self.config.challenge:
                where = where & permitted.holds & (permitted.cards.key == permitted.cards.principal)
            cards, fits = cards.put(where, permitted.cards, self.members)
            guard.taken = fits
            self._count(refused=permitted.where & ~fits, registered=fits)
        self.state |= cards.state()

    def _answer(
        self,
        requirement: Tensor,
        wanted: Tensor,
        served: Tensor,
        excluded: Tensor,
        done: list[Permitted],
        generator: torch.Generator,
    ) -> Answer:
        """Rank what each look-up is shown, which a poisoned hub may have changed."""
        shelf = _Shelf.of(self.cards, self.reputation(), requirement.shape[1])
        ties, asked = self._ties(shelf, generator), served & wanted
        answer = self._named(shelf, requirement, asked, excluded, ties)
        changed = shelf
        for permitted in done:
            changed = changed.with_changes(permitted)
        if changed is not shelf:
            honest, answer = answer, self._named(changed, requirement, asked, excluded, ties)
            self._count(poisoned=(answer.slot != honest.slot).any(2))
        named = answer.slot >= 0
        origin = self.cards.origin.unsqueeze(1).expand(shelf.principal.shape).gather(2, answer.slot.clamp_min(0))
        self._count(listed=named.flatten(1), listed_outside=(named & (origin == self.members)).flatten(1))
        return answer

    def _ties(self, shelf: _Shelf, generator: torch.Generator) -> Tensor:
        return torch.rand(shelf.reputation.shape, generator=generator, device=self.device)

    def _named(self, shelf: _Shelf, requirement: Tensor, served: Tensor, excluded: Tensor, ties: Tensor) -> Answer:
        """Cards that claim nothing of what is required are not named."""
        eligible = shelf.present & ~excluded.gather(2, shelf.principal.clamp_min(0)) & served.unsqueeze(2)
        eligible = eligible & ((shelf.claim * requirement.unsqueeze(2)).sum(3) > 0)
        scores = score(shelf.claim, requirement, shelf.reputation, self.config.reputation_weight)
        slot = best(scores, eligible, self.config.listed, ties)
        at, none = slot.clamp_min(0), slot < 0
        claim = shelf.claim.gather(2, at.unsqueeze(3).expand(*at.shape, self.skills))
        return Answer(
            slot=slot,
            principal=shelf.principal.gather(2, at).masked_fill(none, -1),
            claim=claim.masked_fill(none.unsqueeze(3), 0.0),
            reputation=shelf.reputation.gather(2, at).masked_fill(none, 0.0),
            served=served,
        )

    def _count(self, **events: Tensor) -> None:
        counts = self.state["counts"].clone()
        for name, happened in events.items():
            counts[:, DIRECTORY_COUNTS.index(name)] += happened.sum(1)
        self.state["counts"] = counts
