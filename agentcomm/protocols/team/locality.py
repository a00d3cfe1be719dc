"""Whether the agents of a policy can be apart: each needs its own observation and its messages, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from agentcomm.base.errors import RequirementError
from agentcomm.contracts.inbox import Inbox
from agentcomm.contracts.policy import CommPolicy
from agentcomm.contracts.world import World
from agentcomm.step.perceive import perceive


@torch.no_grad()
def check_local(policy: CommPolicy, world: World) -> None:
    """Check that what an agent sees, says and does depends on no other agent but through messages.

    Args:
        policy: The policy, in evaluation mode.
        world: One world; a new episode begins in it.

    Raises:
        RequirementError: If an agent cannot act in a process of its own.
    """
    if policy.topology.dynamic:
        raise RequirementError(
            f"topology {policy.topology.name!r} computes the graph of every step for all agents together, so no"
            " agent can act in a process of its own; use a team with a fixed or learned graph"
        )
    observation = world.reset(0)
    blank = torch.zeros_like(observation) if world.layout.kind == "dense" else torch.full_like(observation, -1)
    hidden = _check(policy, "encode", lambda seen: perceive(policy, seen)[0], observation, blank)
    parts: dict[str, Callable[[Tensor], Tensor]] = {"act": policy.act}
    if policy.rounds - policy.autoregressive > 0:
        parts["speak"] = lambda state: policy.speak(state, 0)
        said = policy.speak(hidden, 0)
        source = policy.topology.graph(None, 1).source
        inbox = Inbox(said, source, torch.ones_like(source, dtype=torch.bool), source)
        parts["hear"] = lambda state: policy.hear(state, inbox, 0)
    if policy.gate is not None:
        parts["listen"] = lambda state: policy.listen(state).unsqueeze(-1)
    for name, part in parts.items():
        _check(policy, name, part, hidden, torch.zeros_like(hidden))


def _check(policy: CommPolicy, name: str, part: Callable[[Tensor], Tensor], given: Tensor, blank: Tensor) -> Tensor:
    """What a part of the policy makes of all rows [1, N, ...]; each must be the same where the others are blank."""
    whole = part(given)
    for agent in range(given.shape[1]):
        alone = blank.clone()
        alone[0, agent] = given[0, agent]
        if not torch.equal(part(alone)[0, agent], whole[0, agent]):
            raise RequirementError(
                f"policy {policy.name!r} cannot act in one process per agent: its {name!r} lets agent {agent} use what"
                " other agents know, beyond their messages"
            )
    return whole
