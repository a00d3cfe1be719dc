"""Decisions by vote: a policy is asked about several inboxes, and the action that most of them lead to is taken.

The members of a vote hear parts of an inbox, or the inbox with noise (:meth:`Defense.subsets`). All members sample with
the same noise, so that members with equal logits agree; AME (Sun et al., ICLR 2023) samples each for itself.
"""

from __future__ import annotations

import torch
from torch import Tensor

from agentcomm.contracts.inbox import Inbox, Members
from agentcomm.contracts.policy import CommPolicy
from agentcomm.step.hooks import ask

TOGETHER = 2**24  # entries of payloads that are computed on at once; more only cost memory


def member_logits(
    policy: CommPolicy, state: Tensor, inbox: Inbox, members: Members, round_: int, allowed: Tensor | None = None
) -> Tensor:
    """Parameters [S, B, N, P] of the action distribution of each member of a vote; gradients flow through payloads.

    Args:
        policy: A policy with one round of messages, whose agents act at once and do not remember what they hear.
        state: [B, N, H] before the round.
        inbox: The delivered messages.
        members: The members.
        round_: The round.
        allowed: [B, N, P] bool, what agents can do; None for everything.
    """
    size, (worlds, agents, slots) = len(members), inbox.mask.shape
    chunk = max(1, TOGETHER // max(1, worlds * agents * slots * policy.width))
    parts = []
    for first in range(0, size, chunk):
        last = min(size, first + chunk)
        before = state.repeat(last - first, 1, 1)
        after = ask(policy, policy.hear, tuple(before.shape), before, inbox.of_members(members, first, last), round_)
        logits = ask(policy, policy.act, (*after.shape[:2], policy.actions.parameters), after)
        parts.append(logits.view(last - first, worlds, agents, -1))
    return policy.actions.masked(torch.cat(parts), allowed)
