"""The view and the edits of the hook ``on_directory``, which is called once per step of a directory.

A ``newcomer`` registers cards with power ``register``, and sends the hub requests and ratings with ``inject``; a
``hub`` changes answers with ``modify``. Cards are public: any position sees them with ``read``, but only a hub sees the
requests. An attack that sends requests may send look-ups, and is shown their answers.

Shapes: B worlds, S slots for cards, K skills, P principals, Q look-ups, k cards per answer, M registrations or ratings.
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
        members: Principals 0 .. members - 1 are the team's members.
        principals: P; principals from ``members`` on are names whose keys outsiders hold.
        skills: K.
        listed: k, cards listed in an answer.
    """

    members: int
    principals: int
    skills: int
    listed: int


@dataclass(frozen=True, kw_only=True, eq=False)
class DirectoryView(HookView):
    """A directory, before it serves a step's requests.

    Attributes:
        members: Principals 0 .. members - 1 are the team's members.
        principals: P; principals from ``members`` on are names whose keys outsiders hold.
        skills: K.
        present: [B, S] bool, slots with a card.
        principal: [B, S] int64, name on the card.
        key: [B, S] int64, id of the key on the card.
        claim: [B, S, K], claimed skills in [0, 1].
        reputation: [B, P] in [0, 1].
        requirement: [B, Q, K], skills asked for in this step.
        wanted: [B, Q] bool, look-ups that are made.
        taken: [B, M] bool, cards sent in the last step that were registered.
        answers: [B, K, k] int64, names listed in the answers to its look-ups of the last step, by skill and best first;
            -1 for none, and where it sent no look-up or the hub was busy.
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
    """Cards to register, M per step; all tensors are [B, M], but the claim. Each card is one request to the hub.

    Attributes:
        where: bool, which of them to send.
        principal: int64, the name on the card: a new one, or another agent's.
        claim: [B, M, K], claimed skills in [0, 1].
        key: int64, id of the key on the card.
        quality: float32, chance in [0, 1] that the outsider behind the card delivers a task.
        stalls: bool, whether it accepts tasks and never answers.
        directive: bool, whether its description instructs its reader to choose it; None for no.
        copies: int64, members to which it delegates a task in each step while it holds it; None for 0.
        scapegoat: int64, the name that it writes into the traces of failed tasks; None or -1 for its own.
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
    """Ratings of tasks that did not exist, M per step; all tensors are [B, M].

    Attributes:
        where: bool, which of them to send.
        principal: int64, the rated name.
        good: bool, whether the task is reported as delivered.
    """

    where: Tensor
    principal: Tensor
    good: Tensor


@dataclass(frozen=True)
class DirectoryEdits:
    """The edits of one step of a directory. Each card, request, rating and changed answer costs 1.

    Attributes:
        register: Cards to register (power register).
        requests: [B] int64, empty requests to send to the hub, or look-ups of each skill in turn (power inject).
        half_open: Whether these are left half open, so that the hub waits for each until its timeout.
        ratings: Ratings to report (power inject).
        modify: [B, Q] bool, answers to change (power modify).
        claim: [B, Q, S, K], added to the claims that they show.
        reputation: [B, Q, S], added to the reputations that they show.
    """

    register: Registrations | None = None
    requests: Tensor | None = None
    half_open: bool = False
    ratings: Ratings | None = None
    modify: Tensor | None = None
    claim: Tensor | None = None
    reputation: Tensor | None = None
