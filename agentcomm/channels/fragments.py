"""fragments: what is longer than a packet travels in several, and the receiver puts them together again.

A message of S bytes that fits into ``mtu`` goes as it is. A longer one is cut into F = ceil(S / (mtu - header))
fragments with a header each. It arrives only if all do: with probability (1 - loss) ** F. Fragments meet in one of the
receiver's buffers. An incomplete message of which something arrived keeps its buffer for ``timeout`` steps, and a
fragmented one that finds none free is lost (as in RFC 815 and 8200; holding buffers is the point of fragment floods).

Nobody knows yet who sent a fragment when it is given a buffer. What an attack begins holds one until the timeout. A
first fragment in a message's name that comes ahead of the honest one takes that message's place: the honest one is
refused as a repeat of it. A forged fragment in its middle is put in with the others, the whole does not fit its
checksum, and is thrown away.
"""

from __future__ import annotations

from typing import Any, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from agentcomm.contracts.channel import Channel, ChannelConfig, ChannelEffect, ChannelInput


class FragmentsConfig(ChannelConfig):
    """Arguments of ``fragments``."""

    mtu: int = Field(127, ge=2, description="bytes of the longest packet (127 in IEEE 802.15.4)")
    header: int = Field(5, ge=0, description="bytes of a fragment's header (5 in 6LoWPAN, 8 in IPv6)")
    loss: float = Field(0.0, ge=0, le=1, description="chance that a packet is lost")
    buffers: int = Field(4, ge=1, description="messages that a receiver can put together at a time")
    timeout: int = Field(10, ge=1, description="steps after which it gives up an incomplete one")

    @model_validator(mode="after")
    def _room(self) -> Self:
        if self.header >= self.mtu:
            raise ValueError(f"header={self.header} leaves no room in packets of mtu={self.mtu} bytes")
        return self


class Fragments(Channel[FragmentsConfig]):
    """Fragmentation and reassembly; all fragments of a message are sent, and arrive or not, in its exchange."""

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
        """Cut, lose, and put together in the order of inbox slots."""
        c, until = self.config, memory["until"]
        room = c.mtu - c.header
        cut = entering.present & (entering.size > c.mtu)
        packets = torch.where(cut, (entering.size + room - 1) // room, 1)
        # One number decides: it is small enough where all packets arrive, and too large where none does.
        chance = entering.rand()
        complete = chance < (1 - c.loss) ** packets.float()
        begun = cut & ~complete & (chance < 1 - c.loss ** packets.float())
        wanted, ahead = begun.long(), torch.zeros_like(packets)  # buffers for the message, and for what precedes it
        if entering.fragments is not None:
            forged = entering.fragments
            complete &= ~(cut & (forged.early | forged.middle))
            wanted = wanted * ~forged.early
            ahead = forged.begin + forged.early
        free = until <= entering.step.view(-1, 1, 1)
        left = free.sum(-1, keepdim=True)
        found = ((wanted + ahead).cumsum(-1) - wanted) < left  # whether those before it have left it a buffer
        taking = free & (free.cumsum(-1) <= (wanted + ahead).sum(-1, keepdim=True))
        until.copy_(torch.where(taking, entering.step.view(-1, 1, 1) + c.timeout, until))
        lost = entering.present & ~(complete & (found | ~cut))
        return ChannelEffect(lost=lost, extra=torch.where(cut, packets * c.header, 0))
