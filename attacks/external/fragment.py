"""fragment: attack the reassembly of fragmented messages (channel ``fragments``; cf. arXiv 2506.01767).

A receiver allocates a buffer to a fragment before it knows who sent it. ``early`` sends a first fragment under a
message's id ahead of the honest one, ``header`` replays headers of past messages whose rest never arrives, ``fake``
floods receivers with fragments of messages that do not exist, and ``middle`` inserts a forged fragment into a message.
The first three leave messages incomplete: each of them occupies a buffer until its timeout. ``early``, ``middle`` and
``header`` bear the name of an honest sender, ``fake`` the attacker's own address.

Two more forms know the defense ``fragment_chain``: ``chained`` reads the fragments before a forged middle one, and
continues a chain of tags that needs no key. ``missing`` takes one fragment of a message off the wire, so that its
sender seems to fail.
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

    how: Literal["early", "header", "fake", "middle", "chained", "missing"] = Field(
        "early", description="kind of fragment that is sent; missing: removed"
    )
    place: Literal["edge", "newcomer"] = Field("edge", description="on the path, or an outsider that guesses ids")
    probability: float = Field(1.0, ge=0, le=1, description="of the others: chance that a message is attacked")
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
            "missing": {"how": "missing", "probability": 0.25},
        }

    def __init__(self, config: FragmentConfig, team_shape: TeamShape) -> None:
        super().__init__(config, team_shape)
        if config.how in ("header", "chained", "missing") and config.place == "newcomer":
            needs = "replays headers that it has read" if config.how == "header" else "acts on the path"
            raise ValueError(f"how={config.how!r} {needs}, but place='newcomer' reads nothing")

    def threat_model(self) -> ThreatModel:
        """Injects, knowing how message ids are made; ``header`` reads and replays what it has read."""
        powers: dict[str, set[Power]] = {"header": {"read", "replay"}, "chained": {"read", "inject"}}
        powers["missing"] = {"drop"}
        position, held = Position(kind=self.config.place), powers.get(self.config.how, {"inject"})
        return ThreatModel(position, frozenset(held), "protocol", self.config.budget, "exhaust")

    def succeeded(self, attacked: Episodes, clean: Episodes) -> Tensor:
        """[B] bool, a smaller share of the team's messages is accepted than in the same episode without the attack."""
        return attacked.heard() < clean.heard() - 1e-6

    def memory(self) -> dict[str, Tensor]:
        """``known``: [B, N, N + 1] bool, senders whose headers to that receiver it read in an earlier exchange."""
        s = self.team_shape
        names = (s.num_worlds, s.num_agents, s.num_agents + 1)
        return {"known": torch.zeros(names, dtype=torch.bool, device=s.device)}

    def on_messages(self, view: MessageView) -> MessageEdits:
        """Draw the attacked messages, and where in the exchange fragments are inserted."""
        c, known = self.config, view.memory["known"]
        none = torch.zeros_like(view.reach)
        begin, slots = none.long(), view.reach.shape[-1]
        if c.how in ("early", "middle", "chained", "missing"):
            # An outsider sees no messages; it guesses that there is one in each slot.
            hit = view.rand(*none.shape) < c.probability
            hit &= view.reach if c.place == "edge" else torch.ones_like(none)
            kinds = (("early",), ("middle", "chained"), ("missing",))
            early, middle, missing = (hit if c.how in kind else none for kind in kinds)
            return MessageEdits(fragments=Fragments(begin, early, middle, missing=missing))
        count = int(c.rate) + (view.rand(*none.shape[:2]) < c.rate % 1).long()
        if c.how == "header":
            if slots:  # ahead of all messages, in one of the names that it knows after the other
                begin[..., 0] = count * known.any(-1)
            turn = view.step.view(-1, 1, 1) % known.sum(-1, keepdim=True).clamp_min(1)
            sender = (known.cumsum(-1) == turn + 1).long().argmax(-1, keepdim=True).expand_as(begin)
            read = torch.where(view.reach, view.sender, 0).clamp_min(0)
            known |= torch.zeros_like(known).scatter_reduce(2, read, view.reach, "amax")
            return MessageEdits(fragments=Fragments(begin, none, none, sender=sender.clone()))
        slot = (view.rand(*none.shape[:2], int(c.rate) + 1) * slots).long()  # anywhere among honest messages
        sent = torch.arange(int(c.rate) + 1, device=none.device) < count.unsqueeze(-1)
        if slots:
            begin.scatter_add_(2, slot, sent.long())
        return MessageEdits(fragments=Fragments(none.long(), none, none, stray=begin))
