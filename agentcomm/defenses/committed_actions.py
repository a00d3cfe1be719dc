"""committed_actions: agents commit to the seeds of their actions, and a supervisor carries out what follows from them.

A covert channel hides its bits in the choice among actions that the policy finds likely (``covert``; minimum entropy
coupling, arXiv 2410.21666). If the seed that an agent samples with is fixed before the episode, nothing is left to
choose: the supervisor computes every action from the declared policy, the agent's input and the committed seed, and
carries that one out, whatever the agent asks for. The channel's capacity is then 0, where ``warden`` only slows it.
Honest agents lose nothing: it is the action that they have sampled.

It assumes trusted randomness: a seed that agents choose themselves could encode the secret, so it must come from a
public beacon or a joint coin toss. The supervisor must be trusted, and know every agent's policy and input; it costs a
second evaluation of the policy per action. It also overrules an agent that obeys an instruction in a message against
its policy. It cannot stop what hides in messages (``leak``), in when an agent acts, or in the policy itself: a
backdoor is part of the declared policy.
"""

from __future__ import annotations

from torch import Tensor

from agentcomm.contracts.defense import Defense
from agentcomm.contracts.deployment import Deployment
from agentcomm.contracts.verdicts import ActionRequest, ActionVerdicts


class CommittedActions(Defense):
    """Stands between agents and their actuators."""

    order = "response"
    answers = ("ua.l3.behavior_auditing_and_restriction",)
    adaptive = ("covert", "leak")
    fails_open = False

    def assumes(self, deployment: Deployment) -> dict[str, bool | float | str]:
        """Seeds that no agent has chosen, and a supervisor that sees what agents see."""
        return super().assumes(deployment) | {"trusted_randomness": True, "trusted_supervisor": True}

    def on_action(self, request: ActionRequest, memory: dict[str, Tensor]) -> ActionVerdicts:
        """The committed action of every agent, so that none of them says anything about a secret."""
        return ActionVerdicts(replace=request.committed)
