"""Mixing of heard messages: softmax attention, mean and sum, with the exact gradient of every link and gate.

In an update, a straight-through graph or gate gives links weights w whose value says whether a message was heard. The
output is the one that was executed: a closed link changes nothing. The gradient of a weight is the marginal of its
slot, the exact difference between the output with the message and the output without it:

    softmax, per head: closed a (v_j - out), open a (v_j - out) / (1 - a)
    mean of n:         closed (v_j - out) / (n + 1), open (v_j - out) / (n - 1), or v_j if n = 1
    sum:               v_j

where a is the attention that slot j has, or would have if it were heard. A receiver's gate opens all of its links at
once, so its gradient is the joint difference, output with all of its links minus output without any. Marginals are
constants: an unheard message has no gradient, so that nobody learns to speak unheard.

Every function adds the difference of w from the recorded decision, times the slot's share of the marginal, to the
coefficient with which the message enters the sum. It is 0 unless an update moves the decision to see what it changes
(:mod:`agentcomm.training.gate_step`), and the extra gradient costs no pass over the payloads.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from agentcomm.contracts.inbox import Inbox


def softmax_mix(scores: Tensor, values: Tensor, inbox: Inbox) -> Tensor:
    """Softmax attention to the agent itself and to the messages it heard.

    Args:
        scores: [B, N, 1 + M, heads], before the softmax; slot 0 is the agent itself. Closed slots need scores, too.
        values: [B, N, 1 + M, heads, W].
        inbox: The received messages.

    Returns:
        [B, N, heads, W].
    """
    attention = _attention(scores, inbox.mask)
    away = None
    if (moved := inbox.moved) is not None:
        credit, away = _softmax_credit(scores, attention, inbox, moved)
        attention = attention + credit
    if (turned := inbox.turned) is not None:
        with torch.no_grad():
            joint = _attention(scores, inbox.joint)
            joint[:, :, 0] -= 1
        attention = attention + turned[..., None, None] * joint
    # The agent's own value last: the order of the additions decides the last bit.
    heard = (attention[:, :, 1:].unsqueeze(-1) * values[:, :, 1:]).sum(2)
    out = heard + attention[:, :, 0].unsqueeze(-1) * values[:, :, 0]
    return out if away is None else out - away.unsqueeze(-1) * out.detach()


def pair_scores(query: Tensor, key: Tensor, inbox: Inbox) -> Tensor:
    """Products [B, N, M, heads] of each receiver's query with the key of each slot's sender, both [B, N, heads, W]."""
    pairs = query.transpose(1, 2) @ key.permute(0, 2, 3, 1)
    return pairs.gather(3, _sources(inbox, query.shape[2])).permute(0, 2, 3, 1)


def softmax_mix_pairs(scores: Tensor, own: Tensor, values: Tensor, inbox: Inbox) -> Tensor:
    """:func:`softmax_mix` of messages that arrive as they were spoken, without gates of receivers.

    Args:
        scores: [B, N, 1 + M, heads], as there.
        own: [B, N, heads, W] value of the agent itself.
        values: [B, N, heads, W] value of each sender's message.
        inbox: The received messages.

    Returns:
        [B, N, heads, W].
    """
    attention = _attention(scores, inbox.mask)
    away = None
    if (moved := inbox.moved) is not None:
        credit, away = _softmax_credit(scores, attention, inbox, moved)
        attention = attention + credit
    agents, heads = values.shape[1:3]
    slots = attention[:, :, 1:].permute(0, 3, 1, 2)
    pairs = slots.new_zeros(len(slots), heads, agents, agents).scatter_add(3, _sources(inbox, heads), slots)
    out = (pairs @ values.transpose(1, 2)).transpose(1, 2) + attention[:, :, 0].unsqueeze(-1) * own
    return out if away is None else out - away.unsqueeze(-1) * out.detach()


def _sources(inbox: Inbox, heads: int) -> Tensor:
    """[B, heads, N, M] sender of each slot."""
    return inbox.source.unsqueeze(1).expand(-1, heads, -1, -1)


def mean_mix(values: Tensor, inbox: Inbox) -> Tensor:
    """The mean [B, N, W] of the messages ``values`` [B, N, M, W] that an agent heard; 0 without any."""
    count = inbox.mask.sum(2, keepdim=True)
    if inbox.weight is None and inbox.listening is None:
        return _heard(values, inbox.mask).sum(2) / count.clamp_min(1)
    coefficient, away = inbox.mask.to(values.dtype), None
    if (moved := inbox.moved) is not None:
        with torch.no_grad():
            others = torch.where(inbox.mask, count - 1, count + 1)
            share = inbox.audible / others.clamp_min(1)
            relative = share * (others > 0)  # the only message heard is compared with 0, others with the mean
        away = (moved * relative).sum(2)
        coefficient = coefficient + moved * share * count.clamp_min(1)
    if (turned := inbox.turned) is not None:
        joint = inbox.joint
        share = joint * count.clamp_min(1) / joint.sum(2, keepdim=True).clamp_min(1)
        coefficient = coefficient + turned.unsqueeze(-1) * share
    out = (_heard(values, inbox.audible) * coefficient.unsqueeze(-1)).sum(2) / count.clamp_min(1)
    return out if away is None else out - away.unsqueeze(-1) * out.detach()


def sum_mix(values: Tensor, inbox: Inbox) -> Tensor:
    """The sum [B, N, W] of the messages ``values`` [B, N, M, W] that an agent heard; 0 without any."""
    if inbox.weight is None and inbox.listening is None:
        return _heard(values, inbox.mask).sum(2)
    coefficient = inbox.mask.to(values.dtype)
    if (moved := inbox.moved) is not None:
        coefficient = coefficient + moved * inbox.audible
    if (turned := inbox.turned) is not None:
        coefficient = coefficient + turned.unsqueeze(-1) * inbox.joint
    return (_heard(values, inbox.audible) * coefficient.unsqueeze(-1)).sum(2)


def _heard(values: Tensor, mask: Tensor) -> Tensor:
    """``values`` [B, N, M, W], 0 in slots outside ``mask`` [B, N, M], whose payloads may be huge."""
    return values.masked_fill(~mask.unsqueeze(-1), 0.0)


def _masked(scores: Tensor, mask: Tensor) -> Tensor:
    """``scores`` [B, N, 1 + M, heads], minus infinity outside the agent itself and ``mask`` [B, N, M]."""
    silent = nn.functional.pad(~mask, (1, 0), value=False).unsqueeze(-1)
    return scores.masked_fill(silent, float("-inf"))


def _attention(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax [B, N, 1 + M, heads] over the agent itself and the slots of ``mask`` [B, N, M]."""
    return _masked(scores, mask).softmax(2)


def _softmax_credit(scores: Tensor, attention: Tensor, inbox: Inbox, moved: Tensor) -> tuple[Tensor, Tensor]:
    """Zeros with the gradient of the weights: [B, N, 1 + M, heads] per slot, and their sum [B, N, heads]."""
    with torch.no_grad():
        open_ = attention[:, :, 1:]
        share = open_ / (1 - open_).clamp_min(1e-6)
        if inbox.closed is not None:
            normalizer = _masked(scores, inbox.mask).logsumexp(2, keepdim=True)
            added = (scores[:, :, 1:] - normalizer).sigmoid()
            share = torch.where(inbox.closed.unsqueeze(-1), added, share)
    credit = moved.unsqueeze(-1) * share
    return nn.functional.pad(credit, (0, 0, 1, 0)), credit.sum(2)
