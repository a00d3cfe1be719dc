"""capability: a message must carry a token that permits its sender to say it, to this receiver, in this round, now.

Default deny. A receiver issues a token to each agent that its graph selects, or that a list names: a message
authentication code by the receiver's key over (principal, audience, rounds, expiry, episode), truncated to 16 bytes.
The principal puts it into its messages until it expires (after ``lifetime`` steps; tokens of links that the graph
still has are renewed). A token is bound to its principal's key: it counts only in messages that this key has sealed,
so a copied token is worthless to others (holder-of-key confirmation; RFC 7800).

Seals are symbolic in the batch, and so are tokens: no code can be forged, hence a message carries a valid token
exactly if its seal is its sender's and the sender holds an unexpired token for it (``until``). The bytes are those of
real ones. The message that brings a token to its principal goes out of band, once per link and lifetime, and is not
counted.

It cannot stop misuse within the scope: the holder of a token may say anything. A token outlives the edge for which it
was issued by up to ``lifetime`` steps: nothing revokes it. A thief of a key has its tokens as well.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.defense import Defense, DefenseConfig
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.verdicts import Delivered, Verdicts

CODE_BYTES = 16  # of an HMAC-SHA256 code, truncated to half as RFC 2104, section 5, permits
SCOPE_BYTES = 4 + 4  # expiry, and a bit per round


class CapabilityConfig(DefenseConfig):
    """Arguments of ``capability``."""

    grants: tuple[tuple[int, int], ...] | None = Field(
        None, description="who may hold tokens, as [principal, audience]; the senders of the graph when not given"
    )
    rounds: tuple[int, ...] | None = Field(None, description="rounds that tokens are issued for; all when not given")
    lifetime: int = Field(4, ge=1, description="steps until a token expires")


class Capability(Defense[CapabilityConfig]):
    """Issues tokens as the graph asks for senders, and refuses messages without a valid one."""

    order = "authorize"
    answers = ("ua.l2.authority_verification", "ua.l3.capability_boundary_control")
    adaptive = ("abuse:distance=0",)
    needs_seal = True
    history = None
    fails_open = False

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """By the graph, for a short time."""
        return {"": {"lifetime": 2}}

    def __init__(self, config: CapabilityConfig, team_shape: TeamShape) -> None:
        super().__init__(config, team_shape)
        agents, rounds = team_shape.num_agents, max(team_shape.rounds, 1)
        for principal, audience in config.grants or ():
            if not (0 <= principal < agents and 0 <= audience < agents):
                raise ValueError(f"grant [{principal}, {audience}] names an agent outside 0 .. {agents - 1}")
        for round_ in config.rounds or ():
            if not 0 <= round_ < rounds:
                raise ValueError(f"rounds={list(config.rounds or ())} names a round outside 0 .. {rounds - 1}")
        granted = torch.full((agents, agents + 1, rounds), config.grants is None)
        for principal, audience in config.grants or ():
            granted[audience, principal] = True
        if config.rounds is not None:
            covered = torch.zeros(rounds, dtype=torch.bool)
            covered[list(config.rounds)] = True
            granted &= covered
        self._granted = granted.to(team_shape.device)

    @property
    def message_bytes(self) -> int:
        """A token: its code and its scope. Principal, audience and episode are known from the message it is in."""
        return CODE_BYTES + SCOPE_BYTES

    def memory(self) -> dict[str, Tensor]:
        """``until`` [B, N, N + 1, rounds] int64, last step at which a principal's token counts; -1 for none."""
        s = self.team_shape
        sizes = (s.num_worlds, s.num_agents, s.num_agents + 1, max(s.rounds, 1))
        return {"until": torch.full(sizes, -1, dtype=torch.int64, device=s.device)}

    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        """Renew the tokens of the graph's senders, then refuse what carries none; its score is 1."""
        d, agents, until = delivered, self.team_shape.num_agents, memory["until"]
        selected = torch.zeros_like(until[..., 0]).scatter(2, d.link, 1)
        selected[..., -1] = 0
        now = d.step.view(-1, 1, 1, 1)
        issued = self._granted & selected.bool().unsqueeze(-1) & (until < now)
        until.copy_(torch.where(issued, now + self.config.lifetime - 1, until))
        scope = until[..., min(d.round, until.shape[-1] - 1)]
        held = scope.gather(2, d.sender.clamp(0, agents)) >= d.step.view(-1, 1, 1)
        good = held & d.sealed_by_sender & (d.audience == d.receiver) & (d.sent_round == d.round)
        return Verdicts(refuse=d.present & ~good, score=(~good).float())
