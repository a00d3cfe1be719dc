"""Examples: the messages of clean episodes, from which a defense learns what honest messages look like.

Shapes: S samples, N agents, k inbox slots per receiver, D payload width, A actions. A sample is one exchange of one
episode, with the inboxes of all receivers. Where agents act in turns, all turns of the last round are one sample.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from agentcomm.base.errors import RequirementError


@dataclass(frozen=True, eq=False)
class Examples:
    """Messages that receivers got in clean episodes of the very team, without attack and without defense.

    Attributes:
        payload: [S, N, k, D] float32, as received; 0 where there is no message.
        present: [S, N, k] bool.
        sender: [S, N, k] int64; all of them are true.
        own: [S, N, D] float32, what the receiver itself says in this exchange.
        step: [S] int64, steps since the episode began.
        round: [S] int64, exchange within the step.
        episode: [S] int64, 0 .. episodes - 1.
        generator: For everything that calibration draws.
        index: [S] int64, the rows of these samples for ``predict``.
        predict: Action logits given rows and payloads; None for agents that act in turns. See :meth:`logits`.
    """

    payload: Tensor
    present: Tensor
    sender: Tensor
    own: Tensor
    step: Tensor
    round: Tensor
    episode: Tensor
    generator: torch.Generator
    index: Tensor
    predict: Callable[[Tensor, Tensor], Tensor] | None = None

    @property
    def episodes(self) -> int:
        """Number of episodes."""
        return int(self.episode.max()) + 1 if len(self.episode) else 0

    def logits(self, payload: Tensor) -> Tensor:
        """Action parameters [S, N, P] of the greedy team if agents received other payloads in these exchanges.

        Later exchanges of the step follow from these; gradients flow through the payloads.

        Args:
            payload: [S, N, k, D].

        Raises:
            RequirementError: If agents act in turns, so that their logits depend on each other's actions.
        """
        if self.predict is None:
            raise RequirementError("agents that act in turns have no logits of a whole exchange to learn from")
        return self.predict(self.index, payload)

    def take(self, rows: Tensor) -> Examples:
        """The samples ``rows`` ([S] bool or indices), with the same generator."""
        return replace(self, **{name: getattr(self, name)[rows] for name in TENSORS})

    def split(self, share: float) -> tuple[Examples, Examples]:
        """Two parts with different episodes, such as one to fit a model and one to set its threshold.

        Args:
            share: Share of the episodes in the first part; each part has at least one if there are two.
        """
        known = torch.unique(self.episode)
        first = known[: max(1, min(len(known) - 1, round(share * len(known))))]
        early = torch.isin(self.episode, first)
        return self.take(early), self.take(~early)


TENSORS = ("payload", "present", "sender", "own", "step", "round", "episode", "index")
