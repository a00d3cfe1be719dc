"""Robust aggregation: replace the messages of an inbox by a center that a minority of them cannot move far.

The rules of Byzantine-robust learning, applied to what one receiver hears in one exchange. They need no keys, no
history and no knowledge of the task. All pay on clean traffic: a receiver no longer hears who said what, so exclusive
information of single senders is lost. None of them stops a majority, nor small changes that agree with each other
("a little is enough", Baruch et al., NeurIPS 2019), nor attackers that drop or delay messages.

Shapes: B worlds, N agents, M inbox slots per receiver, D payload width.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import TypeVar

from agentcomm.base.masks import zero_unless
from agentcomm.contracts.defense import Defense, DefenseConfig
from agentcomm.contracts.deployment import Deployment
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.verdicts import Delivered, InboxView, Verdicts
from agentcomm.defenses.parts.ranking import in_order

LARGEST = 1e15  # entries are clamped to this: squares of distances still fit into float32

D_co = TypeVar("D_co", bound=DefenseConfig, default=DefenseConfig, covariant=True)


class CenterRule(Defense[D_co]):
    """Puts one center in the place of all messages of an inbox, if there are at least :attr:`least` of them.

    The score of a message is its distance from the center, in units of sqrt(payload width).

    Attributes:
        least: Fewest messages in an inbox that has a center; smaller inboxes are left alone.
    """

    order = "trust"
    refuses = False
    lossless = False
    changes_payloads = True
    # Gradients of a selection are sparse: taken as the identity, they do more harm.
    differentiable: ClassVar[bool] = False

    @property
    @abstractmethod
    def least(self) -> int:
        """Fewest messages in an inbox that has a center."""

    @abstractmethod
    def center(self, payload: Tensor, present: Tensor) -> Tensor:
        """The finite center [B, N, D] of each inbox with at least ``least`` messages; any finite value elsewhere.

        Args:
            payload: [B, N, M, D], M at least ``least``; entries may be infinite or NaN, and anything where not present.
            present: [B, N, M] bool.
        """

    def __init__(self, config: D_co, team_shape: TeamShape) -> None:
        super().__init__(config, team_shape)
        self._known: tuple[Tensor, Tensor, Tensor] | None = None  # the last messages, and their center

    def unmet(self, deployment: Deployment) -> str | None:
        """It needs inboxes of at least ``least`` messages; those of a team without messages are always empty."""
        degree = deployment.shape.degree
        if deployment.silent or degree >= self.least:
            return super().unmet(deployment)
        few = f"it needs inboxes of {self.least} messages or more, but agents of this team hear at most {degree}"
        return super().unmet(deployment) or f"{few}: {self.advice}"

    @property
    def advice(self) -> str:
        """How to make do with smaller inboxes."""
        return "use a denser topology, or a smaller f"

    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        """Score every message of an inbox that is large enough; refuse none."""
        if delivered.payload.shape[2] < self.least:
            return Verdicts()
        judged = delivered.present & self._enough(delivered.present)
        center = self._center(zero_unless(delivered.present, delivered.payload), delivered.present).unsqueeze(2)
        away = (delivered.payload - center).norm(dim=-1) / self.team_shape.width**0.5
        away = torch.nan_to_num(away, torch.finfo(away.dtype).max)
        return Verdicts(score=away.masked_fill(~judged, 0.0))

    def aggregate(self, inbox: InboxView, memory: dict[str, Tensor]) -> Tensor | None:
        """The center in each slot of an inbox that is large enough."""
        if inbox.payload.shape[2] < self.least:
            return None
        center = self._center(inbox.payload, inbox.present).unsqueeze(2)
        return torch.where((inbox.present & self._enough(inbox.present)).unsqueeze(-1), center, inbox.payload)

    def _center(self, payload: Tensor, present: Tensor) -> Tensor:
        """The center of each inbox; of the messages that were just screened it is known.

        Args:
            payload: [B, N, M, D], zeros where not present.
            present: [B, N, M] bool.
        """
        if payload.requires_grad:
            return self.center(payload, present)
        known = self._known
        if known is None or not all(map(torch.equal, known[:2], (payload, present))):
            known = self._known = payload, present, self.center(payload, present)
        return known[2]

    def _enough(self, present: Tensor) -> Tensor:
        """[B, N, 1] bool, inboxes that have a center."""
        return present.sum(-1, keepdim=True) >= self.least


def bounded(payload: Tensor) -> Tensor:
    """Payloads whose entries are finite, at most :data:`LARGEST` in absolute value."""
    return payload.nan_to_num(LARGEST, LARGEST, -LARGEST).clamp(-LARGEST, LARGEST)


def ranked(payload: Tensor, present: Tensor) -> Tensor:
    """The entries [M, B, N, D] of each coordinate in ascending order; those that are NaN or absent come last."""
    absent = torch.where(present, 0.0, torch.inf).unsqueeze(-1)
    return in_order((payload.nan_to_num(torch.inf) + absent).movedim(2, 0).contiguous())


def coordinate_median(payload: Tensor, present: Tensor) -> Tensor:
    """The coordinate-wise median [B, N, D] of each inbox, 0 where a majority is not finite or the inbox is empty.

    Of an even number of values, the mean of the two in the middle counts.
    """
    count = present.sum(-1)
    ordered = ranked(payload, present)
    lower, upper = ((count - 1).clamp_min(0) // 2, (count // 2).clamp_max(len(ordered) - 1))
    middle = [ordered.gather(0, at[None, ..., None].expand_as(ordered[:1])).squeeze(0) for at in (lower, upper)]
    median = middle[0] + (middle[1] - middle[0]) / 2
    return median.nan_to_num(0.0, 0.0, 0.0)
