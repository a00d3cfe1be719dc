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
from agentcomm.contracts.fragments import ForgedFragments


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

    @property
    def room(self) -> int:
        """Bytes of a fragment that are left for data, and for tags."""
        return self.config.mtu - self.config.header

    def memory(self) -> dict[str, Tensor]:
        """``until``: [B, N, buffers] int64, the step from which each buffer is free again.

        ``holds`` is in whose name [B, N, buffers] int64 a buffer was taken up, if somebody checks fragments; else -1.
        """
        s = self.team_shape
        until = torch.zeros(s.num_worlds, s.num_agents, self.config.buffers, dtype=torch.int64, device=s.device)
        return {"until": until, "holds": torch.full_like(until, -1)}

    def carry(self, entering: ChannelInput, memory: dict[str, Tensor]) -> ChannelEffect:
        """Fragment messages, lose packets, and reassemble in the order of inbox slots."""
        c, until, check = self.config, memory["until"], entering.reassembly
        tag = 0 if check is None else check.tag_bytes
        cut = entering.present & (entering.size > c.mtu)
        packets = torch.where(cut, (entering.size - 1) // (self.room - tag) + 1, 1)
        # One random number per message: all packets arrive if it is small, and none does if it is large.
        chance = entering.rand()
        some = entering.present & (chance < 1 - c.loss ** packets.float())
        complete = chance < (1 - c.loss) ** packets.float()
        forged, accepted = entering.fragments, cut
        if check is not None:
            let_in = check.accept(cut & some, entering.sender, forged, entering.step, entering.round)
            forged, accepted = let_in.forged, cut & let_in.message
        if forged is not None:
            complete &= ~(cut & forged.missing)
        complete &= accepted | ~cut
        whole, wanted = complete, (accepted & some & ~complete).long()
        ahead = torch.zeros_like(packets)  # forged fragments that come before the message
        if forged is not None:
            complete = complete & ~(cut & (forged.early | forged.middle))
            wanted = wanted * ~forged.early
            ahead = forged.begin + forged.stray + forged.early
        free = until <= entering.step.view(-1, 1, 1)
        left = free.sum(-1, keepdim=True)
        found = ((wanted + ahead).cumsum(-1) - wanted) < left  # whether a buffer is left
        taking = free & (free.cumsum(-1) <= (wanted + ahead).sum(-1, keepdim=True))
        if check is not None:
            discarded = whole & cut & found & ~complete
            if forged is not None:
                discarded = discarded & ~forged.early
            self._note(entering, forged, memory["holds"], free, taking, wanted, complete & cut & found, discarded)
        until.copy_(torch.where(taking, entering.step.view(-1, 1, 1) + c.timeout, until))
        lost = entering.present & ~(complete & (found | ~cut))
        return ChannelEffect(lost=lost, extra=torch.where(cut, packets * (c.header + tag), 0))

    def _note(
        self,
        entering: ChannelInput,
        forged: ForgedFragments | None,
        holds: Tensor,
        free: Tensor,
        taking: Tensor,
        wanted: Tensor,
        completed: Tensor,
        discarded: Tensor,
    ) -> None:
        """Tell whoever checks fragments what became of messages, by the names that they bore.

        Args:
            entering: The messages of this exchange.
            forged: Forged fragments that were let in; None for none.
            holds: [B, N, buffers], who took up each buffer.
            free: [B, N, buffers] bool, buffers whose timeout is over.
            taking: [B, N, buffers] bool, those of them that are taken up now.
            wanted: [B, N, M] int64, messages that take one up.
            completed: [B, N, M] bool, messages that were put together.
            discarded: [B, N, M] bool, messages put together with a wrong checksum.
        """
        assert entering.reassembly is not None
        outsider = entering.present.shape[1]
        failed = torch.zeros(*holds.shape[:2], outsider + 2, dtype=torch.int64, device=holds.device)
        done, last = torch.zeros_like(failed), outsider + 1  # the last column is for none
        expired = free & (holds >= 0)
        failed.scatter_add_(2, torch.where(expired, holds, last), expired.long())
        failed.scatter_add_(2, entering.sender, discarded.long())
        done.scatter_add_(2, entering.sender, completed.long())
        holds.masked_fill_(expired, -1)
        names, counts = [entering.sender], [wanted]
        if forged is not None:  # in the order of arrival
            names = [forged.sender, entering.sender, entering.sender]
            counts = [forged.begin + forged.stray, forged.early.long(), wanted]
        name, upto = torch.stack(names, -1).flatten(2), torch.stack(counts, -1).flatten(2).cumsum(-1)
        rank = (taking.cumsum(-1) - 1).clamp_min(0)
        if name.shape[-1]:
            who = torch.searchsorted(upto, rank, right=True).clamp_max(name.shape[-1] - 1)
            holds.copy_(torch.where(taking, name.gather(2, who), holds))
        entering.reassembly.note(done[..., :last], failed[..., :last])
