"""Cover traffic: dummies on links that carry no message, and sizes that say nothing about contents.

A dummy is a message like any other, sealed if the team seals its messages, so attacks on the wire cannot tell it from
others by its header or size. Its content is one fixed payload, which stands for a mark under encryption; receivers
discard whatever has this content, copies included. A dummy that is changed on the way becomes an ordinary message,
which only a seal exposes.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from agentcomm.base.answers import check_tensor
from agentcomm.base.calling import calling
from agentcomm.base.errors import HookError
from agentcomm.contracts.outgoing import Outgoing
from agentcomm.network.exchange import Exchange
from agentcomm.network.stages.stage import DefenseStage, Stage

SEED = 20030818


def dummy_payload(width: int, device: torch.device) -> Tensor:
    """[D] the content of dummies, which honest payloads equal with probability 0."""
    word: Tensor = torch.randn(width, generator=torch.Generator().manual_seed(SEED)).to(device)
    return word


class Cover(DefenseStage):
    """One defense sends dummies at the senders."""

    def __call__(self, x: Exchange) -> None:
        """Put dummies on links that carry nothing."""
        source = x.links.source
        degree = source.shape[-1]
        due = torch.ones_like(x.links.open) if x.links.due is None else x.links.due
        outgoing = Outgoing(x.step, x.round, x.sent[..., :degree].clone(), due.clone(), source.clone())
        with calling(self.who, "cover"):
            dummy = self.defense.cover(outgoing, self.memory.tensors)
        check_tensor(self.who, "cover", dummy, tuple(source.shape), torch.bool)
        if dummy is None:
            return
        dummy = nn.functional.pad(dummy & due.unsqueeze(-1), (0, x.traffic.slots - degree))
        dummy = dummy & ~x.sent & ~x.traffic.present
        content = dummy_payload(x.spoken.shape[-1], x.spoken.device).expand(*dummy.shape, -1)
        before = x.traffic
        x.traffic = before.edit_payload(dummy, content)
        x.traffic = replace(x.traffic, present=before.present | dummy)
        if (predict := x.predict_logits) is not None:  # which knows that receivers discard dummies
            x.predict_logits = lambda changed: predict(replace(changed, present=changed.present & ~dummy))
        x.covered_from = (before if x.covered_from is None else x.covered_from[0], x.traffic)
        x.dummy, x.put = dummy if x.dummy is None else x.dummy | dummy, x.put | dummy


class Discard(Stage):
    """Receivers discard dummies."""

    def __call__(self, x: Exchange) -> None:
        """Remove what has the content of a dummy, and leave the payload that would have been sent in its place."""
        t = x.traffic
        gone = t.present & (t.payload() == dummy_payload(x.spoken.shape[-1], x.spoken.device)).all(-1)
        scale, delta = t.scale, t.delta
        if x.covered_from is not None and scale is x.covered_from[1].scale and delta is x.covered_from[1].delta:
            scale, delta = x.covered_from[0].scale, x.covered_from[0].delta  # nothing but dummies has changed a payload
        else:
            scale = None if scale is None else scale.masked_fill(gone, 1.0)
            delta = None if delta is None else delta.masked_fill(gone.unsqueeze(-1), 0.0)
        x.traffic = replace(t, present=t.present & ~gone, scale=scale, delta=delta)
        x.arrived = replace(x.arrived, present=x.arrived.present & ~gone)


class Pad(DefenseStage):
    """One defense pads messages of agents, and dummies."""

    def __call__(self, x: Exchange) -> None:
        """Make messages longer; those that attacks write have the length that these give them."""
        with calling(self.who, "pad"):
            size = self.defense.pad(x.size.clone())
        check_tensor(self.who, "pad", size, tuple(x.size.shape), torch.int64, optional=False)
        if bool((size < x.size).any()):
            raise HookError(f"{self.who}: pad makes messages shorter; it can only add bytes")
        x.size = x.arrived_size = torch.where(x.put & ~x.forged & (x.size > 0), size, x.size)
