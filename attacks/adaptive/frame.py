"""frame: make an honest sender look bad, so that the defense itself cuts it off.

Aimed at defenses that punish: ``reputation``, ``quarantine``, ``shut_gate``, ``rekey`` and trust in fragments. In a few
steps of every period the attacker makes messages that any defense of content refuses: on the victim's links, which
counts against these links (``tamper``), or in its name (``forge``), which counts against the victim wherever books are
kept by claimed sender and nothing authenticates it. In the other steps it does nothing, and the defense goes on for it,
so that it costs few edits.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.attack import Attack, AttackConfig
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.forging import receivers, tokens, written
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.threat_model import Position, Power, ThreatModel
from agentcomm.contracts.views import MessageView


class FrameConfig(AttackConfig):
    """Arguments of ``frame``."""

    victim: int = Field(0, ge=0, description="the honest agent that is made to look bad")
    how: Literal["forge", "tamper"] = Field("forge", description="messages in its name, or changed ones on its links")
    burst: int = Field(2, ge=1, description="steps of a period in which it acts")
    period: int = Field(6, ge=1, description="steps after which it acts again")
    length: float = Field(4.0, gt=0, description="length of what it writes, in units of sqrt(payload width)")


class Frame(Attack[FrameConfig]):
    """On the path of one agent's links: gets that agent punished."""

    risks = ("aa.l2.responsibility_evasion", "ua.l2.identity_spoofing")

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """In the victim's name."""
        return {"": {"burst": 1, "period": 3}}

    def __init__(self, config: FrameConfig, team_shape: TeamShape) -> None:
        super().__init__(config, team_shape)
        if config.victim >= team_shape.num_agents:
            raise ValueError(f"victim={config.victim} is not an agent in 0 .. {team_shape.num_agents - 1}")

    def threat_model(self) -> ThreatModel:
        """On the path of the victim's links; injects, or modifies."""
        c = self.config
        links = tuple((c.victim, other) for other in range(self.team_shape.num_agents) if other != c.victim)
        powers: set[Power] = {"inject"} if c.how == "forge" else {"modify"}
        return ThreatModel(Position(kind="edge", links=links), frozenset(powers), "defense", c.budget)

    def injections(self) -> int:
        """One per receiver, to forge."""
        return int(self.config.how == "forge")

    def on_messages(self, view: MessageView) -> MessageEdits:
        """Write what defenses refuse, in the first steps of every period."""
        c = self.config
        acting = (view.step % c.period < c.burst).view(-1, 1, 1)
        if c.how == "tamper":
            receiver = receivers(self.team_shape, view.reach.shape[-1])
            return MessageEdits(modify=view.reach & acting, change=self._junk(view, receiver))
        receiver = receivers(self.team_shape)
        victim = torch.full_like(receiver, c.victim)
        where = acting & (receiver != victim)
        return MessageEdits(inject=written(view, self.team_shape, where, self._junk(view, receiver), victim))

    def _junk(self, view: MessageView, receiver: Tensor) -> Tensor:
        """[B, N, S, D], long random payloads."""
        return self.config.length * tokens(view, receiver)
