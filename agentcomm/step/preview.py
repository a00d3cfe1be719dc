"""What a team that decides greedily will say and do, computed without sending anything.

Attacks that know the policy foresee the effect of a message with it, and trained attackers are shown what is about to
be said.
"""

from __future__ import annotations

import torch
from torch import Tensor

from agentcomm.contracts.inbox import Inbox
from agentcomm.contracts.policy import CommPolicy
from agentcomm.contracts.topology import Graph
from agentcomm.contracts.traffic import Links
from agentcomm.step.gates import make_links, open_gates
from agentcomm.step.message_noise import add_message_noise


@torch.no_grad()
def preview_messages(
    policy: CommPolicy, observation: Tensor, graph: Graph | None, alive: Tensor | None = None
) -> tuple[Tensor, Links]:
    """What a greedy team is about to say in a step's first round, and on which links.

    Args:
        policy: One whose agents all act at once.
        observation: [B, N, O].
        graph: The graph in use; None where the policy makes one in every step.
        alive: [B, N] bool, present members; None for all.

    Returns:
        Payloads [B, N, D], and the links.
    """
    hidden = policy.encode(observation)
    if alive is not None:
        hidden = hidden * alive.unsqueeze(-1)
    if graph is None:
        graph = policy.topology.graph(None, len(observation), hidden)
    gate = open_gates(policy, hidden).open
    said = add_message_noise(policy, policy.speak(hidden, 0), 0)
    return said, make_links(policy, graph, gate, alive)


def predict_logits(policy: CommPolicy, state: Tensor, links: Links, round_: int, inbox: Inbox) -> Tensor:
    """Action logits [B, N, A] of a team that hears an inbox, if later rounds pass undisturbed.

    Args:
        policy: One whose agents all act at once.
        state: [B, N, H] before the round.
        links: The step's links.
        round_: The round.
        inbox: What is heard in that round; gradients flow through its payloads.
    """
    state = policy.hear(state, inbox, round_)
    for later in range(round_ + 1, policy.rounds):
        said = add_message_noise(policy, policy.speak(state, later), later)
        state = policy.hear(state, Inbox(said, links.source, links.present, links.source), later)
    return policy.act(state)
