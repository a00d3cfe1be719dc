"""fragment_chain: receivers check a tag on each fragment before it takes up a buffer, and trust who completes messages.

Tags form a chain (after Predictive-CSM, arXiv 2506.01767; a reconstruction from its abstract): tag_0 = H(source |
destination | message | count), tag_i = H(tag_(i-1) | i | data_i), ``tag`` bytes each. Only the next fragment with the
right tag is accepted. With a key that source and destination share (``chain: keyed``), nobody else begins or continues
a message; what was altered after it was sent fails too, as does a first fragment of a message that was received before.
Without a key (``unkeyed``), anybody can compute the tag of a first fragment, so early injection and repeated headers
pass; of a forged middle fragment, only who has read those before it.

Trust (``trust``) is kept per receiver and claimed sender, from 0.5: T += up * (1 - T) for a message put together,
T -= down for one given up at its timeout or discarded. Senders below ``threshold`` are refused, but for a share
``probation`` of their messages. Bad tags never lower it: they prove nobody. Without a keyed chain, names are free to
forge, so an attacker makes receivers distrust honest senders: that must be asked for (``unauthenticated: true``).

It cannot stop: fragments that are lost or taken off the wire, which look like a sender that fails, so that trust makes
an attacker on the path stronger (``fragment:how=missing``); members that hold a key; messages that fit into one packet.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.defense import Defense, DefenseConfig
from agentcomm.contracts.deployment import Deployment
from agentcomm.contracts.fragments import ArrivingFragments


class FragmentChainConfig(DefenseConfig):
    """Arguments of ``fragment_chain``."""

    chain: Literal["keyed", "unkeyed", "none"] = Field("keyed", description="how the tags of fragments are made")
    tag: int = Field(8, ge=4, le=32, description="bytes of a tag")
    trust: bool = Field(True, description="refuse senders whose messages were not completed")
    threshold: float = Field(0.3, ge=0, le=1, description="trust below which a sender is refused")
    up: float = Field(0.05, ge=0, le=1, description="share of the missing trust that a completed message restores")
    down: float = Field(0.25, ge=0, le=1, description="trust that an incomplete message costs")
    probation: float = Field(0.02, ge=0, le=1, description="share of a distrusted sender's messages still accepted")
    unauthenticated: bool = Field(False, description="allow trust in names that the chain does not prove")


class FragmentChain(Defense[FragmentChainConfig]):
    """Accepts the next fragment with the right tag, from senders that are trusted."""

    order = "reassemble"
    answers = ("ua.l1.dos_mitigation", "ua.l2.session_status_verification", "aa.l3.context_completeness")
    adaptive = ("fragment:how=missing,probability=0.1",)
    draws = True
    history = None
    fails_open = False
    lossless = False  # packets that are lost cost trust, and tags make more packets

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """With keys and trust, and with neither."""
        return {"": {}, "unkeyed": {"chain": "unkeyed", "trust": False}}

    @property
    def fragment_bytes(self) -> int:
        """The tag."""
        return 0 if self.config.chain == "none" else self.config.tag

    def unmet(self, deployment: Deployment) -> str | None:
        """It needs a channel that fragments messages, room for tags, and names that somebody proves."""
        c = self.config
        if c.chain == "none" and not c.trust:
            return "with chain='none' and trust=false it does nothing: set one of them"
        if c.trust and c.chain != "keyed" and not c.unauthenticated:
            return (
                f"trust in names that chain={c.chain!r} does not prove lets an attacker frame honest senders: use"
                " chain='keyed', or accept that with unauthenticated=true"
            )
        if deployment.silent:
            return super().unmet(deployment)
        rooms = [channel.room for channel in deployment.channels if channel.room is not None]
        if not rooms:
            return "no channel fragments messages: add the channel fragments to the transport"
        if min(rooms) <= self.fragment_bytes:
            return f"tags of {self.fragment_bytes} bytes do not fit into fragments with {min(rooms)} bytes for data"
        return super().unmet(deployment)

    def memory(self) -> dict[str, Tensor]:
        """``trust``: [B, N, N + 1] float32, of each receiver in each claimed sender; the last one is any outsider."""
        s = self.team_shape
        return {"trust": torch.full((s.num_worlds, s.num_agents, s.num_agents + 1), 0.5, device=s.device)}

    def reassemble(self, arriving: ArrivingFragments, memory: dict[str, Tensor]) -> Tensor:
        """Refuse fragments with a wrong tag, and those in the names of senders that are not trusted."""
        c, trust = self.config, memory["trust"]
        gained = 1 - (1 - trust) * (1 - c.up) ** arriving.completed.float()
        trust.copy_((gained - c.down * arriving.failed).clamp(0, 1))
        refuse = torch.zeros_like(arriving.keyed)
        if c.chain != "none":
            refuse = ~(arriving.keyed if c.chain == "keyed" else arriving.chained)
        if c.trust:
            named = trust.gather(2, arriving.sender.flatten(2)).view_as(arriving.sender)
            refuse = refuse | ((named < c.threshold) & (arriving.rand(*named.shape) >= c.probation))
        return refuse
