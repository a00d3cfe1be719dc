"""The hub: keeps cards and reputations, and answers look-ups as far as its capacity goes.

In each step all requests (look-ups, renewals of cards, registrations from outside, empty ones) arrive in random order,
and the hub serves the first ``capacity`` of them; one that is left half open occupies it for ``HALF_OPEN_STEPS``
steps. Reputation comes from outcomes alone, and belongs to the principal named on the card that a task was handed over
by, or in the trace of a task that failed; what a card says about itself never changes it.

What a card's description tells its reader to do needs a reader that understands language. Here stands a scripted
*obedient interpreter*: with the chance ``obedience`` a requester does what a description says.

Shapes: B worlds, S places, K skills, P principals, Q look-ups, k cards per answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from agentcomm.contracts.cards import Cards
from agentcomm.contracts.directory_defense import Answer
from agentcomm.contracts.directory_hook import DirectoryShape
from agentcomm.contracts.outcome import DIRECTORY_COUNTS, Facts
from agentcomm.directory.config import HALF_OPEN_STEPS, DirectoryConfig
from agentcomm.directory.large import answer_served, first_answer, is_large
from agentcomm.directory.queue import serve
from agentcomm.directory.ranking import most_able
from agentcomm.directory.screens import DirectoryScreens, Judged, requests_of, sent_in, signed_answers
from agentcomm.directory.shelf import Shelf
from agentcomm.guards.directory import DirectoryGuard, Permitted


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
        screens: Its defenses.

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
        self.screens = DirectoryScreens((), self.shape)
        self._everywhere = torch.arange(num_worlds, device=device)
        outcomes = torch.zeros(num_worlds, self.principals, dtype=torch.int64, device=device)
        self.state = Cards.empty(num_worlds, config.slots, skills, device).state() | {
            "outcomes_good": outcomes,
            "outcomes_bad": outcomes.clone(),
            "counts": torch.zeros(num_worlds, len(DIRECTORY_COUNTS), dtype=torch.int64, device=device),
            "half_open": outcomes.new_zeros(num_worlds, HALF_OPEN_STEPS - 1),  # by steps left
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

    def install(self, guards: Sequence[DirectoryGuard], screens: DirectoryScreens | None = None) -> None:
        """Let these attacks and defenses act on it, and no others; those that own them save their state."""
        self.guards = list(guards)
        self.screens = DirectoryScreens((), self.shape) if screens is None else screens

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
        self.screens.reset(worlds)

    def read_traces(self, asked: Tensor, written: Tensor) -> Tensor:
        """The last names on the traces of tasks that are over, as they are believed.

        Args:
            asked: [B, Q] int64, the name that each task was handed over to; -1 for none.
            written: [B, Q] int64, the name that the holder of the task writes there instead; -1 for none.

        Returns:
            [B, Q] int64; -1 for none.
        """
        forged = written >= 0
        name = torch.where(forged, written, asked)
        judged = self.screens.judge(self._everywhere, {"trace_name": name, "trace_proved": ~forged})
        return torch.where(judged.traces, asked, name)

    def report(self, principal: Tensor, good: Tensor, bad: Tensor, holder: Tensor) -> None:
        """Book outcomes on the names that the tasks' traces show: whoever reads a trace blames the last on it.

        Args:
            principal: [B, Q] int64; -1 for none.
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
            generator: The world's; nothing is drawn without obedience.

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
        busy: Tensor = torch.zeros_like(claim[..., 0], dtype=torch.bool)
        if bool((copies > 0).any()):
            busy = most_able(claim, requirement, copies).any(1)
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
        own: Tensor,
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
            own: [B, Q] bool, those made by whoever has the task to give, not by somebody who passes it on.
            renew: [B, members] bool, members that send a new card.
            claim: [B, members, K], the claims on it.
            step: [B] int64, step of the episode.
            generator: The world's; breaks ties and orders requests.
        """
        reputation = self.reputation()
        done = [guard.act(self.cards, reputation, requirement, wanted, step) for guard in self.guards]
        judged = self._judge(done, renew, claim)
        self._rate(done, judged.ratings)
        served, renewed, accepted, looked = self._serve(wanted, renew, done, judged, generator)
        self._register(renewed, claim, done, accepted, judged)
        for guard, asked in zip(self.guards, looked, strict=True):
            if guard.looks_up:
                guard.answers = self._answer_outside(asked, guard)
        answer = self._answer(requirement, served & wanted, excluded, done, generator)
        return self._send(answer, self._everywhere, requirement, own)

    def _judge(self, done: list[Permitted], renew: Tensor, claim: Tensor) -> Judged:
        """What defenses say of the requests of this step; the hub waits no longer for those that they close."""
        parts = {"half_open": self.state["half_open"].flip(1)}  # by steps since they came
        parts |= sent_in(done, renew)
        if self.screens.defenses:
            parts |= requests_of(done, self.cards, claim, self.members)
        judged = self.screens.judge(self._everywhere, parts)
        self.state["half_open"] = self.state["half_open"].masked_fill(judged.closed.flip(1), 0)
        return judged

    def _send(self, answer: Answer, worlds: Tensor, requirement: Tensor, own: Tensor) -> Answer:
        """What look-ups are told in the end."""
        if not self.screens.defenses:
            return answer
        cards = Cards.of({name: value[worlds] for name, value in self.cards.state().items()})
        signed = signed_answers(answer, cards, self.members)
        judged = self.screens.judge(worlds, {"requirement": requirement, "own": own, "answer_signed": signed}, answer)
        assert judged.answer is not None
        return judged.answer

    def _rate(self, done: list[Permitted], refused: Tensor) -> None:
        """Book ratings from outside, but for those refused [B, M'], all attacks' one after the other."""
        sizes = [permitted.rated.shape[1] for permitted in done]
        for permitted, bad in zip(done, torch.split(refused, sizes, 1) if done else (), strict=True):
            rating, where = permitted.rating, permitted.rated & ~bad
            if rating is None:
                continue
            self._book(rating.principal, where & rating.good, where & ~rating.good)
            self._count(slandered=where & (rating.principal < self.members))

    def _answer_outside(self, asked: Tensor, guard: DirectoryGuard) -> Tensor:
        """[B, K, k] names, what an outsider's look-ups [B, E] of each skill in turn show; -1 for none."""
        skill = torch.arange(asked.shape[1], device=self.device) % self.skills
        served = torch.zeros(self.num_worlds, self.skills, dtype=torch.int64, device=self.device)
        served = served.scatter_add(1, skill.expand_as(asked), asked.long()) > 0
        requirement = torch.eye(self.skills, device=self.device).expand(self.num_worlds, -1, -1)
        shelf = Shelf.of(self.cards, self.reputation(), self.skills)
        excluded = torch.zeros(self.num_worlds, self.skills, self.principals, dtype=torch.bool, device=self.device)
        return self._named(shelf, requirement, served, excluded, shelf.ties(guard.base.own)).principal

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
        known = cards, self.reputation()[worlds], requirement, excluded
        answer = first_answer(*known, generator, self.config, self.members)
        return self._send(answer, worlds, requirement, answer.served)

    def _serve(
        self, wanted: Tensor, renew: Tensor, done: list[Permitted], judged: Judged, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, list[Tensor], list[Tensor]]:
        """Who is among the first ``capacity`` requests: look-ups, renewals, and each attack's cards and requests."""
        waits = self.state["half_open"]
        left = self.config.capacity - waits.sum(1, keepdim=True)
        outside = judged.cards_away[:, self.members :], judged.requests_away
        honest, accepted, empty = serve(torch.cat([wanted, renew], 1), done, self.guards, outside, left, generator)
        more = torch.zeros(self.num_worlds, 1, dtype=torch.int64, device=self.device)
        for asked, permitted in zip(empty, done, strict=True):
            more = more + permitted.half_open * asked.sum(1, keepdim=True)
        self.state["half_open"] = torch.cat([waits, more], 1)[:, 1:]
        served, renewed = torch.split(honest, [wanted.shape[1], renew.shape[1]], 1)
        self._count(asked=wanted, unserved=wanted & ~served)
        return served, renewed, accepted, empty

    def _register(
        self, renewed: Tensor, claim: Tensor, done: list[Permitted], accepted: list[Tensor], judged: Judged
    ) -> None:
        """Put up cards: members' renewed ones, then outsiders', as far as they were served and not refused."""
        cards = self.cards
        own = torch.arange(self.members, device=self.device).expand(self.num_worlds, -1)
        empty = Cards.empty(self.num_worlds, self.members, self.skills, self.device)
        fresh = replace(empty, present=torch.ones_like(empty.present), principal=own, origin=own, key=own, claim=claim)
        cards, _ = cards.put(renewed & ~judged.cards[:, : self.members], fresh, self.members)
        sizes = [self.members, *(where.shape[1] for where in accepted)]
        bad, plain = (torch.split(part, sizes, 1)[1:] for part in (judged.cards, judged.stripped))
        for guard, permitted, where, no, mute in zip(self.guards, done, accepted, bad, plain, strict=True):
            sent = replace(permitted.cards, directive=permitted.cards.directive & ~mute)
            cards, fits = cards.put(where & ~no, sent, self.members)
            guard.taken = fits
            self._count(refused=permitted.where & ~fits, registered=fits)
        self.state |= cards.state()

    def _answer(
        self, requirement: Tensor, asked: Tensor, excluded: Tensor, done: list[Permitted], generator: torch.Generator
    ) -> Answer:
        """Rank what each look-up is shown, which a poisoned hub may have changed."""
        changes = any(p.claim is not None or p.reputation is not None for p in done)
        if is_large(requirement.shape[1], self.members) and not changes:
            known = self.cards, self.reputation(), requirement, asked, excluded
            return self._listed(answer_served(*known, generator, self.config))
        shelf = Shelf.of(self.cards, self.reputation(), requirement.shape[1])
        changed, ties = shelf, shelf.ties(generator)
        answer = self._named(shelf, requirement, asked, excluded, ties)
        for permitted in done:
            changed = changed.with_changes(permitted)
        if changed is not shelf:
            honest, answer = answer, self._named(changed, requirement, asked, excluded, ties)
            self._count(poisoned=(answer.slot != honest.slot).any(2))
        return self._listed(answer)

    def _listed(self, answer: Answer) -> Answer:
        """The same answer, counted."""
        origin = self.cards.origin.gather(1, answer.slot.flatten(1).clamp_min(0))
        named = answer.slot.flatten(1) >= 0
        self._count(listed=named, listed_outside=named & (origin == self.members))
        return answer

    def _named(self, shelf: Shelf, requirement: Tensor, served: Tensor, excluded: Tensor, ties: Tensor) -> Answer:
        return shelf.answer(requirement, served, excluded, ties, self.config.listed, self.config.reputation_weight)

    def _count(self, **events: Tensor) -> None:
        counts = self.state["counts"].clone()
        for name, happened in events.items():
            counts[:, DIRECTORY_COUNTS.index(name)] += happened.sum(1)
        self.state["counts"] = counts
