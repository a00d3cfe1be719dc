"""reconstruct: put what a message should say in the place of one that looks corrupted.

R-MACRL (Xue et al., "Mis-spoke or mis-lead", AAMAS 2022) puts two networks before the aggregation of messages: one
estimates for each message whether it is malicious, the other reconstructs those. Here both are heads of one network
that reads the message, its inbox, what the receiver itself says, the claimed sender and the round. It is trained on
clean messages and corrupted copies of them (:mod:`agentcomm.defenses.parts.corruptions`), by cross-entropy and
squared error, with identity as the target for clean ones; R-MACRL trains it by reinforcement learning against
labelled attacks.

What it cannot stop: messages that pass the detector (see ``graph_anomaly``). What only the sender of a flagged
message knew is lost: a reconstruction is a guess from the rest of the inbox, and near the mean where this says
nothing. It has no memory of earlier steps. Attackers that are trained against the frozen networks take part of the
return back (Xue et al.).
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from agentcomm.contracts.examples import Examples
from agentcomm.contracts.verdicts import Delivered, Replacement, Verdicts
from agentcomm.defenses.parts.detector import Detector, DetectorConfig, Messages
from agentcomm.defenses.parts.features import Features
from agentcomm.defenses.parts.networks import balanced, network, train


class ReconstructConfig(DetectorConfig):
    """Arguments of ``reconstruct``."""


class Reconstruct(Detector[ReconstructConfig]):
    """Replaces messages that it takes for corrupted by reconstructions."""

    refuses = False
    answers = ("aa.l3.cross_agent_input_detection",)
    adaptive = ("substitute", "slow_drift")
    changes_payloads: ClassVar[bool] = True
    differentiable: ClassVar[bool] = True

    def fit(self, messages: Messages, examples: Examples) -> None:
        """Train both heads on clean messages and corrupted copies of them."""
        features = Features(messages, self.team_shape.num_agents, self.rounds)
        width = messages.payload.shape[-1]
        self.features = features
        self.network = nn.Sequential(features, network(features.size, 1 + width, messages.payload.device))

        def loss(made: Messages, corrupted: Tensor, clean: Messages) -> Tensor:
            out = self.network(made)
            error: Tensor = (out[..., 1:] - (clean.payload - features.mean) / features.spread).square().mean(-1)
            return balanced(out[..., 0], corrupted, clean.present) + error[clean.present].mean()

        train(self.network, messages, features.spread, loss, examples.generator)

    def score(self, messages: Messages, memory: dict[str, Tensor]) -> Tensor:
        """The logit for "corrupted"."""
        logit: Tensor = self.network(messages)[..., 0]
        return logit

    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        """Score all messages, and reconstruct those above the threshold."""
        if not self.able(delivered):
            return Verdicts(score=self.flagged(delivered, None)[0])
        out: Tensor = self.network(self.messages(delivered))
        score, flagged = self.flagged(delivered, out[..., 0])
        payload = (self.features.mean + self.features.spread * out[..., 1:]).clamp(-self.limit, self.limit)
        return Verdicts(replace=Replacement(flagged, torch.where(flagged.unsqueeze(-1), payload, 0.0)), score=score)
