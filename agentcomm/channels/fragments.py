"""fragments: messages longer than a packet are fragmented, and reassembled at the receiver.

A message of S bytes that fits into ``mtu`` is sent in one packet. A longer one is split into F = ceil(S / (mtu -
header)) fragments with a header each. It arrives only if all fragments do: with probability (1 - loss) ** F. The
receiver reassembles fragments in buffers. An incomplete message of which a fragment arrived occupies its buffer for
``timeout`` steps, and a fragmented message without a free buffer is lost (as in RFC 815 and 8200; fragment floods
exploit this).

Fragments are buffered before their sender is authenticated. An incomplete message of an attack occupies a buffer until
the timeout. A forged first fragment that arrives before the honest one takes its place, and the honest one is refused
as a duplicate. A forged middle fragment is reassembled with the honest ones, and the message is discarded because its
checksum does not match.
"""

from __future__ import annotations

from typing import Any, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from agentcomm.contracts.channel import Channel, ChannelConfig, ChannelEffect, ChannelInput


class FragmentsConfig(ChannelConfig):
    """Arguments of ``fragments``."""

    mtu: int = Field(127, ge=2, description="largest packet in bytes (127 in IEEE 802.15.4)")
    header: int = Field(5, ge=0, description="header of a fragment in bytes (5 in 6LoWPAN, 8 in IPv6)")
    loss: float = Field(0.0, ge=0, le=1, description="probability that a packet is lost")
    buffers: int = Field(4, ge=1, description="messages that a receiver can reassemble at a time")
    timeout: int = Field(10, ge=1, description="steps after which an incomplete message is discarded")

    @model_validator(mode="after")
    def _room(self) -> Self:
        if self.header >= self.mtu:
            raise ValueError(f"header={self.header} leaves no room in packets of mtu={self.mtu} bytes")
        return self


class Fragments(Channel[FragmentsConfig]):
    """Fragmentation and reassembly; all fragments of a message are sent and received in the same exchange."""

    fragments_messages = True

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Small packets, of which some are lost."""
        return {"": {"mtu": 20, "loss": 0.2, "buffers": 1, "timeout": 2}}

    def memory(self) -> dict[str, Tensor]:
        """``until``: [B, N, buffers] int64, the step from which each buffer is free again."""
        s = self.team_shape
        shape = (s.num_worlds, s.num_agents, self.config.buffers)
        return {"until": torch.zeros(shape, dtype=torch.int64, device=s.device)}

    def carry(self, entering: ChannelInput, memory: dict[str, Tensor]) -> ChannelEffect:
        """Fragment messages, lose packets, and reassemble in the order of inbox slots."""
        c, until = self.config, memory["until"]
        room = c.mtu - c.header
        cut = entering.present & (entering.size > c.mtu)
        packets = torch.where(cut, (entering.size + room - 1) // room, 1)
        # One random number per message: all packets arrive if it is small, and none does if it is large.
        chance = entering.rand()
        complete = chance < (1 - c.loss) ** packets.float()
        begun = cut & ~complete & (chance < 1 - c.loss ** packets.float())
        wanted, ahead = (
            begun.long(),
            torch.zeros_like(packets),
        )  # buffers for the message, and for forged fragments before it
        if entering.fragments is not None:
            forged = entering.fragments
            complete &= ~(cut & (forged.early | forged.middle))
            wanted = wanted * ~forged.early
            ahead = forged.begin + forged.early
        free = until <= entering.step.view(-1, 1, 1)
        left = free.sum(-1, keepdim=True)
        found = ((wanted + ahead).cumsum(-1) - wanted) < left  # whether a buffer is left
        taking = free & (free.cumsum(-1) <= (wanted + ahead).sum(-1, keepdim=True))
        until.copy_(torch.where(taking, entering.step.view(-1, 1, 1) + c.timeout, until))
        lost = entering.present & ~(complete & (found | ~cut))
        return ChannelEffect(lost=lost, extra=torch.where(cut, packets * c.header, 0))
