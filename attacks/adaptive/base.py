"""A base for attacks on messages that were written against particular defenses, and know those that are deployed.

Where the team's decision can be predicted, such an attack tries a few changes of each message on a prediction that
passes through the deployed defenses (``view.predict_logits``), and makes the one after which the receiver is least
likely to act as it would have; otherwise it makes the first. Trying candidates needs no gradients, so it also works
where a defense has none (Tramer et al., "On adaptive attacks to adversarial example defenses", NeurIPS 2020).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import normalize
from typing_extensions import TypeVar

from agentcomm.contracts.attack import Attack
from agentcomm.contracts.threat_model import Power, ThreatModel
from agentcomm.contracts.views import MessageView
from attacks.external.place import PlaceConfig


class AdaptiveConfig(PlaceConfig):
    """Arguments of attacks that change messages and know the defenses."""

    epsilon: float | None = Field(None, ge=0, description="largest change of a payload entry; none for no limit")


A_co = TypeVar("A_co", bound=AdaptiveConfig, default=AdaptiveConfig, covariant=True)


class Adaptive(Attack[A_co]):
    """An attacker on the path of links, or a compromised agent, that knows the team's policy and its defenses."""

    powers: frozenset[Power] = frozenset({"read", "modify"})

    def threat_model(self) -> ThreatModel:
        """Reads and modifies, and knows the policy and the deployed defenses."""
        budget = self.config.budget.at_most(norm=self.config.epsilon)
        return ThreatModel(self.config.position(), self.powers, "defense", budget, "evade")

    def drawn(self, view: MessageView) -> Tensor:
        """[B, N, M] bool, messages in reach that are attacked."""
        return view.reach & (view.rand(*view.reach.shape) < self.config.probability)

    def within(self, change: Tensor) -> Tensor:
        """The changes [..., D], entry by entry within the norm of the threat model."""
        norm = self.threat_model().budget.norm
        return change if norm is None else change.clamp(-norm, norm)


def damage_of(view: MessageView) -> Callable[[Tensor], Tensor] | None:
    """Maps changes [B, N, M, D] to the loss [B, N] of each receiver's present best action; None if it is unknown.

    The loss is the cross-entropy of the action that the receiver would take if the messages were left as they are; of
    continuous actions, the log-density of one far from it.
    """
    if not view.shows("predict_logits"):
        return None
    unchanged = torch.zeros(*view.reach.shape, view.width, device=view.step.device)
    sign, action = view.actions.untargeted(view.predict_logits(unchanged))

    def loss(change: Tensor) -> Tensor:
        return sign * view.actions.log_probability(view.predict_logits(change), action)

    return loss


@torch.enable_grad()
def slope_of(loss: Callable[[Tensor], Tensor], change: Tensor) -> Tensor:
    """Gradient [B, N, M, D] of the losses' sum at a change; 0 where it is not defined, as that of a distance at 0."""
    change = change.detach().requires_grad_()
    slope: tuple[Tensor, ...] = torch.autograd.grad(loss(change).sum(), change)
    return slope[0].nan_to_num(0.0, 0.0, 0.0)


def most_harmful(view: MessageView, candidates: Sequence[Tensor]) -> Tensor:
    """For each receiver the change [B, N, M, D] with the largest loss among the candidates; the first if unknown."""
    loss = damage_of(view)
    if loss is None or len(candidates) == 1:
        return candidates[0]
    losses = torch.stack([loss(change) for change in candidates])
    chosen = losses.nan_to_num(-torch.inf).argmax(0)
    best = candidates[0]
    for number, change in enumerate(candidates[1:], start=1):
        best = torch.where((chosen == number)[..., None, None], change, best)
    return best


def steepest(view: MessageView) -> Tensor:
    """[B, N, M, D], unit vectors along which each message does most harm; against the payload if that is unknown."""
    loss = damage_of(view)
    against = -normalize(view.payload, dim=-1)
    if loss is None or not bool(view.reach.any()):
        return against
    slope = slope_of(loss, torch.zeros_like(view.payload))
    return torch.where(slope.any(-1, keepdim=True), normalize(slope, dim=-1), against)
