"""substitute: replace what is said by something else that honest agents say.

Aimed at defenses that tell normal from abnormal content: ``outliers``, ``graph_anomaly``, ``reconstruct``,
``latent_experts``, ``gaussian_process``, ``codeword``. Each message by itself is normal, since an honest agent has said
it word for word in this episode: only its place is wrong. Of a few such messages it takes the one that harms the
receiver most. With ``exact`` it drops the message and writes the other one bit for bit, at the price of two edits:
changed floating-point numbers are rounded, and ``codeword`` notices that.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import pad

from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.forging import written
from agentcomm.contracts.threat_model import Power, ThreatModel
from agentcomm.contracts.views import MessageView
from attacks.adaptive.base import Adaptive, AdaptiveConfig, most_harmful


class SubstituteConfig(AdaptiveConfig):
    """Arguments of ``substitute``."""

    tries: int = Field(4, ge=1, le=64, description="other messages that are tried in each exchange")
    exact: bool = Field(False, description="write the other message anew instead of changing this one")


class Substitute(Adaptive[SubstituteConfig]):
    """Chooses among what it has read in this episode, in the same round."""

    risks = ("ua.l2.session_manipulation", "aa.l3.semantic_rewriting")

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Bit for bit."""
        return {"": {"tries": 2, "exact": True}}

    def threat_model(self) -> ThreatModel:
        """Reads, and modifies, or (``exact``) drops and injects; knows the policy and the deployed defenses."""
        threat = super().threat_model()
        if not self.config.exact:
            return threat
        powers: frozenset[Power] = frozenset({"read", "drop", "inject"})
        return ThreatModel(threat.position, powers, threat.knowledge, self.config.budget, threat.objective)

    def injections(self) -> int:
        """One per link, if it writes anew."""
        return self.team_shape.degree if self.config.exact else 0

    def memory(self) -> dict[str, Tensor]:
        """``said`` [B, rounds, K, D], messages read in this episode, and ``known`` [B, rounds, K], which there are."""
        s = self.team_shape
        sizes = (s.num_worlds, s.rounds, self.config.tries)
        known = torch.zeros(sizes, dtype=torch.bool, device=s.device)
        return {"said": torch.zeros(*sizes, s.width, device=s.device), "known": known}

    def on_messages(self, view: MessageView) -> MessageEdits:
        """Try what was said before, and remember some of what is said now."""
        some, payload = self.drawn(view), view.payload
        said, known = view.memory["said"][:, view.round], view.memory["known"][:, view.round]
        changes = [torch.zeros_like(payload)]
        for number in range(self.config.tries):
            where = (some & known[:, number].view(-1, 1, 1)).unsqueeze(-1)
            changes.insert(0, torch.where(where, self.within(said[:, number, None, None] - payload), 0.0))
        change = most_harmful(view, changes)
        self._remember(view, said, known)
        changed = some & change.any(-1)
        if not self.config.exact:
            return MessageEdits(modify=changed, change=change)
        return self._anew(view, changed, said_as(payload + change, said))

    def _remember(self, view: MessageView, said: Tensor, known: Tensor) -> None:
        """Keep random messages in reach of each world, each with a chance of one half once there is one."""
        reach = view.reach.flatten(1)
        picked = view.rand(*known.shape, 1) * reach.sum(1).view(-1, 1, 1)
        index = (reach.cumsum(1).unsqueeze(1) <= picked).sum(-1).clamp_max(max(reach.shape[1] - 1, 0))
        new = reach.any(1, keepdim=True) & (~known | (view.rand(*known.shape) < 0.5))
        if not reach.shape[1]:
            return
        found = view.payload.flatten(1, 2).gather(1, index.unsqueeze(-1).expand(*index.shape, view.width))
        said.copy_(torch.where(new.unsqueeze(-1), found, said))
        known |= new

    def _anew(self, view: MessageView, changed: Tensor, payload: Tensor) -> MessageEdits:
        """Drop the changed messages, and write the payloads [B, N, M, D] in their senders' names, as far as is paid."""
        degree = self.team_shape.degree
        where = changed[..., :degree]
        paid = where.flatten(1).cumsum(1) * 2 <= view.remaining.unsqueeze(1)
        where = where & paid.view_as(where)
        sender = torch.where(where, view.sender[..., :degree], 0)
        inject = written(view, self.team_shape, where, payload[..., :degree, :], sender)
        return MessageEdits(drop=pad(where, (0, changed.shape[-1] - degree)), inject=inject)


def said_as(wanted: Tensor, said: Tensor) -> Tensor:
    """The nearest of the messages ``said`` [B, K, D] to each wanted payload [B, N, M, D], bit for bit."""
    flat = wanted.flatten(1, 2)
    nearest = torch.cdist(flat, said).argmin(-1, keepdim=True)
    return said.gather(1, nearest.expand(*nearest.shape[:2], said.shape[-1])).view_as(wanted)
