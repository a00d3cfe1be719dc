"""gradient: perturb payloads along the gradient of receivers' action logits (white box).

One step is FGSM (Goodfellow et al. 2015), several with projection are PGD (Madry et al. 2018); on learned messages: Tu
et al., ICCV 2021 (arXiv 2101.06560). ``weakest`` > 0 is Finding the Weakest Link (Standen et al. 2026, arXiv
2605.13170): with the proxy P(message) = sum of absolute gradients, only the messages with the largest proxies (where,
and thereby who) are changed, and only in steps in whose first exchange the sum of these proxies reaches a threshold
(when).

With ``adaptive`` it knows the deployed defenses: gradients pass through those that are differentiable, others count as
the identity on the way back (backward-pass approximation), and with ``samples`` the loss is averaged over draws of
those that are random (Athalye, Carlini and Wagner, "Obfuscated gradients give a false sense of security", ICML 2018).
Where a gradient leads nowhere, a random corner of the ball is tried, too, and of all that was tried each receiver gets
what has the largest loss.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor
from typing_extensions import TypeVar

from agentcomm.contracts.attack import Attack
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.outcome import Episodes
from agentcomm.contracts.threat_model import Budget, Knowledge, Objective, ThreatModel
from agentcomm.contracts.views import MessageView
from attacks.external.place import PlaceConfig

Loss = Callable[[Tensor], Tensor]
BOUNDS = {"linf": "norm", "l2": "length"}  # fields of the budget


class GradientConfig(PlaceConfig):
    """Arguments of ``gradient``."""

    norm: Literal["linf", "l2"] = Field(
        "linf", description="norm that epsilon bounds: of every entry, or of the whole change"
    )
    epsilon: float = Field(1.0, ge=0, description="largest change of a payload in that norm")
    steps: int = Field(10, ge=1, le=200, description="gradient steps; 1 is FGSM, more are PGD")
    step_size: float = Field(0.25, gt=0, le=1, description="step size of PGD, as a share of epsilon")
    goal: Literal["untargeted", "worst", "target"] = Field(
        "untargeted", description="away from the best action, towards the worst one, or towards `action`"
    )
    action: int | None = Field(None, ge=0, description="action that receivers are to take, for goal target")
    weakest: int = Field(0, ge=0, description="messages changed per exchange, those with the largest proxies; 0: all")
    threshold: float = Field(0.0, ge=0, description="smallest proxy of a message that is changed")
    when: float = Field(0.0, ge=0, description="smallest sum of changed messages' proxies in a step that is attacked")
    adaptive: bool = Field(False, description="knows the deployed defenses, and predicts what passes through them")
    samples: int = Field(1, ge=1, le=64, description="draws of random defenses to average over, with adaptive")

    @model_validator(mode="after")
    def _a_target(self) -> Self:
        if self.samples > 1 and not self.adaptive:
            raise ValueError("samples averages over draws of the deployed defenses: it needs adaptive=true")
        if (self.goal == "target") != (self.action is not None):
            raise ValueError("goal=target needs action=<number>, and only that goal does")
        return self


G_co = TypeVar("G_co", bound=GradientConfig, default=GradientConfig, covariant=True)


class Gradient(Attack[G_co]):
    """A white-box attacker that knows the policy and all observations, and changes payloads within a norm."""

    risks: tuple[str, ...] = ("ua.l1.integrity", "ae.l3.real_world_damage")

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """PGD, FGSM within an l2 ball, and Finding the Weakest Link."""
        return {
            "": {"steps": 3},
            "l2": {"norm": "l2", "epsilon": 2.0, "goal": "worst", "steps": 1},
            "weakest link": {"weakest": 1, "goal": "target", "action": 2, "steps": 2},
        }

    @property
    def _budget(self) -> Budget:
        return self.config.budget.at_most(**{BOUNDS[self.config.norm]: self.config.epsilon})

    @property
    def epsilon(self) -> float:
        """The largest change: ``epsilon``, or the budget's limit if that is smaller."""
        bound: float = getattr(self._budget, BOUNDS[self.config.norm])
        return bound

    def threat_model(self) -> ThreatModel:
        """On the path, or a compromised agent; reads and modifies, and knows the policy, or also the defenses."""
        c = self.config
        goal: Objective = "untargeted" if c.goal == "untargeted" else "targeted"
        knows: Knowledge = "defense" if c.adaptive else "policy"
        return ThreatModel(c.position(), frozenset({"read", "modify"}), knows, self._budget, goal)

    def predicate(self) -> str | None:
        """For the goal ``target``, that its action is taken."""
        return "the team takes the target action more often" if self.config.goal == "target" else None

    def succeeded(self, attacked: Episodes, clean: Episodes) -> Tensor:
        """[B] bool, for the goal ``target`` the team takes its action more often; otherwise it earns less."""
        if self.config.action is None:
            return super().succeeded(attacked, clean)
        return attacked.took_more(clean, self.config.action)

    def memory(self) -> dict[str, Tensor]:
        """``on``: [B] bool, whether the present step is attacked."""
        s = self.team_shape
        return {"on": torch.ones(s.num_worlds, dtype=torch.bool, device=s.device)}

    def on_messages(self, view: MessageView) -> MessageEdits:
        """Choose the messages to change, and optimize the changes."""
        predict_logits, start = view.predict_logits, torch.zeros(*view.reach.shape, view.width, device=view.step.device)
        if not bool(view.reach.any()):
            return MessageEdits(modify=view.reach, change=start)
        loss = self._loss(predict_logits, start)
        reached, slope = _climb(loss, start)
        some = self._where(view, slope)
        change, best = start, _Best(start, reached)
        for number in range(self.config.steps):
            if number:
                reached, slope = _climb(loss, change)
                best.offer(change, reached)
            change = self._project(change + self._step(slope), view)
        if not self.config.adaptive:
            return MessageEdits(modify=some, change=change)
        best.offer(change, loss(change))
        corner = self._project(self._step(view.randn(*start.shape)) / self.config.step_size, view)
        best.offer(corner, loss(corner))
        return MessageEdits(modify=some & best.change.any(-1), change=best.change)

    def _loss(self, predict_logits: Callable[[Tensor], Tensor], unchanged: Tensor) -> Loss:
        """The objective that the attack maximizes, [B, N] by receiver, as a function of the change."""
        space = self.team_shape.actions

        def logits(change: Tensor) -> Tensor:
            drawn = [predict_logits(change) for _ in range(self.config.samples)]
            return drawn[0] if len(drawn) == 1 else space.average(torch.stack(drawn))

        clean, goal = logits(unchanged), self.config.goal
        if goal == "untargeted":
            sign, wanted = space.untargeted(clean)
        else:
            option = torch.full(clean.shape[:2], self.config.action or 0, device=clean.device)
            sign, wanted = 1.0, space.unlikeliest(clean) if goal == "worst" else space.from_option(option)

        def loss(change: Tensor) -> Tensor:
            return sign * space.log_probability(logits(change), wanted)

        return loss

    def _where(self, view: MessageView, slope: Tensor) -> Tensor:
        """[B, N, M] bool, messages to change: all drawn ones, or those with the largest proxies."""
        some = view.reach & (view.rand(*view.reach.shape) < self.config.probability)
        proxy = slope.abs().sum(-1).masked_fill(~some, 0.0)
        some &= proxy >= self.config.threshold
        if self.config.weakest:
            rank = proxy.flatten(1).argsort(dim=1, descending=True, stable=True).argsort(dim=1).view_as(proxy)
            some &= rank < self.config.weakest
        if view.round == 0:
            view.memory["on"].copy_((proxy * some).flatten(1).sum(1) >= self.config.when)
        return some & view.memory["on"].view(-1, 1, 1)

    def _step(self, slope: Tensor) -> Tensor:
        size = self.epsilon * (1.0 if self.config.steps == 1 else self.config.step_size)
        if self.config.norm == "linf":
            return size * slope.sign()
        return size * torch.nn.functional.normalize(slope, dim=-1)

    def _project(self, change: Tensor, view: MessageView) -> Tensor:
        """The nearest change [B, N, M, D] within the bound."""
        epsilon = self.epsilon
        if self.config.norm == "linf":
            return change.clamp(-epsilon, epsilon)
        shorter: Tensor = change * (epsilon / change.norm(dim=-1, keepdim=True).clamp_min(max(epsilon, 1e-30)))
        return shorter


@torch.enable_grad()
def _climb(loss: Loss, change: Tensor) -> tuple[Tensor, Tensor]:
    """The loss [B, N] at a change [B, N, M, D], and the gradient of its sum [B, N, M, D]."""
    change = change.detach().requires_grad_()
    reached = loss(change)
    slope: tuple[Tensor, ...] = torch.autograd.grad(reached.sum(), change)
    return reached.detach(), slope[0]


class _Best:
    """The change [B, N, M, D] with the largest loss [B, N] of each receiver so far."""

    def __init__(self, change: Tensor, reached: Tensor) -> None:
        self.change, self.reached = change, reached

    def offer(self, change: Tensor, reached: Tensor) -> None:
        """Take over the parts of another change whose receivers lose more."""
        better = reached > self.reached
        self.change = torch.where(better[..., None, None], change, self.change)
        self.reached = torch.where(better, reached, self.reached)
