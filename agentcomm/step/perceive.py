"""What agents know before any message: the encoded observation, and what they remember.

Everything that encodes observations goes through :func:`perceive`: decisions, updates, the value of the last state of a
fragment, and attacks that predict a policy.
"""

from __future__ import annotations

from torch import Tensor

from agentcomm.contracts.policy import CommPolicy
from agentcomm.step.hooks import ask, ask_memory


def perceive(
    policy: CommPolicy, observation: Tensor, memory: Tensor | None = None, alive: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Hidden vectors [B, N, H] of observations, and the memory [B, N, S] with these observations.

    Args:
        policy: The policy.
        observation: [B, N, O].
        memory: [B, N, S] memory of earlier steps; None at the start of episodes.
        alive: [B, N] bool, present members, whose hidden vectors are not 0; None for all.

    Raises:
        HookError: If a method of the policy raises an error or breaks its contract.
    """
    shape = observation.shape[:2]
    hidden = ask(policy, policy.encode, (*shape, None), observation)
    if memory is None:
        memory = hidden.new_zeros(*shape, policy.memory_width)
    if policy.memory_width:
        hidden, memory = ask_memory(policy, policy.recall, hidden, memory)
    return (hidden if alive is None else hidden * alive.unsqueeze(-1)), memory
