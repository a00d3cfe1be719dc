"""Autoregressive decisions: agents send their actions to each other, and therefore act in turns."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from agentcomm.contracts.inbox import Inbox, ProjectionCache
from agentcomm.contracts.policy import CommPolicy
from agentcomm.contracts.traffic import Links
from agentcomm.step.hooks import ask


def turns(links: Links) -> tuple[Tensor, Tensor]:
    """The turn in which each agent acts.

    An agent listens to those of its senders that precede it in the team's order, and acts right after the last of
    them. Agents that do not depend on each other act in the same turn, so the number of turns is the length of the
    longest chain of dependencies.

    Args:
        links: The step's links, of which only present ones count.

    Returns:
        [B, N] int64 turn of each agent, from 0; and [B, N, k] bool, the links on which actions are sent.
    """
    worlds, agents, _ = links.source.shape
    receiver = torch.arange(agents, device=links.source.device).view(1, -1, 1)
    earlier = links.present & (links.source < receiver)
    turn = torch.zeros(worlds, agents, dtype=torch.int64, device=links.source.device)
    if links.source.shape[-1]:
        for _ in range(agents):
            heard = turn.unsqueeze(1).expand(-1, agents, -1).gather(2, links.source) + 1
            new = heard.masked_fill(~earlier, 0).amax(-1)
            if torch.equal(new, turn):
                break
            turn = new
    return turn, earlier


def decide_sequentially(
    policy: CommPolicy,
    hidden: Tensor,
    links: Links,
    exchange: Callable[[Tensor, Links, int], Inbox],
    noise: Tensor | None,
    add_noise: Callable[[Tensor, int], Tensor] = lambda said, round_: said,
    choose: Callable[[Tensor, Tensor | None, Tensor], Tensor] | None = None,
    retain: Callable[[Tensor, Tensor], Tensor] = lambda state, rows: state,
    allowed: Tensor | None = None,
) -> tuple[Tensor, Tensor, Inbox]:
    """Run the last round of an autoregressive policy: in each turn, some agents receive messages, act and send actions.

    Args:
        policy: The policy.
        hidden: [B, N, H] before the round.
        links: The step's links.
        exchange: Takes payloads, links and the number of the exchange; returns the inboxes.
        noise: Noise of actions [B, N]; None for greedy actions.
        add_noise: Takes payloads [B, N, D] and their round; returns them with message noise.
        choose: Takes parameters [R, P], their noise, and the agents ``rows`` [R] (world * N + agent); returns actions
            [R, ...]. None for those of the policy.
        retain: Takes states [1, R, H] after the round and the agents ``rows``; returns states with their memory.
        allowed: [B, N, P] bool, what agents can do; None for everything.

    Returns:
        Parameters [B, N, P], actions [B, N, ...], and the inbox of each agent at its turn.
    """
    last = policy.rounds - 1
    worlds, agents, _ = hidden.shape
    turn, earlier = turns(links)
    flat = hidden.flatten(0, 1).unsqueeze(0)
    spoken = hidden.new_zeros(worlds, agents, policy.width)
    cache = ProjectionCache(spoken.view(1, worlds * agents, policy.width))
    space = policy.actions
    logits = hidden.new_zeros(worlds * agents, space.parameters)
    actions = torch.zeros(worlds * agents, *space.shape, dtype=space.dtype, device=hidden.device)
    mask = None if allowed is None else allowed.flatten(0, 1)
    flat_noise = None if noise is None else noise.flatten(0, 1)
    told: Inbox | None = None
    for number in range(int(turn.max()) + 1):
        due = turn == number
        inbox = exchange(spoken, links.only(due, earlier), last + number).materialized()
        if inbox.received is not None:
            cache.refresh(inbox.received)
        told = inbox if told is None else told.merge(inbox, due)
        rows = due.flatten().nonzero().squeeze(-1)
        before = flat[:, rows]
        state = ask(policy, policy.hear, tuple(before.shape), before, inbox.rows(rows, cache), last)
        state = retain(state, rows)
        stated = ask(policy, policy.act, (1, len(rows), space.parameters), state)[0]
        stated = logits[rows] = space.masked(stated, None if mask is None else mask[rows])
        own_noise = None if flat_noise is None else flat_noise[rows]
        action = actions[rows] = space.choose(stated, own_noise) if choose is None else choose(stated, own_noise, rows)
        said = spoken.new_zeros(worlds * agents, policy.width)
        said[rows] = ask(policy, policy.tell, (1, len(rows), policy.width), before, action.unsqueeze(0))[0]
        # Noise depends on the agent's index in its world, so it is added to all payloads, and only these rows are kept.
        cache.speak(rows, add_noise(said.view_as(spoken), last).flatten(0, 1)[rows])
    assert told is not None
    return logits.view(worlds, agents, -1), actions.view(worlds, agents, *space.shape), told
