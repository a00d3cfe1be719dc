"""bristle: hear a mean of one's own message and those of others, chosen by distance and weighted by usefulness.

After Bristle (Verbraeken, de Vos and Pouwelse, arXiv 2110.11006), which integrates models of Byzantine peers; here
messages are integrated. The *prioritizer* ranks an inbox of n messages by distance from what the receiver itself says,
and keeps (1 - a)^2 n of the nearest third, (2 a - 2 a^2) n of the middle one and a^2 n of the farthest, at random in
each; a = 0.4 in the authors' code. The *integrator* puts one mean in the place of all messages,

    mean   = (own + sum_j weight_j message_j) / (1 + sum_j weight_j)
    weight = max(0, 10 sigmoid(score / 100) - 4) * max(0, mean_c - std_c of u_j)
    score  = sum over c of diff^(3 + u_own) if u_j > u_own, else -diff^(4 + u_own), with diff = 10 |u_j - u_own|

with sums over kept messages only. In the authors' code u is the F1 score of a model for class c on a test set. Here
classes are the actions that a receiver takes with all messages; u_own is the F1 score with which it takes them if every
message is its own, u_j if every message is that of slot j. As a message has no columns by class, its weight is that of
the authors' foreign columns, from the sum of scores. The trusted test set are the clean episodes of calibration:
usefulness under attack is not measured, so a weight belongs to a slot, and an attacker on a useful link keeps
it. A message near what the receiver says gets past the prioritizer.

Its price without an attack is that of the method. Messages that agree with the receiver's own are nearest, so cutting
far ones cuts dissent: on the ten teams of ``agreement_9`` it keeps 61% of what messages are worth (44 to 78%). Without
the prioritizer it would keep 74%, with equal weights besides 86%.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import one_hot, pad

from agentcomm.contracts.defense import Defense, DefenseConfig
from agentcomm.contracts.deployment import Deployment
from agentcomm.contracts.examples import Examples
from agentcomm.contracts.verdicts import InboxView
from agentcomm.defenses.robust import bounded

FEWEST = 3  # messages in an inbox that has three thirds
SAMPLES = 4096  # exchanges in which usefulness is measured


class BristleConfig(DefenseConfig):
    """Arguments of ``bristle``."""

    exploration: float = Field(
        0.4, ge=0, le=1, description="a: 0 keeps messages of the nearest third only, 1 of the farthest only"
    )


class Bristle(Defense[BristleConfig]):
    """Distance prioritizer, and an integrator with weights from usefulness on clean episodes.

    Attributes:
        weight: [N, k], weight of each slot of each receiver.
    """

    answers = ("aa.l3.cross_agent_input_detection",)
    adaptive = ("little", "rewrite:epsilon=4.0,adaptive=true")
    order = "trust"
    refuses = False
    lossless = False
    changes_payloads = True
    reads_originals = True
    in_training = False
    draws: ClassVar[bool] = True
    calibration = 256
    weight: Tensor

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Half of the nearest third, half of the middle one."""
        return {"": {"exploration": 0.3}}

    def unmet(self, deployment: Deployment) -> str | None:
        """It needs inboxes that have a nearest, a middle and a farthest third."""
        missing, degree = super().unmet(deployment), deployment.shape.degree
        if missing is not None or deployment.silent or degree >= FEWEST:
            return missing
        return f"it chooses among {FEWEST} messages or more, but agents hear at most {degree}: use a denser topology"

    def calibrate(self, examples: Examples) -> None:
        """Measure how useful each slot of each receiver is."""
        agents, slots = examples.present.shape[1:]
        self.weight = torch.ones(agents, slots, device=examples.payload.device)
        if examples.predict is None or not len(examples.payload):
            return  # usefulness cannot be measured: all messages weigh as much as one's own
        g = examples.generator
        examples = examples.take(torch.randperm(len(examples.step), generator=g, device=g.device)[:SAMPLES])
        with torch.no_grad():
            logits = self._scores(examples, examples.payload)
            action, classes = logits.argmax(-1), logits.shape[-1]
            alone = _f1(self._scores(examples, examples.own.unsqueeze(2).expand_as(examples.payload)), action)
            known = one_hot(action, classes).any(0).T  # [A, N]
            for slot in range(slots):
                told = examples.payload[:, :, slot : slot + 1].expand_as(examples.payload)
                self.weight[:, slot] = integrator(alone, _f1(self._scores(examples, told), action), known)

    def _scores(self, examples: Examples, payload: Tensor) -> Tensor:
        """[S, N, A] by option of the action space."""
        return self.team_shape.actions.option_scores(examples.logits(payload))

    def aggregate(self, inbox: InboxView, memory: dict[str, Tensor]) -> Tensor | None:
        """The mean of the receiver's own message and those that are kept, in every slot."""
        own, present, values = inbox.own.unsqueeze(2), inbox.present, bounded(inbox.payload)
        slots, links = present.shape[-1], self.weight.shape[-1]
        weight = pad(self.weight, (0, max(0, slots - links)))[:, :slots]  # what comes in by no link has no weight
        weight = (weight * self._kept((values - own).norm(dim=-1), present, inbox)).unsqueeze(-1)
        mean = (own + (weight * values).sum(2, keepdim=True)) / (1 + weight.sum(2, keepdim=True))
        return torch.where(present.unsqueeze(-1), mean, inbox.payload)

    def _kept(self, away: Tensor, present: Tensor, inbox: InboxView) -> Tensor:
        """[B, N, M] bool, messages that the prioritizer keeps.

        Args:
            away: [B, N, M] distances from what the receiver says.
            present: [B, N, M] bool.
            inbox: The inbox, for random numbers.
        """
        a, count = self.config.exploration, present.sum(-1, keepdim=True)
        rank = away.masked_fill(~present, torch.inf).argsort(-1).argsort(-1)
        third = (3 * rank // count.clamp_min(1)).clamp_max(3)  # 3 where no message is
        quota = (count * away.new_tensor([(1 - a) ** 2, 2 * a - 2 * a**2, a**2])).round()
        place = (third + inbox.rand(*present.shape)).argsort(-1).argsort(-1)
        within = place - (third * count + 2) // 3  # the first of third t has rank ceil(t count / 3)
        return present & (within < quota.gather(-1, third.clamp_max(2)))


def _f1(logits: Tensor, action: Tensor) -> Tensor:
    """[A, N], F1 score with which the likeliest of actions (logits [S, N, A]) is ``action`` ([S, N]), by action."""
    true, guess = (one_hot(taken, logits.shape[-1]) for taken in (action, logits.argmax(-1)))
    score: Tensor = 2 * (true * guess).sum(0) / (true.sum(0) + guess.sum(0)).clamp_min(1)
    return score.T


def integrator(own: Tensor, useful: Tensor, known: Tensor) -> Tensor:
    """[N], the weight of a slot.

    Args:
        own: [A, N], F1 scores by class without messages.
        useful: [A, N], with the slot's message.
        known: [A, N] bool, classes that occur at all; others do not count.
    """
    diff = 10 * (useful - own).abs()
    score = torch.where(useful > own, diff ** (3 + own), -(diff ** (4 + own))).masked_fill(~known, 0.0).sum(0)
    number = known.sum(0).clamp_min(1)
    mean = (useful * known).sum(0) / number
    spread = ((useful - mean).square() * known).sum(0).div(number).sqrt()
    return (10 * (score / 100).sigmoid() - 4).clamp_min(0.0) * (mean - spread).clamp_min(0.0)
