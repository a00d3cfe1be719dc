"""The contract between an attack on a directory and the guard that holds it to its threat model.

Once per step an attack turns a :class:`DirectoryView` into :class:`DirectoryEdits`. It stands on the same axis as
attacks on messages, and leaves those alone.

Who may what: a ``newcomer`` with ``register`` adds cards, with ``inject`` sends the hub requests and ratings; a ``hub``
with ``modify`` changes what answers show. Cards are public, so ``read`` lets any position see them; only a hub sees the
requests. Who sends requests may make look-ups of them, and sees what these show.

Shapes: B worlds, S places, K skills, P principals, Q look-ups, k cards per answer, M registrations or ratings.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import TypeVar

from agentcomm.contracts.outcome import Episodes, Facts
from agentcomm.threats import Attack, AttackConfig, Edits, View


@dataclass(frozen=True)
class DirectoryView:
    """What an attack is shown: copies; what its position or powers do not let it see is None.

    Attributes:
        step: [B] int64, step of the episode.
        remaining: [B] int64, actions the budget still allows in this step (a large number if unlimited).
        memory: The attack's own tensors [B, ...], reset with their world; change them in place.
        generator: The attack's own randomness.
        members: Principals 0 .. members - 1 belong to the team.
        principals: P; from ``members`` on they are names that outsiders hold the keys of.
        skills: K.
        present: [B, S] bool.
        principal: [B, S] int64.
        key: [B, S] int64.
        claim: [B, S, K].
        reputation: [B, P] in [0, 1].
        requirement: [B, Q, K], skills asked for in this step (hub).
        wanted: [B, Q] bool, look-ups that are made (hub).
        taken: [B, M] bool, which of the cards that it sent in the last step are registered.
        answers: [B, K, k] int64, names that its own look-ups of the last step were answered with, best first, by skill;
            -1 for none and where it asked for nothing or the hub was busy.
    """

    step: Tensor
    remaining: Tensor
    memory: dict[str, Tensor]
    generator: torch.Generator
    members: int
    principals: int
    skills: int
    present: Tensor | None = None
    principal: Tensor | None = None
    key: Tensor | None = None
    claim: Tensor | None = None
    reputation: Tensor | None = None
    requirement: Tensor | None = None
    wanted: Tensor | None = None
    taken: Tensor | None = None
    answers: Tensor | None = None

    def rand(self, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1) from the attack's generator."""
        return torch.rand(shape, generator=self.generator, device=self.step.device)


@dataclass(frozen=True)
class Registrations:
    """Cards an attack wants to register: M per step, all [B, M] but the claim. Each is one request to the hub.

    Attributes:
        where: bool, which of them to send.
        principal: int64, the name on the card: a new one, or somebody else's.
        claim: [B, M, K] in [0, 1].
        key: int64, key id on the card.
        quality: Chance in [0, 1] that the outsider behind it delivers what it is asked for.
        stalls: bool, whether it takes tasks and never answers.
        directive: bool, whether its description tells its reader to choose it; None for no.
        copies: int64, to how many members it delegates a task in each step that it has it; None for 0.
        scapegoat: int64, the name it writes into the trace of a task that it failed; None, or -1, for its own.
    """

    where: Tensor
    principal: Tensor
    claim: Tensor
    key: Tensor
    quality: Tensor
    stalls: Tensor
    directive: Tensor | None = None
    copies: Tensor | None = None
    scapegoat: Tensor | None = None


@dataclass(frozen=True)
class Ratings:
    """Outcomes that an attack reports though there was none: M per step, all [B, M].

    Attributes:
        where: bool, which of them to send.
        principal: int64, whom they are about.
        good: bool, delivered or not.
    """

    where: Tensor
    principal: Tensor
    good: Tensor


@dataclass(frozen=True)
class DirectoryEdits:
    """What an attack wants done to the directory in one step. Each card, request, rating and changed answer costs 1.

    Attributes:
        register: Cards to register (power register).
        requests: [B] int64, empty requests to send to the hub, or look-ups of each skill in turn (power inject).
        half_open: Whether they are left half open: the hub waits for the rest until its timeout.
        ratings: Ratings to report (power inject).
        modify: [B, Q] bool, answers to change (power modify).
        claim: [B, Q, S, K], what to add to the claims they show.
        reputation: [B, Q, S], what to add to the reputations they show.
    """

    register: Registrations | None = None
    requests: Tensor | None = None
    half_open: bool = False
    ratings: Ratings | None = None
    modify: Tensor | None = None
    claim: Tensor | None = None
    reputation: Tensor | None = None


class DirectoryAttackConfig(AttackConfig):
    """Arguments every attack on a directory has."""

    threshold: float = Field(0.1, ge=0, le=1, description="share from which on an episode counts as a success")


D_co = TypeVar("D_co", bound=DirectoryAttackConfig, default=DirectoryAttackConfig, covariant=True)


class DirectoryAttack(Attack[D_co]):
    """Harms a directory. Implement ``threat_model``, :meth:`meddle` and :meth:`share`.

    Its no-op control is its own: with ``harmless``, :meth:`meddle` does as much, with content that harms nobody.
    """

    def apply(self, view: View) -> Edits:
        """Leaves messages alone."""
        return Edits()

    @abstractmethod
    def meddle(self, view: DirectoryView) -> DirectoryEdits:
        """Look at the directory and say what to do to it, once per step."""

    @abstractmethod
    def share(self, facts: Facts) -> Tensor:
        """[B] float32, the share of an episode that went the attacker's way."""

    def succeeded(self, attacked: Episodes, clean: Episodes) -> Tensor:
        """[B] bool, the success predicate: a share above the threshold."""
        assert attacked.facts is not None
        return self.share(attacked.facts) > self.config.threshold

    def registrations(self) -> int:
        """M, cards it may register in one step."""
        return 0

    def requests(self) -> int:
        """Empty requests it may send in one step and world."""
        return 0

    def looks(self) -> bool:
        """Whether its requests are look-ups, of each skill in turn, whose answers it sees in the next step."""
        return False

    def ratings(self) -> int:
        """M, ratings it may report in one step."""
        return 0
