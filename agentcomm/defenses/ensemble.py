"""ensemble: decide by a vote of the policy over parts of the inbox, so that few attackers cannot decide it.

The ablated message ensemble (AME; Sun et al., "Certifiably robust policy learning against adversarial communication",
ICLR 2023). The policy is asked once for each subset of k links what to do if it had heard these only, and the action
that most subsets lead to is taken. A subset counts links, not messages: those on which nothing came are heard as
silence, so that an attacker who drops messages gains no more than one who changes them, and what came in by no link is
never heard. With ``samples`` D subsets are drawn in every exchange, the same for all receivers.

If an attacker controls C of n links, C(n - C, k) of the C(n, k) subsets do not touch it. An action with more votes than
the rest have members is one that the policy takes on honest messages alone (:mod:`agentcomm.certificates.ame`, also for
D samples). No k is admissible at n = 2 (three agents),
and the certificate says nothing about the reward. The team should be
trained with ``subset``: the policy must make sense of k messages. What only one member knows is outvoted: consensus
destroys exclusive information. Attacks on observations, gates or the graph are not covered.
"""

from __future__ import annotations

from itertools import combinations
from math import comb
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from agentcomm.contracts.defense import Defense, DefenseConfig
from agentcomm.contracts.deployment import Deployment
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.verdicts import InboxView

MOST = 20_000  # subsets


class EnsembleConfig(DefenseConfig):
    """Arguments of ``ensemble``."""

    k: int = Field(1, ge=1, description="links that each member of the vote hears")
    samples: int | None = Field(None, ge=2, description="D, subsets drawn per exchange; all of them when not given")


class Ensemble(Defense[EnsembleConfig]):
    """Votes over subsets of links; for policies with one round of messages whose agents all act at once."""

    answers = ("aa.l3.cross_validation",)
    adaptive = ("collude", "gradient:adaptive=true,samples=4")
    order = "trust"
    refuses = False
    lossless = False
    in_training = False  # the gradient of a vote is not that of a policy: train with `subset`
    draws: ClassVar[bool] = True

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """All subsets of one link."""
        return {"": {"k": 1}}

    def __init__(self, config: EnsembleConfig, team_shape: TeamShape) -> None:
        super().__init__(config, team_shape)
        self._family: Tensor | None = None

    def unmet(self, deployment: Deployment) -> str | None:
        """It needs more links than each member hears, and a number of subsets that can be enumerated."""
        missing, (k, degree) = super().unmet(deployment), (self.config.k, deployment.shape.degree)
        if missing is not None or deployment.silent:
            return missing
        if k >= degree:
            return f"each member hears k={k} links, but agents of this team have {degree}: use a smaller k"
        if (number := comb(degree, k)) > MOST:
            return f"there are {number} subsets of k={k} of {degree} links, and {MOST} at most can be kept"
        if self.config.samples is not None and self.config.samples > number:
            return f"there are {number} subsets, fewer than samples={self.config.samples}: leave samples out"
        return None

    def subsets(self, inbox: InboxView, memory: dict[str, Tensor]) -> Tensor | None:
        """All subsets of k links, or some of them."""
        degree, slots = self.team_shape.degree, inbox.present.shape[-1]
        if not degree:
            return None
        if self._family is None:
            self._family = subsets_of(degree, min(self.config.k, degree)).to(inbox.present.device)
        heard = self._family
        if self.config.samples is not None:
            heard = heard[inbox.rand(len(heard)).argsort()[: self.config.samples]]
        heard = nn.functional.pad(heard, (0, slots - degree))
        return heard[:, None, None].expand(-1, *inbox.present.shape)


def subsets_of(degree: int, k: int) -> Tensor:
    """[C(degree, k), degree] bool, all subsets of k of ``degree`` slots."""
    chosen = torch.tensor(list(combinations(range(degree), k)), dtype=torch.int64)
    return torch.zeros(len(chosen), degree, dtype=torch.bool).scatter_(1, chosen, True)
