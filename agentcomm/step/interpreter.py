"""An obedient interpreter: a scripted stand-in for a member whose language model can be told what to do.

There is no language model here. A *directive*, one public payload per action, stands for "do X". A member that has
accepted a message pointing along a directive, more closely than honest messages do, does what it says with a fixed
probability, its ``obedience``; otherwise it does what its policy decided. How far the message gets, who may send it and
what defenses do about it is real; how a model reads it is not.

The interpreter is a property of the evaluated team. It draws one number per member and step from its own generator,
whatever is said, so that teams of different obedience share these numbers: a member that obeys at 0.3 obeys at 0.6,
too.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from agentcomm.base.state import State
from agentcomm.contracts.inbox import Inbox

SEED = 20260513


def directive(action: int, width: int) -> Tensor:
    """[D] what "do ``action``" looks like: a fixed random direction, as long as an honest payload (sqrt D)."""
    generator = torch.Generator().manual_seed(SEED + action)
    word: Tensor = torch.nn.functional.normalize(torch.randn(width, generator=generator), dim=0) * math.sqrt(width)
    return word


def threshold(width: int) -> float:
    """Cosine from which a message counts as a directive: four standard deviations of random directions' cosines."""
    return min(4 / math.sqrt(width), 0.9)


class Interpreter(State):
    """Looks for directives in one team's inboxes, and makes members obey them.

    Args:
        obedience: Chance that a member which has been told what to do does it.
        num_actions: A, the number of directives: one per action.
        width: Payload width D.
        generator: Draws who obeys.

    Raises:
        ValueError: If obedience is no probability.
    """

    keeps: ClassVar[tuple[str, ...]] = ("generator",)

    def __init__(self, obedience: float, num_actions: int, width: int, generator: torch.Generator) -> None:
        if not 0 <= obedience <= 1:
            raise ValueError(f"obedience is a probability, not {obedience}")
        self.obedience, self.generator = obedience, generator
        self._threshold = threshold(width)
        patterns = torch.stack([directive(action, width) for action in range(num_actions)])
        self._patterns = torch.nn.functional.normalize(patterns, dim=1).to(generator.device)
        self._told = self._closest = self._luck = torch.zeros(0, device=generator.device)

    def begin(self, worlds: int, agents: int) -> None:
        """Start a new step, in which no member has been told anything yet."""
        shape, device = (worlds, agents), self.generator.device
        self._told = torch.full(shape, -1, device=device)
        self._closest = torch.full(shape, self._threshold, device=device)
        self._luck = torch.rand(shape, generator=self.generator, device=device)

    def read(self, inbox: Inbox) -> None:
        """Note what each member is told in an exchange; of several directives, the clearest one of the step counts."""
        payload = torch.nn.functional.normalize(inbox.payload(), dim=-1)
        likeness = (payload @ self._patterns.T).masked_fill(~inbox.mask.unsqueeze(-1), -1.0)
        if not likeness.shape[2]:
            return
        clearest, action = likeness.amax(2).max(-1)
        clearer = clearest > self._closest
        self._closest = torch.where(clearer, clearest, self._closest)
        self._told = torch.where(clearer, action, self._told)

    def obey(self, action: Tensor, rows: Tensor) -> Tensor:
        """Actions [R] of the members ``rows`` (world * N + agent), whose policies decided ``action`` [R]."""
        told = self._told.flatten()[rows]
        obeys = (told >= 0) & (self._luck.flatten()[rows] < self.obedience)
        return torch.where(obeys, told, action)
