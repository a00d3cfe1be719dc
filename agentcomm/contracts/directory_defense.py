"""What a defense of a directory is shown, and what it decides.

The hook ``on_directory`` is called when something reaches or leaves the hub: traces of tasks, then requests and
ratings, then answers; what is not there at that moment is empty.

Shapes: W worlds, M cards, M' ratings, T steps, Q look-ups, k cards per answer, K skills.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Answer:
    """What the hub answered to Q look-ups.

    Attributes:
        slot: [B, Q, k] int64, places in the directory, best first; -1 for none.
        principal: [B, Q, k] int64, names on those cards; -1 for none.
        claim: [B, Q, k, K], the claims shown.
        reputation: [B, Q, k], the reputations shown.
        served: [B, Q] bool, false where the hub had no capacity left or there was no look-up.
    """

    slot: Tensor
    principal: Tensor
    claim: Tensor
    reputation: Tensor
    served: Tensor


@dataclass(frozen=True, eq=False)
class DirectoryRequests:
    """What reaches or leaves the hub at one moment.

    Attributes:
        worlds: [W] int64, indices of the worlds that all this is about; memory has a row for each of the B worlds.
        members: Principals 0 .. members - 1 are the team's members.
        card_sent: [W, M] bool, cards to register: the members' new ones first, then those from outside.
        card_name: [W, M] int64, the principal on each card.
        card_proved: [W, M] bool, whether its sender has proved to hold the key of that name, in this session.
        card_signed: [W, M] bool, whether that key has signed these very claims, now or on a card that is registered.
        card_known: [W, M] bool, whether a card of that name is registered.
        card_changed: [W, M] bool, whether its digest is that of no registered card of that name. The digest covers
            claims, key, description, and the software that the card offers as far as the hub has it.
        card_directive: [W, M] bool, whether its description tells its reader what to do.
        request_sent: [W, E] bool, other requests from outside.
        rating_sent: [W, M'] bool, ratings.
        rating_name: [W, M'] int64, the rated name.
        rating_good: [W, M'] bool.
        rating_by_member: [W, M'] bool, whether a member of the team gave it.
        half_open: [W, T] int64, requests left half open, by the steps for which they have occupied the hub: 1 .. T.
        trace_name: [W, Q] int64, the last name on the trace of each task; -1 for none.
        trace_proved: [W, Q] bool, whether the holder of that name has sealed it.
        requirement: [W, Q, K] of the look-ups that ``answer`` is about.
        own: [W, Q] bool, look-ups of the agent whose task it is, not of one that passes the task on.
        answer: The answers about to leave the hub; None at other moments.
        answer_signed: [W, Q, k] bool, whether the key on the card has signed the claims that the answer shows.
    """

    worlds: Tensor
    members: int
    card_sent: Tensor
    card_name: Tensor
    card_proved: Tensor
    card_signed: Tensor
    card_known: Tensor
    card_changed: Tensor
    card_directive: Tensor
    request_sent: Tensor
    rating_sent: Tensor
    rating_name: Tensor
    rating_good: Tensor
    rating_by_member: Tensor
    half_open: Tensor
    trace_name: Tensor
    trace_proved: Tensor
    requirement: Tensor
    own: Tensor
    answer_signed: Tensor
    answer: Answer | None = None


@dataclass(frozen=True)
class DirectoryVerdicts:
    """What a defense decides about them.

    Attributes:
        refuse_cards: [W, M] bool, cards not to register; they have taken the hub's time all the same.
        turn_away_cards: [W, M] bool, cards not to register that take none of the hub's time.
        turn_away_requests: [W, E] bool, requests that take none of the hub's time, and are not answered.
        strip: [W, M] bool, cards whose descriptions no reader is shown.
        refuse_ratings: [W, M'] bool, ratings not to book.
        close: [W, T] bool, by age as in ``half_open``: requests to wait for no longer.
        refuse_traces: [W, Q] bool, names not to believe; the one that was asked counts instead.
        answer: What look-ups are told instead.
    """

    refuse_cards: Tensor | None = None
    turn_away_cards: Tensor | None = None
    turn_away_requests: Tensor | None = None
    strip: Tensor | None = None
    refuse_ratings: Tensor | None = None
    close: Tensor | None = None
    refuse_traces: Tensor | None = None
    answer: Answer | None = None
