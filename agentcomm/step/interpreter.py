"""An obedient interpreter: a scripted stand-in for members whose language model follows instructions in messages.

There is no language model here. A *directive*, one public payload per option of the action space, stands for "do X". A
member that accepts a message whose cosine similarity to a directive exceeds that of honest messages executes the
directive with a fixed probability, its ``obedience``; otherwise it executes the action of its policy. The delivery of
such messages, their possible senders and the effect of defenses are simulated in full; how a language model would read
them is not.

The interpreter is a property of the evaluated team. It draws one number per member and step from its own generator,
independent of the messages, so that teams of different obedience share these numbers: a member that obeys at 0.3 also
obeys at 0.6.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from agentcomm.base.state import State
from agentcomm.contracts.actions import ActionSpace
from agentcomm.contracts.inbox import Inbox

SEED = 20260513


def directive(action: int, width: int) -> Tensor:
    """[D] the payload that stands for "do ``action``": a fixed random direction of length sqrt(D)."""
    generator = torch.Generator().manual_seed(SEED + action)
    word: Tensor = torch.nn.functional.normalize(torch.randn(width, generator=generator), dim=0) * math.sqrt(width)
    return word


def threshold(width: int) -> float:
    """Cosine above which a message counts as a directive: four standard deviations for random directions."""
    return min(4 / math.sqrt(width), 0.9)


class Interpreter(State):
    """Detects directives in a team's inboxes, and makes members obey them.

    Args:
        obedience: Probability that a member obeys a directive.
        actions: The action space, with a directive per option.
        width: Payload width D.
        generator: Decides which members obey.

    Raises:
        ValueError: If obedience is not a probability.
    """

    keeps: ClassVar[tuple[str, ...]] = ("generator",)

    def __init__(self, obedience: float, actions: ActionSpace, width: int, generator: torch.Generator) -> None:
        if not 0 <= obedience <= 1:
            raise ValueError(f"obedience must be a probability, not {obedience}")
        self.obedience, self.generator, self._actions = obedience, generator, actions
        self._threshold = threshold(width)
        patterns = torch.stack([directive(action, width) for action in range(actions.options)])
        self._patterns = torch.nn.functional.normalize(patterns, dim=1).to(generator.device)
        self._told = self._closest = self._luck = torch.zeros(0, device=generator.device)

    def begin(self, worlds: int, agents: int) -> None:
        """Start a new step, in which no member has received a directive yet."""
        shape, device = (worlds, agents), self.generator.device
        self._told = torch.full(shape, -1, device=device)
        self._closest = torch.full(shape, self._threshold, device=device)
        self._luck = torch.rand(shape, generator=self.generator, device=device)

    def read(self, inbox: Inbox) -> None:
        """Record the directives in an exchange; of several in a step, the one with the largest cosine counts."""
        payload = torch.nn.functional.normalize(inbox.payload(), dim=-1)
        likeness = (payload @ self._patterns.T).masked_fill(~inbox.mask.unsqueeze(-1), -1.0)
        if not likeness.shape[2]:
            return
        clearest, action = likeness.amax(2).max(-1)
        clearer = clearest > self._closest
        self._closest = torch.where(clearer, clearest, self._closest)
        self._told = torch.where(clearer, action, self._told)

    def obey(self, action: Tensor, rows: Tensor) -> Tensor:
        """Actions [R, ...] of the members ``rows`` (world * N + agent), given their policies' actions."""
        told = self._told.flatten()[rows]
        obeys = (told >= 0) & (self._luck.flatten()[rows] < self.obedience)
        wanted = self._actions.from_option(told.clamp_min(0))
        return torch.where(obeys.view(-1, *(1,) * (action.dim() - 1)), wanted, action)
