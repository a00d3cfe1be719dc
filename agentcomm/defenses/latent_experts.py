"""latent_experts: pull messages that contradict the others towards what these say about a common latent state.

As in CroMAC (Yuan et al., "Robust multi-agent communication via multi-view message certification", SCIS 2024), every
message is an expert with a Gaussian posterior over a latent state, and experts are combined by their product: a sum
weighted by precision. There, encoders are trained with the policy, which acts on the latent state. Here the team is
given, so the latent state is that of a factor analysis of everything that all agents say in an exchange, fitted to
clean episodes (probabilistic principal components, Tipping and Bishop 1999). What the receiver itself says is an
expert, too, and always counts in full. Experts that contradict the product of the others lose weight, as under
Student's t distribution, before messages are judged. The score is the mean squared distance of a message from what
the others predict, per entry. Beyond the threshold a message becomes a mean of both, whose own share falls with the
score.

What it cannot stop: changes of what only the sender knows, which the others cannot contradict, unless they leave the
usual spread; lies of a majority; relations that are not linear; substitutes that fit what the others say. It goes by
claimed sender. There is no certificate: CroMAC's is an interval of the policy's values for tiny perturbations of the
latent state.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.examples import Examples
from agentcomm.contracts.verdicts import Delivered, Replacement, Verdicts
from agentcomm.defenses.parts.detector import Messages, SenderConfig, SenderDetector

FREEDOM = 4.0  # degrees of freedom of Student's t distribution
PASSES = 1  # in which experts lose weight
NOISE = 0.05  # smallest variance of an entry that is not explained, in units of the spread of clean messages


class LatentExpertsConfig(SenderConfig):
    """Arguments of ``latent_experts``."""

    latent: int = Field(4, ge=1, description="dimensions of the latent state")


class Model(NamedTuple):
    """A factor analysis per round: an agent's message is offset + loading @ state + noise.

    Attributes:
        offset: [R, N + 1, D]; row N is an outsider's.
        loading: [R, N + 1, D, L]; 0 for outsiders.
        noise: [R, N + 1, D] variance of the noise.
    """

    offset: Tensor
    loading: Tensor
    noise: Tensor


class Opinion(NamedTuple):
    """What some experts say about the latent state.

    Attributes:
        precision: [..., L, L].
        shift: [..., L], precision @ mean.
    """

    precision: Tensor
    shift: Tensor


class LatentExperts(SenderDetector[LatentExpertsConfig]):
    """A product of Gaussian experts over a latent state."""

    refuses = False
    answers = ("aa.l3.cross_validation",)
    adaptive = ("substitute", "slow_drift")
    changes_payloads: ClassVar[bool] = True
    differentiable: ClassVar[bool] = True

    def fit(self, messages: Messages, examples: Examples) -> None:
        """Fit the factor analysis of each round to what agents say."""
        own = messages.own
        self.mean, self.spread = own.flatten(0, 1).mean(0), own.flatten(0, 1).std(0)
        self.spread = self.spread.clamp_min(1e-3 + 0.05 * float(self.spread.mean()))
        rounds = [own[messages.round == number] for number in range(self.rounds)]
        fitted = [self._factors(said if len(said) > 1 else own) for said in rounds]
        self.model = Model(*(torch.stack(parts) for parts in zip(*fitted, strict=True)))

    def _factors(self, said: Tensor) -> Model:
        """The model of one round, without its first dimension.

        Args:
            said: [S, N, D] what agents say.
        """
        samples, agents, width = said.shape
        unit = ((said - self.mean) / self.spread).flatten(1)
        offset, size = unit.mean(0), self.config.latent
        centered = unit - offset
        total = centered.square().mean(0)
        kept = min(size, samples, agents * width)
        _, strength, direction = torch.svd_lowrank(centered, min(kept + 4, samples, agents * width), niter=3)
        loading = direction[:, :kept] * (strength[:kept] / samples**0.5)
        noise = (total - loading.square().sum(1)).clamp_min(NOISE)
        loading = torch.nn.functional.pad(loading, (0, size - kept)).view(agents, width, size)
        outsider = unit.view(-1, width)
        return Model(
            torch.cat([offset.view(agents, width), outsider.mean(0, keepdim=True)]),
            torch.cat([loading, torch.zeros_like(loading[:1])]),
            torch.cat([noise.view(agents, width), outsider.var(0, keepdim=True).clamp_min(NOISE)]),
        )

    def score(self, messages: Messages, memory: dict[str, Tensor]) -> Tensor:
        """The mean squared distance of each message from what the others predict, per entry."""
        return self._judge(messages)[0]

    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        """Score all messages, and pull those above the threshold towards what the others predict."""
        if not self.able(delivered):
            return Verdicts(score=self.flagged(delivered, None)[0])
        m = self.messages(delivered)
        distance, predicted = self._judge(m)
        score, flagged = self.flagged(delivered, distance)
        share = (max(self.threshold, 1e-6) / score.clamp_min(1e-6)).clamp_max(1.0).unsqueeze(-1)
        predicted = (self.mean + self.spread * predicted).clamp(-self.limit, self.limit)
        payload = torch.where(flagged.unsqueeze(-1), share * m.payload + (1 - share) * predicted, 0.0)
        return Verdicts(replace=Replacement(flagged, payload), score=score)

    def _judge(self, m: Messages) -> tuple[Tensor, Tensor]:
        """[B, N, M] scores, and [B, N, M, D] what the others predict, in units of the spread."""
        offset, loading, noise = self._of(m.round, m.sender)
        unit = (m.payload - self.mean) / self.spread - offset
        gain = loading / noise.unsqueeze(-1)
        single = Opinion(loading.transpose(-1, -2) @ gain, (unit.unsqueeze(-2) @ gain).squeeze(-2))
        base = self._own(m)
        weight = m.present.float()
        for _ in range(PASSES):
            rest = _without(base, single, weight)
            score, predicted = _distance(unit, loading, gain, noise, single, rest)
            fallen = (FREEDOM + 1) / (FREEDOM + score)
            weight = m.present * fallen.clamp_max(1.0)
        score, predicted = _distance(unit, loading, gain, noise, single, _without(base, single, weight))
        return score, predicted + offset

    def _own(self, m: Messages) -> Opinion:
        """The opinion of the receiver, [B, N, ...], with the prior of the latent state."""
        agents = torch.arange(m.own.shape[1], device=m.own.device).expand(m.own.shape[:2])
        offset, loading, noise = self._of(m.round, agents)
        unit = (m.own - self.mean) / self.spread - offset
        gain = loading / noise.unsqueeze(-1)
        prior = torch.eye(loading.shape[-1], device=unit.device)
        return Opinion(prior + loading.transpose(-1, -2) @ gain, (unit.unsqueeze(-2) @ gain).squeeze(-2))

    def _of(self, round_: Tensor, agent: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Offset, loading and noise of agents [B, ...] in the rounds [B]."""
        at = round_.view(-1, *[1] * (agent.dim() - 1))
        offset, loading, noise = (part[at, agent] for part in self.model)
        return offset, loading, noise


