"""cached_answers: requesters that a directory does not answer use its last good answer for the same skill.

Lessens what an overloaded hub costs (``blast``, ``half_open``). The price is that answers may be out of date, and that
an answer poisoned once is used again.
"""

from __future__ import annotations

from dataclasses import fields, replace

import torch
from torch import Tensor

from agentcomm.contracts.defense import Defense
from agentcomm.contracts.directory_defense import Answer, DirectoryRequests, DirectoryVerdicts
from agentcomm.contracts.directory_hook import DirectoryShape

KEPT = tuple(field.name for field in fields(Answer) if field.name != "served")


class CachedAnswers(Defense):
    """Keeps the last good answer per look-up and skill; there are as many look-ups as agents at most."""

    order = "response"
    adaptive = ("poisoned_cache",)
    history = None
    lossless = False  # a hub can be overloaded without an attack

    def directory_memory(self, shape: DirectoryShape) -> dict[str, Tensor]:
        """What is shown of the cards in an answer: [B, N, K, k], and K claims each."""
        s = self.team_shape
        sizes, device = (s.num_worlds, s.num_agents, shape.skills, shape.listed), s.device
        return {
            "slot": torch.full(sizes, -1, dtype=torch.int64, device=device),
            "principal": torch.full(sizes, -1, dtype=torch.int64, device=device),
            "claim": torch.zeros(*sizes, shape.skills, device=device),
            "reputation": torch.zeros(sizes, device=device),
        }

    def on_directory(self, requests: DirectoryRequests, memory: dict[str, Tensor]) -> DirectoryVerdicts:
        """Keep good answers, and fill in for those that are missing. Whoever passes a task on keeps none."""
        if requests.answer is None:
            return DirectoryVerdicts()
        given, lookups = requests.answer, requests.own.shape[1]
        missing = requests.own & ~given.served
        world = requests.worlds.unsqueeze(1)
        place = (world, torch.arange(lookups, device=world.device).unsqueeze(0), requests.requirement.argmax(2))
        changed: dict[str, Tensor] = {}
        for name in KEPT:
            new, last = getattr(given, name), memory[name][place]
            good, lost = (mask.view(*mask.shape, *[1] * (new.dim() - 2)) for mask in (given.served, missing))
            memory[name][place] = torch.where(good, new, last)
            changed[name] = torch.where(lost, last, new)
        return DirectoryVerdicts(answer=replace(given, **changed))
