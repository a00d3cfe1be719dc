"""fragment: attack the reassembly of fragmented messages (channel ``fragments``; cf. arXiv 2506.01767).

A receiver allocates a buffer to a fragment before it knows who sent it. ``early`` sends a first fragment under a
message's id ahead of the honest one, ``header`` replays headers of past messages whose rest never arrives, ``fake``
floods receivers with fragments of messages that do not exist, and ``middle`` inserts a forged fragment into a message.
The first three leave messages incomplete: each of them occupies a buffer until its timeout.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.attack import Attack, AttackConfig
from agentcomm.contracts.edits import Fragments, MessageEdits
from agentcomm.contracts.outcome import Episodes
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.threat_model import Position, Power, ThreatModel
from agentcomm.contracts.views import MessageView


class FragmentConfig(AttackConfig):
    """Arguments of ``fragment``."""

    how: Literal["early", "header", "fake", "middle"] = Field("early", description="kind of fragment that is sent")
    place: Literal["edge", "newcomer"] = Field("edge", description="on the path, or an outsider that guesses ids")
    probability: float = Field(1.0, ge=0, le=1, description="of early and middle: chance that a message is attacked")
    rate: float = Field(1.0, ge=0, le=64, description="of header and fake: mean fragments per receiver and exchange")


class Fragment(Attack[FragmentConfig]):
    """Injects fragments, but no whole messages."""

    risks = ("aa.l2.dos", "ua.l1.availability", "ua.l2.session_manipulation")
    needs_fragmentation = True

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Each kind of fragment."""
        return {
            "": {},
            "header": {"how": "header", "rate": 2.5},
            "fake": {"how": "fake", "rate": 2.5, "place": "newcomer"},
            "middle": {"how": "middle", "probability": 0.5},
        }

    def __init__(self, config: FragmentConfig, team_shape: TeamShape) -> None:
        super().__init__(config, team_shape)
        if config.how == "header" and config.place == "newcomer":
            raise ValueError("how='header' replays headers that it has read, but place='newcomer' reads nothing")

    def threat_model(self) -> ThreatModel:
        """Injects, knowing how message ids are made; or (``header``) reads, and replays what it has read."""
        powers: set[Power] = {"read", "replay"} if self.config.how == "header" else {"inject"}
        position = Position(kind=self.config.place)
        return ThreatModel(position, frozenset(powers), "protocol", self.config.budget, "exhaust")

    def succeeded(self, attacked: Episodes, clean: Episodes) -> Tensor:
        """[B] bool, a smaller share of the team's messages is accepted than in the same episode without the attack."""
        return attacked.heard() < clean.heard() - 1e-6

    def memory(self) -> dict[str, Tensor]:
        """``known``: [B, N] bool, whether it has read a header on a link to that receiver in an earlier exchange."""
        s = self.team_shape
        return {"known": torch.zeros(s.num_worlds, s.num_agents, dtype=torch.bool, device=s.device)}

    def on_messages(self, view: MessageView) -> MessageEdits:
        """Draw the attacked messages, and where in the exchange fragments are inserted."""
        c, known = self.config, view.memory["known"]
        none = torch.zeros_like(view.reach)
        begin, slots = none.long(), view.reach.shape[-1]
        if c.how in ("early", "middle"):
            # An outsider sees no messages; it guesses that there is one in each slot.
            hit = view.rand(*none.shape) < c.probability
            hit &= view.reach if c.place == "edge" else torch.ones_like(none)
            early, middle = (hit if c.how == how else none for how in ("early", "middle"))
            return MessageEdits(fragments=Fragments(begin, early, middle))
        count = int(c.rate) + (view.rand(*none.shape[:2]) < c.rate % 1).long()
        if c.how == "header":
            if slots:  # ahead of all messages
                begin[..., 0] = count * known
            known |= view.reach.any(-1)
            return MessageEdits(fragments=Fragments(begin, none, none))
        slot = (view.rand(*none.shape[:2], int(c.rate) + 1) * slots).long()  # anywhere among honest messages
        sent = torch.arange(int(c.rate) + 1, device=none.device) < count.unsqueeze(-1)
        if slots:
            begin.scatter_add_(2, slot, sent.long())
        return MessageEdits(fragments=Fragments(begin, none, none))
