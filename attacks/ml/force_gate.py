"""force_gate: perturb observations to force agents' temporal gates open or closed.

A gate decides from its agent's own observation whether to listen (:mod:`policies.parts.gate`). An attacker that
controls the sensors makes the agent observe what closes its gate (it is cut off, although no message is touched) or
what opens it (it pays for messages that it would not have listened to). Sensors show only values that they could show
without an attack.

In index observations the attack replaces indices by the most effective of ``candidates`` random replacements; numbers
move by ``epsilon`` along the sign of the gradient (FGSM). ``guess`` is the baseline of the same budget without
knowledge of the policy: one random replacement, or random signs.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.attack import Attack, AttackConfig
from agentcomm.contracts.deployment import Deployment
from agentcomm.contracts.outcome import Episodes
from agentcomm.contracts.threat_model import Position, ThreatModel
from agentcomm.contracts.views import ObservationView


class ForceGateConfig(AttackConfig):
    """Arguments of ``force_gate``."""

    goal: Literal["open", "closed"] = Field("closed", description="state that gates are forced into")
    node: int | None = Field(None, ge=0, description="agent whose sensors it controls; all agents' when not given")
    guess: bool = Field(False, description="perturb at random, without knowledge of the policy")
    swaps: int = Field(1, ge=1, le=16, description="indices replaced per agent and step")
    candidates: int = Field(64, ge=1, le=1024, description="random replacements tried per replaced index")
    epsilon: float = Field(0.5, ge=0, description="largest change of an observed number")
    probability: float = Field(1.0, ge=0, le=1, description="chance per step that an agent's sensors are attacked")


class ForceGate(Attack[ForceGateConfig]):
    """Controls sensors, and shows observations that open or close gates."""

    risks = ("ua.l1.availability",)

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """With knowledge of the policy, and without."""
        return {"": {}, "guess": {"guess": True, "node": 1, "goal": "open", "swaps": 2}}

    def threat_model(self) -> ThreatModel:
        """At the sensors; reads and modifies observations, with or without knowledge of the policy."""
        c = self.config
        budget = c.budget.at_most(norm=c.epsilon)
        knowledge, goal = ("none", "untargeted") if c.guess else ("policy", "targeted")
        return ThreatModel(
            Position(kind="sensor", node=c.node),
            frozenset({"read", "modify"}),
            knowledge,  # type: ignore[arg-type]
            budget,
            goal,  # type: ignore[arg-type]
        )

    def idle(self, deployment: Deployment) -> str | None:
        """It has no use without gates."""
        return super().idle(deployment) if deployment.gated else "this team has no gates"

    def succeeded(self, attacked: Episodes, clean: Episodes) -> Tensor:
        """[B] bool, the team sent fewer messages per step (closed), or more (open)."""
        now, before = (e.messages["sent"] / e.length for e in (attacked, clean))
        return now < before if self.config.goal == "closed" else now > before

    def on_observations(self, view: ObservationView) -> Tensor | None:
        """Show the perturbations that move gate logits most towards the goal; nothing where there are no gates."""
        if not (self.config.guess or view.shows("gate_logits")):
            return None
        some = (view.reach & (view.rand(*view.reach.shape) < self.config.probability)).unsqueeze(-1)
        shown = view.observation
        if shown.is_floating_point():
            shown = shown + (self.threat_model().budget.norm or 0.0) * self._sign(view)
        else:
            for _ in range(self.config.swaps):
                shown = self._swap(view, shown)
        return torch.where(some, shown, view.observation)

    def _wanted(self, view: ObservationView, observation: Tensor) -> Tensor:
        """[..., N], the objective: gate logits, negated if gates are to close."""
        return view.gate_logits(observation) * (1 if self.config.goal == "open" else -1)

    def _sign(self, view: ObservationView) -> Tensor:
        """[B, N, O] of -1 and 1."""
        if self.config.guess:
            random = torch.randint(2, view.observation.shape, generator=view.generator, device=view.reach.device)
            return 2.0 * random - 1
        with torch.enable_grad():
            seen = view.observation.detach().requires_grad_()
            slope: tuple[Tensor, ...] = torch.autograd.grad(self._wanted(view, seen).sum(), seen)
        return slope[0].sign()

    def _swap(self, view: ObservationView, shown: Tensor) -> Tensor:
        """``shown`` [B, N, O] with one more index replaced, of those not replaced yet."""
        (worlds, agents, width), readings = shown.shape, view.readings
        count = 1 if self.config.guess else self.config.candidates
        # All other readings that the sensors could show, with equal probability: [B * N, readings].
        open_ = readings.expand(worlds, -1, -1, -1) & (shown == view.observation).unsqueeze(-1)
        open_ = open_.scatter(3, shown.unsqueeze(-1) + 1, False).flatten(2).flatten(0, 1)
        stuck = ~open_.any(-1)
        chance = (open_ | stuck.unsqueeze(-1)).float()
        drawn = torch.multinomial(chance, count, replacement=True, generator=view.generator).view(worlds, agents, count)
        entry, index = drawn // readings.shape[-1], drawn % readings.shape[-1] - 1
        tried = shown.unsqueeze(0).repeat(count, 1, 1, 1)  # [count, B, N, O]
        tried.scatter_(3, entry.permute(2, 0, 1).unsqueeze(-1), index.permute(2, 0, 1).unsqueeze(-1))
        best = tried[0]
        if not self.config.guess:
            pick = self._wanted(view, tried).argmax(0).view(1, worlds, agents, 1).expand(-1, -1, -1, width)
            best = tried.gather(0, pick).squeeze(0)
        return torch.where(stuck.view(worlds, agents, 1), shown, best)
