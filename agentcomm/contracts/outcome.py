"""What happened in evaluated episodes: what metrics and success predicates are computed from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

# What a directory counts in each episode, in this order in its state.
DIRECTORY_COUNTS = (
    *("asked", "unserved", "refused", "registered", "listed", "listed_outside", "poisoned", "routed", "misrouted"),
    *("spoiled", "obeyed", "blocked", "worked", "booked", "slandered", "blamed", "misblamed"),
)
# What goes wrong, and of how much.
SHARES = {
    **dict.fromkeys(("unserved", "poisoned", "obeyed"), "asked"),
    **dict.fromkeys(("misrouted", "spoiled"), "routed"),
    "blocked": "worked",
    "slandered": "booked",
    "misblamed": "blamed",
}


@dataclass(frozen=True)
class Facts:
    """What happened to a directory in an episode so far, [B] int64 each.

    Attributes:
        asked: Look-ups that were made.
        unserved: Those that the hub had no capacity for.
        refused: Registrations turned away, for want of capacity, place or key.
        registered: Cards accepted from outsiders.
        listed: Places filled in answers.
        listed_outside: Those filled by an outsider's card.
        poisoned: Answers that name others than an honest hub's would.
        routed: Tasks handed to whoever answers for a card.
        misrouted: Those that an outsider got.
        spoiled: Those that an outsider got and did not deliver.
        obeyed: Tasks that went where a card's description told their requester to.
        blocked: Steps of members that copies of a task kept from taking another.
        worked: Steps of members.
        booked: Outcomes and ratings booked on a name.
        slandered: Ratings of members by outsiders among them.
        blamed: Failures that an auditor puts down to a name, by the trace of the task.
        misblamed: Those that somebody else is to blame for.
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
        """From a directory's counts [B, len(DIRECTORY_COUNTS)]."""
        return cls(**dict(zip(DIRECTORY_COUNTS, counts.unbind(1), strict=True)))

    def share(self, name: str) -> Tensor:
        """[B] float32, one of the shares, by world; 0 of nothing."""
        share: Tensor = getattr(self, name) / getattr(self, SHARES[name]).clamp_min(1)
        return share


@dataclass(frozen=True)
class Episodes:
    """What happened in B episodes.

    Attributes:
        length: [B] int64 steps taken.
        success: [B] bool.
        total_reward: [B] summed reward, mean over the agents that are there.
        harm: [B] int64 harm done (:attr:`agentcomm.contracts.world.World.harm`).
        actions: [B, A] int64, how often members took each action.
        messages: Counts of the ledger by name, [B] each, until each episode's end.
        bytes: [B] bytes on the wire until each episode's end.
        late_by: [B] steps, and [B] seconds, that arrived messages took, summed; zero without channels.
        refused_by: [B] messages turned away, by defense.
        gate_by_step: Per step, the share of open gates among running worlds; None where none runs.
        gate_open: The same over all steps.
        facts: What happened to the directory until each episode's end; None in a world without one.
        frames: Per recorded world, its frames for the report's player.
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
    frames: list[list[dict[str, Any]]] = field(default_factory=list)

    def totals(self) -> dict[str, int]:
        """Sums of all counts over worlds, by name, with ``bytes`` and ``refused_by.<defense>``."""
        out = {name: int(count.sum()) for name, count in self.messages.items()}
        out["bytes"] = int(self.bytes.sum())
        return out | {f"refused_by.{name}": int(count.sum()) for name, count in self.refused_by.items()}
