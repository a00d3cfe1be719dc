"""Predictions of the messages and action logits of a greedy team, computed without sending anything.

Attacks that know the policy predict the effect of a message, and trained attackers observe the messages that are about
to be sent.
"""

from __future__ import annotations

import torch
from torch import Tensor

from agentcomm.contracts.inbox import Inbox
from agentcomm.contracts.policy import CommPolicy
from agentcomm.contracts.topology import Graph
from agentcomm.contracts.traffic import Links
from agentcomm.step.gates import make_links, open_gates
from agentcomm.step.hooks import ask_at
from agentcomm.step.message_noise import add_message_noise
from agentcomm.step.perceive import perceive


@torch.no_grad()
def preview_messages(
    policy: CommPolicy,
    observation: Tensor,
    graph: Graph | None,
    step: Tensor,
    alive: Tensor | None = None,
    memory: Tensor | None = None,
) -> tuple[Tensor, Links]:
    """The messages that a greedy team is about to send in a step's first round, and their links.

    Args:
        policy: A policy whose agents all act at once.
        observation: [B, N, O].
        graph: The graph in use; None if the policy builds one in every step.
        step: [B] int64, steps since each episode began.
        alive: [B, N] bool, present members; None for all.
        memory: [B, N, S] memory of earlier steps; None at the start of episodes.

    Returns:
        Payloads [B, N, D], and the links.
    """
    hidden, _ = perceive(policy, observation, memory, alive)
    if graph is None:
        graph = policy.topology.graph(None, len(observation), hidden)
    graph = ask_at(policy.topology, graph, step)
    gate = open_gates(policy, hidden).open
    said = add_message_noise(policy, policy.speak(hidden, 0), 0)
    return said, make_links(policy, graph, gate, alive).of_round(0)


def predict_logits(
    policy: CommPolicy,
    state: Tensor,
    memory: Tensor,
    links: Links,
    allowed: Tensor | None,
    round_: int,
    inbox: Inbox,
) -> Tensor:
    """Parameters of the action distributions [B, N, P] of a team given an inbox, if later rounds are not attacked.

    Args:
        policy: A policy whose agents all act at once.
        state: [B, N, H] before the round.
        memory: [B, N, S] with this step's observations.
        links: The step's links.
        allowed: [B, N, P] bool, what agents can do; None for everything.
        round_: The round.
        inbox: The messages of that round; gradients flow through their payloads.
    """
    state = policy.hear(state, inbox, round_)
    for later in range(round_ + 1, policy.rounds):
        said = add_message_noise(policy, policy.speak(state, later), later)
        state = policy.hear(state, Inbox(said, links.source, links.of_round(later).present, links.source), later)
    return policy.actions.masked(policy.act(policy.retain(state, memory)[0]), allowed)
