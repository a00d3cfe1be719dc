"""bristle: hear the nearest messages and a few others, each as far as its link has proved useful on clean episodes.

After Bristle (Verbraeken, de Vos and Pouwelse, arXiv 2110.11006), which integrates models of Byzantine peers; here
messages are integrated. The *prioritizer* ranks an inbox by distance from what the receiver itself says, and keeps the
``exploit`` nearest and ``explore`` random others; of the rest the receiver hears its own message, which tells it
nothing. The *integrator* moves every kept message from the own one towards what was said by a weight in 0 .. 1 from
measured usefulness:

    diff   = 10 |u_j - u_own|
    score  = diff^(3 + u_own) if u_j > u_own, else -diff^(4 + u_own), at least -100
    weight = min(1, max(0, 10 sigmoid(score / 100) - 4) * max(0, mean - std of u_j))

as in the authors' code, where u is an F1 score on a test set. Here u_own is the probability that a receiver gives the
action that it takes with all messages when it hears only itself, u_j when it hears slot j as well; both are averaged
over clean episodes, with the standard deviation of u_j over episodes. The trusted test set is that calibration: nobody
measures the usefulness of a message under attack, so a weight belongs to a slot, and an attacker on a useful link keeps
it until its message is too far away. Whoever stays near what the receiver says gets past the prioritizer.

Deviations: weights are capped at 1, since the policy mixes messages itself, and foreign classes have no counterpart.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.defense import Defense, DefenseConfig
from agentcomm.contracts.deployment import Deployment
from agentcomm.contracts.examples import Examples
from agentcomm.contracts.verdicts import InboxView
from agentcomm.defenses.robust import bounded

FLOOR = -100.0  # the least score


class BristleConfig(DefenseConfig):
    """Arguments of ``bristle``."""

    exploit: int = Field(2, ge=1, description="nearest messages to keep")
    explore: int = Field(1, ge=0, description="random others to keep")


class Bristle(Defense[BristleConfig]):
    """Distance prioritizer, and weights from usefulness on clean episodes.

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
    calibration = 32
    weight: Tensor

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """One of each."""
        return {"": {"exploit": 1, "explore": 1}}

    def unmet(self, deployment: Deployment) -> str | None:
        """It needs more links than it keeps."""
        kept, degree = self.config.exploit + self.config.explore, deployment.shape.degree
        missing = super().unmet(deployment)
        if missing is not None or deployment.silent or degree > self.config.exploit:
            return missing
        return f"it keeps {kept} of {degree} messages, so it could do nothing: use a smaller exploit"

    def calibrate(self, examples: Examples) -> None:
        """Measure how useful each slot of each receiver is."""
        agents, slots = examples.present.shape[1:]
        self.weight = torch.ones(agents, slots, device=examples.payload.device)
        if examples.predict is None or not len(examples.payload):
            return  # usefulness cannot be measured: the prioritizer works alone
        with torch.no_grad():
            heard = examples.present.unsqueeze(-1)
            alone = torch.where(heard, examples.own.unsqueeze(2), examples.payload)
            action = examples.logits(examples.payload).argmax(-1, keepdim=True)
            own = _probability(examples, alone, action)
            for slot in range(slots):
                told = alone.clone()
                told[:, :, slot] = examples.payload[:, :, slot]
                useful = _probability(examples, told, action)
                self.weight[:, slot] = integrator(own, useful, examples.episode)

    def aggregate(self, inbox: InboxView, memory: dict[str, Tensor]) -> Tensor | None:
        """Kept messages, weighted; the receiver's own in place of others."""
        own, present = inbox.own.unsqueeze(2), inbox.present
        values = bounded(inbox.payload)
        slots, links = present.shape[-1], self.weight.shape[-1]
        away = (values - own).norm(dim=-1).masked_fill(~present, torch.inf)
        rank = away.argsort(dim=-1).argsort(dim=-1)
        nearest = present & (rank < self.config.exploit)
        lottery = inbox.rand(*present.shape).masked_fill(~present | nearest, torch.inf)
        others = present & ~nearest & (lottery.argsort(dim=-1).argsort(dim=-1) < self.config.explore)
        # What comes in by no link has no weight.
        weight = torch.nn.functional.pad(self.weight, (0, max(0, slots - links)))[:, :slots] * (nearest | others)
        mixed = own + weight.unsqueeze(-1) * (values - own)
        return torch.where(present.unsqueeze(-1), mixed, inbox.payload)


def _probability(examples: Examples, payload: Tensor, action: Tensor) -> Tensor:
    """[S, N], how likely actions [S, N, 1] are if receivers hear these payloads [S, N, k, D]."""
    return examples.logits(payload).softmax(-1).gather(-1, action).squeeze(-1)


def integrator(own: Tensor, useful: Tensor, episode: Tensor) -> Tensor:
    """[N], the weight of a slot.

    Args:
        own: [S, N], probability of the right action without messages.
        useful: [S, N], with the slot's message.
        episode: [S] int64, of which samples are.
    """
    count = int(episode.max()) + 1
    number = torch.bincount(episode, minlength=count).clamp_min(1).unsqueeze(-1)
    each = torch.zeros(count, useful.shape[1], device=useful.device).index_add_(0, episode, useful) / number
    certainty = (each.mean(0) - each.std(0, correction=0)).clamp_min(0.0)
    before, after = own.mean(0), useful.mean(0)
    diff = 10 * (after - before).abs()
    score = torch.where(after > before, diff ** (3 + before), -(diff ** (4 + before))).clamp_min(FLOOR)
    return ((10 * (score / 100).sigmoid() - 4).clamp_min(0.0) * certainty).clamp_max(1.0)
