"""Decisions by vote: a policy is asked about several inboxes, and the action that most of them lead to is taken.

The members of a vote hear parts of an inbox, or the inbox with noise (:meth:`Defense.subsets`). All members sample with
the same noise, so that members with equal logits agree; AME (Sun et al., ICLR 2023) samples each for itself.
"""

from __future__ import annotations

import torch
from torch import Tensor

from agentcomm.contracts.inbox import Inbox, Members
from agentcomm.contracts.policy import CommPolicy
from agentcomm.step.actions import choose_action
from agentcomm.step.hooks import ask

TOGETHER = 2**24  # entries of payloads that are computed on at once; more only cost memory
NO_VOTE = 1e-3  # counted for actions without votes, so that logarithms are finite


def member_logits(policy: CommPolicy, state: Tensor, inbox: Inbox, members: Members, round_: int) -> Tensor:
    """Action logits [S, B, N, A] of each member of a vote; gradients flow through payloads.

    Args:
        policy: A policy with one round of messages, whose agents act at once and do not remember what they hear.
        state: [B, N, H] before the round.
        inbox: The delivered messages.
        members: The members.
        round_: The round.
    """
    size, (worlds, agents, slots) = len(members), inbox.mask.shape
    chunk = max(1, TOGETHER // max(1, worlds * agents * slots * policy.width))
    parts = []
    for first in range(0, size, chunk):
        last = min(size, first + chunk)
        before = state.repeat(last - first, 1, 1)
        after = ask(policy, policy.hear, tuple(before.shape), before, inbox.of_members(members, first, last), round_)
        logits = ask(policy, policy.act, (*after.shape[:2], policy.num_actions), after)
        parts.append(logits.view(last - first, worlds, agents, -1))
    return torch.cat(parts)


def count_votes(logits: Tensor, noise: Tensor | None) -> Tensor:
    """Votes [B, N, A] int64 for each action.

    Args:
        logits: [S, B, N, A] of each member.
        noise: [B, N, A] Gumbel noise with which actions are sampled; None for greedy actions.
    """
    action = choose_action(logits, noise)
    votes = torch.zeros(logits.shape[1:], dtype=torch.int64, device=logits.device)
    return votes.scatter_add_(-1, action.movedim(0, -1), torch.ones_like(action).movedim(0, -1))


def vote_logits(votes: Tensor) -> Tensor:
    """Logarithms [..., A] of votes; of equally frequent actions the first is the likeliest."""
    return votes.float().clamp_min(NO_VOTE).log()


def median_vote(values: Tensor) -> Tensor:
    """The coordinate-wise median [...] of what members [S, ...] would do, for continuous actions.

    Of an even number of members, the mean of the two in the middle counts. With a majority of members whose inboxes no
    attack has touched, each coordinate lies between values that these would choose.
    """
    ordered = values.nan_to_num(torch.inf).sort(0).values
    count = len(ordered)
    return (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
