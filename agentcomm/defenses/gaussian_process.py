"""gaussian_process: weigh each message by the posterior probability that its sender tells the truth.

Mitchell et al. ("Gaussian process based message filtering for robust multi-agent cooperation", 2020) model the
messages that robots send at one time as one draw of a Gaussian process over their relative positions, and hold two
hypotheses against each other: that a message belongs to the draw, and that it does not. The weight of a message is
its sender's posterior probability of being truthful.

Here agents have no common geometry. Its place is taken by their identities: the kernel between two agents is the
covariance of what they say, estimated from clean episodes and shrunk towards independence, one per round and the same
for all whitened entries of a message. The receiver's own message belongs to the draw and is never doubted. A message
is held against its conditional distribution given the rest of the inbox, with and without it, in closed form
(Rasmussen and Williams, *Gaussian processes for machine learning*, equation 5.12). A liar's messages have ``liar``
times the usual spread. The score is the log-odds of a lie per entry; weights fall from 1 beyond the threshold, and
scale payloads.

What it cannot stop: informed liars that stay within the conditional spread (the fully informed agent of the paper);
lies about what is independent of the rest of the inbox; a majority of liars, since each message is judged as if all
others were true. It goes by claimed sender.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.base.masks import finite
from agentcomm.contracts.examples import Examples
from agentcomm.contracts.verdicts import Delivered, Verdicts
from agentcomm.defenses.parts.detector import Messages, SenderConfig, SenderDetector

SHRINK = 0.1  # towards independent agents
NOISE = 0.02  # variance of a whitened entry that no other agent explains, at least


class GaussianProcessConfig(SenderConfig):
    """Arguments of ``gaussian_process``."""

    liar: float = Field(3.0, gt=1, description="spread of a liar's messages, in units of that of clean messages")


class GaussianProcess(SenderDetector[GaussianProcessConfig]):
    """A Gaussian process over the identities of agents."""

    answers = ("aa.l3.cross_validation",)
    adaptive = ("substitute", "slow_drift")
    changes_payloads: ClassVar[bool] = True
    differentiable: ClassVar[bool] = True

    def fit(self, messages: Messages, examples: Examples) -> None:
        """Whiten the entries of messages, and estimate mean and kernel of each round."""
        own, agents = messages.own, self.team_shape.num_agents
        everything = own.flatten(0, 1)
        centered = everything - everything.mean(0)
        value, vector = torch.linalg.eigh(centered.T @ centered / max(len(centered) - 1, 1))
        floor = 1e-6 + 0.01 * float(value.mean())
        self.whitening = vector / value.clamp_min(floor).sqrt()  # [D, D]
        means, kernels = [], []
        for number in range(self.rounds):
            said = own[messages.round == number]
            unit = (said if len(said) > 1 else own) @ self.whitening
            mean, away = unit.mean(0), unit - unit.mean(0)
            kernel = torch.einsum("sid,sjd->ij", away, away) / (len(unit) * unit.shape[-1])
            kernel = kernel * (1 - SHRINK + SHRINK * torch.eye(agents, device=own.device))
            kernel = torch.nn.functional.pad(kernel, (0, 1, 0, 1))
            kernel[-1, -1] = kernel.diagonal()[:-1].mean()  # an outsider is like no member
            means.append(torch.cat([mean, mean.mean(0, keepdim=True)]))
            kernels.append(kernel + NOISE * torch.eye(agents + 1, device=own.device))
        self.mean, self.kernel = torch.stack(means), torch.stack(kernels)  # [R, N + 1, D], [R, N + 1, N + 1]

    def score(self, messages: Messages, memory: dict[str, Tensor]) -> Tensor:
        """Log-odds of a lie per entry, if lies and truths are equally likely beforehand."""
        m = messages
        agents = torch.arange(m.own.shape[1], device=m.own.device).view(1, -1, 1).expand(len(m.own), -1, 1)
        member = torch.cat([agents, m.sender], -1)  # the receiver first
        present = torch.cat([torch.ones_like(agents, dtype=torch.bool), m.present], -1)
        said = torch.cat([m.own.unsqueeze(2), m.payload], 2) @ self.whitening
        at = m.round.view(-1, 1, 1)
        away = (said - self.mean[at, member]).masked_fill(~present.unsqueeze(-1), 0.0)
        kernel = self.kernel[at.unsqueeze(-1), member.unsqueeze(-1), member.unsqueeze(-2)]
        alone = torch.eye(present.shape[-1], device=said.device)
        both = present.unsqueeze(-1) & present.unsqueeze(-2)
        # Two messages in the same name are two noisy readings of one value.
        kernel = torch.where(both, kernel, alone) + 1e-3 * alone
        inverse = torch.linalg.inv(kernel)
        variance = 1 / inverse.diagonal(dim1=-2, dim2=-1).clamp_min(1e-6)
        error = (inverse @ away) * variance.unsqueeze(-1)  # from the mean given the others
        usual = kernel.diagonal(dim1=-2, dim2=-1) * self.config.liar**2
        truth = error.square().mean(-1) / variance + variance.log()
        lie = away.square().mean(-1) / usual + usual.log()
        odds: Tensor = (truth - lie)[..., 1:] / 2
        return odds

    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        """Scale payloads by the probability of truth; those that are not finite are refused."""
        score, flagged = self.judged(delivered, memory)
        broken = flagged & ~finite(delivered.payload)
        scale = self.weights(score, flagged, sharpness=math.sqrt(self.team_shape.width))
        return Verdicts(refuse=broken, scale=scale, score=score)
