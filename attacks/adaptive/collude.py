"""collude: several senders tell each receiver one and the same lie.

Aimed at defenses that believe what most say: ``quorum``, ``cross_check``, ``audit``, ``ensemble``, ``median``. They
hold only while liars are a minority; with ``share`` the attacker takes as many messages of each inbox as it can get.
The lie is negated from what these senders would have said on average, pushed where it does most harm, or what they say
in truth to another receiver; its length is that of an honest payload.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field
from torch import Tensor
from torch.nn.functional import normalize

from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.views import MessageView
from attacks.adaptive.base import Adaptive, AdaptiveConfig, most_harmful, steepest


class ColludeConfig(AdaptiveConfig):
    """Arguments of ``collude``."""

    share: float = Field(0.67, gt=0, le=1, description="share of each inbox's messages that tell the lie, rounded up")


class Collude(Adaptive[ColludeConfig]):
    """Puts one payload into a share of the messages of each inbox."""

    risks = ("aa.l3.mas_pollution", "aa.l2.non_convergence")

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """A majority."""
        return {"": {}}

    def on_messages(self, view: MessageView) -> MessageEdits:
        """Choose the lie for each receiver."""
        drawn = self.drawn(view)
        most = (view.reach.sum(-1, keepdim=True) * self.config.share).ceil()
        some = drawn & (drawn.cumsum(-1) <= most)
        where, payload = some.unsqueeze(-1), view.payload
        length: float = view.width**0.5
        count = where.sum(2, keepdim=True).clamp_min(1)
        mean = (payload * where).sum(2, keepdim=True) / count
        worst = (steepest(view) * where).sum(2, keepdim=True)
        elsewhere = mean.roll(1, dims=1)
        lies = [-length * normalize(mean, dim=-1), length * normalize(worst, dim=-1), elsewhere]
        changes = [self._saying(lie, payload, where) for lie in lies]
        return MessageEdits(modify=some, change=most_harmful(view, changes))

    def _saying(self, lie: Tensor, payload: Tensor, where: Tensor) -> Tensor:
        """The changes [B, N, M, D] after which messages ``where`` [B, N, M, 1] say the lie [B, N, 1, D]."""
        return self.within((lie - payload) * where)
