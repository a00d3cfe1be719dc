"""The outcome of evaluated episodes, from which metrics and success predicates are computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor

from agentcomm.contracts.link_counts import LinkCounts
from agentcomm.contracts.scored import ScoredMessages

# Counters of a directory per episode, in the order of its state.
DIRECTORY_COUNTS = (
    *("asked", "unserved", "refused", "registered", "listed", "listed_outside", "poisoned", "routed", "misrouted"),
    *("spoiled", "obeyed", "blocked", "worked", "booked", "slandered", "blamed", "misblamed"),
)
# Failure counts, and the count of which each is a share.
SHARES = {
    **dict.fromkeys(("unserved", "poisoned", "obeyed"), "asked"),
    **dict.fromkeys(("misrouted", "spoiled"), "routed"),
    "blocked": "worked",
    "slandered": "booked",
    "misblamed": "blamed",
}


MOST_DRAWN = 256  # agents up to which a cell says what each pair of them exchanged


@dataclass(frozen=True)
class Facts:
    """Counters of a directory in an episode so far, [B] int64 each.

    Attributes:
        asked: Look-ups.
        unserved: Look-ups beyond the hub's capacity.
        refused: Registrations refused for lack of capacity, of a free slot or of a key.
        registered: Cards accepted from outsiders.
        listed: Cards listed in answers.
        listed_outside: Listed cards of outsiders.
        poisoned: Answers that differ from those of an honest hub.
        routed: Tasks handed to the holder of a card.
        misrouted: Tasks handed to an outsider.
        spoiled: Tasks handed to an outsider that did not deliver.
        obeyed: Tasks whose requester followed an instruction in a card's description.
        blocked: Steps in which copies of a task kept a member from taking another one.
        worked: Steps of members.
        booked: Outcomes and ratings recorded for a name.
        slandered: Recorded ratings of members by outsiders.
        blamed: Failures that an auditor attributes to a name, by the trace of the task.
        misblamed: Failures attributed to the wrong name.
    """

    asked: Tensor
    unserved: Tensor
    refused: Tensor
    registered: Tensor
    listed: Tensor
    listed_outside: Tensor
    poisoned: Tensor
    routed: Tensor
    misrouted: Tensor
    spoiled: Tensor
    obeyed: Tensor
    blocked: Tensor
    worked: Tensor
    booked: Tensor
    slandered: Tensor
    blamed: Tensor
    misblamed: Tensor

    @classmethod
    def of(cls, counts: Tensor) -> Facts:
        """The facts in a directory's counts [B, len(DIRECTORY_COUNTS)]."""
        return cls(**dict(zip(DIRECTORY_COUNTS, counts.unbind(1), strict=True)))

    def share(self, name: str) -> Tensor:
        """[B] float32, the share in each world; 0 if its denominator is 0."""
        share: Tensor = getattr(self, name) / getattr(self, SHARES[name]).clamp_min(1)
        return share


class Contact(NamedTuple):
    """Where an attack on messages first reached the team.

    Attributes:
        step: [B] int64, the first step in which a message reached a receiver that an attack forged, copied or changed,
            or in which an attack dropped or delayed one that was for it; -1 if that never happened.
        receivers: [B, N] bool, the receivers to whom it happened in that step.
    """

    step: Tensor
    receivers: Tensor


class Guesses(NamedTuple):
    """Guesses of an attack that exfiltrates, over all episodes.

    Attributes:
        right: Private facts that it guessed right from messages, or bits that its accomplice decoded right.
        prior: Those that would be guessed right without the messages: the most frequent ones, or half of the bits.
        asked: All of them.
        bits_per_step: Decoded bits per step; None if it guesses facts.
    """

    right: int
    prior: float
    asked: int
    bits_per_step: float | None = None