def _without(base: Opinion, single: Opinion, weight: Tensor) -> Opinion:
    """The opinion [B, N, M, ...] of all experts of an inbox but the one in the slot, and of the receiver.

    Args:
        base: The receiver's opinion, [B, N, ...].
        single: The opinion of each message.
        weight: [B, N, M] in 0 .. 1.
    """
    precision = single.precision * weight[..., None, None]
    shift = single.shift * weight.unsqueeze(-1)
    return Opinion(
        (base.precision + precision.sum(2)).unsqueeze(2) - precision, (base.shift + shift.sum(2)).unsqueeze(2) - shift
    )


def _distance(
    unit: Tensor, loading: Tensor, gain: Tensor, noise: Tensor, single: Opinion, rest: Opinion
) -> tuple[Tensor, Tensor]:
    """Squared distance [B, N, M] per entry of messages from what the rest predicts, and the prediction [B, N, M, D].

    The inverse of the prediction's covariance, noise + loading @ inverse(rest) @ loading^T, follows from the matrix
    inversion lemma.
    """
    state = torch.linalg.solve(rest.precision, rest.shift)
    predicted = (loading @ state.unsqueeze(-1)).squeeze(-1)
    error = unit - predicted
    seen = (error.unsqueeze(-2) @ gain).squeeze(-2)
    explained = (seen * torch.linalg.solve(rest.precision + single.precision, seen)).sum(-1)
    return ((error.square() / noise).sum(-1) - explained).clamp_min(0.0) / unit.shape[-1], predicted
