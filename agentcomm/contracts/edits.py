"""The edits that an attack asks for in one exchange of messages.

Shapes: B worlds, N agents, M inbox slots per receiver, S injected messages per receiver, D payload width.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Envelopes:
    """Messages that an attack injects: S per receiver; all tensors are [B, N, S], but the payload.

    Attributes:
        where: bool, which of them to send.
        payload: [B, N, S, D].
        sender: int64, the claimed sender.
        audience: int64, the claimed receiver.
        sequence: int64, the claimed sequence number.
        sent_at: int64, the claimed step.
        sent_round: int64, the claimed round.
        key: int64, id of the key named, -1 for none.
        seal: int64, the seal attached, such as a copied one; 0 for none.
        sign: Whether to seal them with the attacker's own key instead.
        expiry: int64, the last step in which they are fresh; None for that of honest senders.
        hops: int64, hops left; None for the most.
    """

    where: Tensor
    payload: Tensor
    sender: Tensor
    audience: Tensor
    sequence: Tensor
    sent_at: Tensor
    sent_round: Tensor
    key: Tensor
    seal: Tensor
    sign: bool = False
    expiry: Tensor | None = None
    hops: Tensor | None = None


@dataclass(frozen=True)
class Fragments:
    """What an attack does to fragments, all [B, N, M], by the slot of the message that they concern.

    A channel that fragments messages (``fragments``) puts them into receivers' buffers; other channels ignore them.
    ``early`` and ``middle`` are in the name of that message's sender.

    Attributes:
        begin: int64, first fragments of messages that are never completed, ahead of the message in the slot.
        early: bool, a first fragment under that message's id, ahead of the honest one.
        middle: bool, a forged fragment in the middle of that message.
        stray: int64, data fragments of messages of which no first fragment is sent, ahead of the message; None for 0.
        missing: bool, one fragment of that message is removed; None for none.
        sender: int64, claimed sender of ``begin`` and ``stray``; None for an outsider's own address, N.
    """

    begin: Tensor
    early: Tensor
    middle: Tensor
    stray: Tensor | None = None
    missing: Tensor | None = None
    sender: Tensor | None = None


@dataclass(frozen=True)
class MessageEdits:
    """The edits of one exchange; None for no edits of that sort.

    Attributes:
        drop: [B, N, M] bool, messages to drop (power drop).
        modify: [B, N, M] bool, messages whose payloads to change (power modify).
        change: [B, N, M, D], added to the payloads of modified messages.
        delay: [B, N, M] int64, steps for which to hold messages back (power delay or reorder); 0 for none.
        inject: Messages to inject (power inject, or replay for exact copies of messages that it has seen).
        fragments: Fragments to inject (power inject; with replay only first fragments of messages whose header it has
            seen, in their senders' names) or to remove (power drop).
    """

    drop: Tensor | None = None
    modify: Tensor | None = None
    change: Tensor | None = None
    delay: Tensor | None = None
    inject: Envelopes | None = None
    fragments: Fragments | None = None