@dataclass(frozen=True)
class Episodes:
    """The outcome of B episodes.

    Attributes:
        length: [B] int64 steps.
        success: [B] bool; says nothing unless ``success_known``.
        total_reward: [B] summed reward, mean over present agents.
        harm: [B] int64 harm done (:attr:`agentcomm.contracts.world.World.harm`).
        actions: [B, A] int64, how often members took an action of each option of the action space.
        messages: Counts of the ledger by name, [B] each, until each episode's end.
        bytes: [B] bytes on the wire until each episode's end.
        late_by: Latency of all arrived messages, summed: [B] steps, and [B] seconds; zero without channels.
        refused_by: [B] refused messages, by defense.
        gate_by_step: Share of open gates in running worlds, per step; None after the last episode has ended.
        gate_open: Share of open gates over all steps.
        facts: Counters of the directory until each episode's end; None in a world without a directory.
        action_by_step: [T, B, N, ...] int16, or float32 of continuous actions, the action of each member in each step;
            arbitrary after an episode's end.
        links: Messages that receivers accepted, by their true senders; None if they were not counted.
        contact: Where the attack first reached the team; None without an attack on messages.
        scored: The messages that each defense scored, for defenses that give scores.
        isolations: [B] int64, links that a defense closed, for each defense that closes links.
        false_isolations: [B] int64, those of them on which, and on whose other end, no attack acted in the episode.
        guesses: Guesses of an attack that exfiltrates; None without one.
        numbers: Numbers in a payload, before a codec encodes it.
        frames: Frames of each recorded world, for the report's player.
        success_known: Whether the world says of every episode if it is a success.
    """

    length: Tensor
    success: Tensor
    total_reward: Tensor
    harm: Tensor
    actions: Tensor
    messages: dict[str, Tensor]
    bytes: Tensor
    late_by: tuple[Tensor, Tensor]
    refused_by: dict[str, Tensor]
    gate_by_step: list[float | None]
    gate_open: float
    facts: Facts | None = None
    action_by_step: Tensor | None = None
    links: LinkCounts | None = None
    contact: Contact | None = None
    scored: Mapping[str, ScoredMessages] = field(default_factory=dict)
    isolations: Mapping[str, Tensor] = field(default_factory=dict)
    false_isolations: Mapping[str, Tensor] = field(default_factory=dict)
    guesses: Guesses | None = None
    numbers: int = 0
    frames: list[list[dict[str, Any]]] = field(default_factory=list)
    success_known: bool = True

    def took_more(self, other: Episodes, action: int) -> Tensor:
        """[B] bool, whether members took an action in a larger share of their turns than in ``other`` episodes.

        Raises:
            ValueError: If the team has no such action.
        """
        if action >= self.actions.shape[1]:
            raise ValueError(f"action={action} is none of the team's {self.actions.shape[1]} actions")
        mine, theirs = (e.actions[:, action] / e.actions.sum(1).clamp_min(1) for e in (self, other))
        return mine > theirs + 1e-6

    def heard(self) -> Tensor:
        """[B], the share of the team's own messages that reached the policies of their receivers."""
        count = self.messages
        own = count["accepted"] - count["accepted_forged"] - count["accepted_replayed"]
        return own / count["sent"].clamp_min(1)

    def totals(self) -> dict[str, int]:
        """Sums of all counts over worlds, by name.

        With ``bytes``, and by defense ``refused_by``, ``isolated_by`` and ``falsely_isolated_by``.
        """
        out = {name: int(count.sum()) for name, count in self.messages.items()}
        out["bytes"] = int(self.bytes.sum())
        by_defense = {"refused_by": self.refused_by, "isolated_by": self.isolations}
        by_defense |= {"falsely_isolated_by": self.false_isolations}
        return out | {
            f"{what}.{name}": int(count.sum()) for what, by in by_defense.items() for name, count in by.items()
        }

    @property
    def edges(self) -> Tensor | None:
        """[B, N, N] int64, messages that receiver i accepted from agent j, in each episode; for teams of moderate size.

        ``links`` has the same numbers without an entry for each pair of agents.
        """
        return None if self.links is None else self.links.dense()

    def edge_means(self) -> list[list[float]]:
        """[N][N] messages per step that receiver i accepted from agent j, over all episodes.

        Empty if they were not counted, and for more than ``MOST_DRAWN`` agents, of whose links no picture is drawn.
        """
        if self.links is None or self.links.agents > MOST_DRAWN:
            return []
        found: list[list[float]] = (self.links.total() / self.length.sum()).tolist()
        return found
