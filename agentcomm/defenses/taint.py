"""taint: refuse or weaken messages whose content depends on senders whose messages other defenses refuse.

Every message carries a label: which agents its content depends on. It is the sender's provenance, to which receivers
add an agent whenever they accept a message that came in by the link from it, and whatever the label on that message
lists. Provenance fades with time, by ``memory`` per step. An agent is suspected once other defenses have refused
``limit`` messages that came in by links from it, and for ``steps`` steps from then on. A message is tainted by the
largest share that a suspected agent has in its provenance. The score is the taint; tainted messages are refused, or
only treated as data of little weight. This answers lies that honest agents have accepted and relay (``pollute``):
these pass a check of the message alone. Suspicion works backwards: what has been accepted before it arose is tainted,
too.

What it cannot stop: lies that no other defense refuses, since no sender is suspected; relays that strip labels, which
are kept here by the receivers' network and not by the senders; an attacker on the links of an honest agent, whose
refused messages make it suspected. A label costs a bit per agent and message.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from agentcomm.contracts.defense import Defense, DefenseConfig, defense_hooks
from agentcomm.contracts.deployment import Deployment
from agentcomm.contracts.verdicts import Delivered, ExchangeOutcome, Responses, Verdicts


class TaintConfig(DefenseConfig):
    """Arguments of ``taint``."""

    action: Literal["refuse", "weaken"] = Field("refuse", description="what happens to tainted messages")
    weight: float = Field(0.25, gt=0, lt=1, description="factor of tainted messages that are weakened")
    limit: int = Field(2, ge=1, description="refused messages after which an agent is suspected")
    steps: int = Field(5, ge=1, description="steps for which it is suspected")
    memory: float = Field(0.7, ge=0, lt=1, description="share of a provenance that is left a step later")
    taint: float = Field(0.4, gt=0, le=1, description="share of suspected agents in a provenance that taints")


class Taint(Defense[TaintConfig]):
    """Follows provenance through the team; needs other defenses that refuse."""

    order = "trust"
    history = None
    lossless = True
    answers = ("aa.l3.cross_agent_input_detection", "ae.l3.memory_and_knowledge_protection")
    adaptive = ("launder", "substitute")
    changes_payloads: ClassVar[bool] = True

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Both actions."""
        return {"": {}, "weaken": {"action": "weaken", "limit": 1}}

    @property
    def message_bytes(self) -> int:
        """A bit per agent."""
        return (self.team_shape.num_agents + 7) // 8

    def unmet(self, deployment: Deployment) -> str | None:
        """It needs another defense that refuses messages."""
        others = [other for other in deployment.defenses if not isinstance(other, Taint)]
        if any(other.refuses and "screen" in defense_hooks(type(other)) for other in others):
            return super().unmet(deployment)
        named = ", ".join(other.name for other in others) or "none"
        missing = "it needs another defense that refuses messages, such as graph_anomaly+taint"
        return super().unmet(deployment) or f"{missing} (here: {named})"

    def memory(self) -> dict[str, Tensor]:
        """What agents depend on, and who is suspected.

        ``provenance`` [B, N, N] share of agent j in what i says;
        ``refused`` [B, N] int64 messages refused since the last suspicion;
        ``until`` [B, N] int64 last step of suspicion; ``step`` [B] int64 latest step.
        """
        s = self.team_shape
        sizes, device = (s.num_worlds, s.num_agents), s.device
        return {
            "provenance": torch.zeros(*sizes, s.num_agents, device=device),
            "refused": torch.zeros(sizes, dtype=torch.int64, device=device),
            "until": torch.full(sizes, -1, dtype=torch.int64, device=device),
            "step": torch.zeros(s.num_worlds, dtype=torch.int64, device=device),
        }

    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        """Score messages by their taint, and refuse or weaken tainted ones."""
        self._fade(delivered.step, memory)
        suspected = (memory["until"] >= delivered.step.view(-1, 1)).float()
        share = (memory["provenance"] * suspected.unsqueeze(1)).amax(2) if suspected.numel() else suspected
        share = share.maximum(suspected)  # all that a suspected agent says depends on it
        taint = nn.functional.pad(share, (0, 1)).unsqueeze(1).expand(-1, delivered.link.shape[1], -1)
        taint = taint.gather(2, delivered.link).masked_fill(~delivered.present, 0.0)
        tainted = (taint >= self.config.taint) & delivered.present
        if self.config.action == "refuse":
            return Verdicts(refuse=tainted, score=taint)
        return Verdicts(scale=torch.where(tainted, self.config.weight, 1.0), score=taint)

    def respond(self, outcome: ExchangeOutcome, memory: dict[str, Tensor]) -> Responses:
        """Add what receivers have accepted to their provenance, and suspect agents whose messages were refused."""
        agents = self.team_shape.num_agents
        provenance, link = memory["provenance"], outcome.link
        itself = torch.eye(agents, device=provenance.device)
        label = nn.functional.pad(provenance.maximum(itself), (0, 0, 0, 1))  # [B, N + 1, N]; row N is an outsider's
        world = torch.arange(len(link), device=link.device).view(-1, 1, 1)
        heard = label[world, link] * outcome.accepted.unsqueeze(-1)
        if heard.shape[2]:
            provenance.copy_(provenance.maximum(heard.amax(2)))
        for by, where in outcome.refused.items():
            if by not in (self.name, "gate"):
                count = nn.functional.pad(memory["refused"], (0, 1))
                count.scatter_add_(1, link.flatten(1), where.flatten(1).long())
                memory["refused"].copy_(count[:, :-1])
        full = memory["refused"] >= self.config.limit
        memory["refused"].masked_fill_(full, 0)
        later = outcome.step.view(-1, 1) + self.config.steps
        memory["until"].copy_(torch.where(full, later, memory["until"]))
        return Responses()

    def _fade(self, step: Tensor, memory: dict[str, Tensor]) -> None:
        """Let provenance fade once per step [B]."""
        passed = (step - memory["step"]).clamp_min(0)
        memory["provenance"].mul_((self.config.memory**passed).view(-1, 1, 1))
        memory["step"].copy_(step)
