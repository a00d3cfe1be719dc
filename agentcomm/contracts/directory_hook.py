"""What an attack on a directory is shown, and what it asks to be done: its hook ``on_directory``, once per step.

A ``newcomer`` with ``register`` adds cards, with ``inject`` sends the hub requests and ratings; a ``hub`` with
``modify`` changes what answers show. Cards are public, so ``read`` lets any position see them; only a hub sees the
requests. An attack that sends requests may make them look-ups, and sees what these show.

Shapes: B worlds, S places, K skills, P principals, Q look-ups, k cards per answer, M registrations or ratings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from agentcomm.contracts.views import READ, HookView


@dataclass(frozen=True)
class DirectoryShape:
    """The sizes of a directory.

    Attributes:
        members: Principals 0 .. members - 1 belong to the team.
        principals: P; from ``members`` on they are names that outsiders hold the keys of.
        skills: K.
        listed: k, cards named in an answer.
    """

    members: int
    principals: int
    skills: int
    listed: int


@dataclass(frozen=True, kw_only=True, eq=False)
class DirectoryView(HookView):
    """A directory, before it serves a step's requests.

    Attributes:
        members: Principals 0 .. members - 1 belong to the team.
        principals: P; from ``members`` on they are names that outsiders hold the keys of.
        skills: K.
        present: [B, S] bool.
        principal: [B, S] int64.
        key: [B, S] int64.
        claim: [B, S, K].
        reputation: [B, P] in [0, 1].
        requirement: [B, Q, K], skills asked for in this step.
        wanted: [B, Q] bool, look-ups that are made.
        taken: [B, M] bool, which of the cards that it sent in the last step are registered.
        answers: [B, K, k] int64, names that its own look-ups of the last step were answered with, best first, by skill;
            -1 for none and where it asked for nothing or the hub was busy.
    """

    NEEDS: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("present", "principal", "key", "claim", "reputation"), READ),
        **dict.fromkeys(("requirement", "wanted"), f"{READ} at position 'hub'"),
        "taken": "the power 'register'",
        "answers": "the power 'inject', and look-ups (sends_lookups)",
    }
    members: int
    principals: int
    skills: int
    present: Tensor = field(init=False, repr=False)
    principal: Tensor = field(init=False, repr=False)
    key: Tensor = field(init=False, repr=False)
    claim: Tensor = field(init=False, repr=False)
    reputation: Tensor = field(init=False, repr=False)
    requirement: Tensor = field(init=False, repr=False)
    wanted: Tensor = field(init=False, repr=False)
    taken: Tensor = field(init=False, repr=False)
    answers: Tensor = field(init=False, repr=False)


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
