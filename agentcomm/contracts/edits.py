"""What an attack asks to be done to one exchange of messages.

Shapes: B worlds, N agents, M inbox slots per receiver, S injected messages per receiver, D payload width.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Envelopes:
    """Messages that an attack puts on the wire: S per receiver, all tensors [B, N, S] but the payload.

    Attributes:
        where: bool, which of them to send.
        payload: [B, N, S, D].
        sender: The claimed sender.
        audience: The claimed receiver.
        sequence: Sequence number to write.
        sent_at: Step to write.
        sent_round: Round to write.
        key: Key id to name, -1 for none.
        seal: Seal to attach, such as a copied one; 0 for none.
        sign: Seal them with the attacker's own key instead.
        expiry: Last step of freshness to write; None for what honest senders write.
        hops: Hops they may still take; None for the most.
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
    """Fragments of messages that an attack puts on the wire, all [B, N, M], by the message that they concern.

    A channel that splits messages (``fragments``) puts them into the receivers' buffers; elsewhere they do nothing.

    Attributes:
        begin: int64, fragments ahead of the message in the slot, of messages that are never completed.
        early: bool, a first fragment in that message's name, ahead of the honest one.
        middle: bool, a fragment in that message's name that its sender did not send.
    """

    begin: Tensor
    early: Tensor
    middle: Tensor


@dataclass(frozen=True)
class MessageEdits:
    """What an attack asks to be done to one exchange; None leaves that part alone.

    Attributes:
        drop: [B, N, M] bool, messages to take off the wire (power drop).
        modify: [B, N, M] bool, messages whose payload to change (power modify).
        change: [B, N, M, D], what to add to those payloads.
        delay: [B, N, M] int64, for how many steps to hold messages back (power delay, or reorder); 0 for none.
        inject: Messages to add (power inject, or replay for exact copies of what it has seen).
        fragments: Fragments to add (power inject; with replay only those that begin a message whose header it has
            seen).
    """

    drop: Tensor | None = None
    modify: Tensor | None = None
    change: Tensor | None = None
    delay: Tensor | None = None
    inject: Envelopes | None = None
    fragments: Fragments | None = None
