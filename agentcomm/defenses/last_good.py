"""last_good: requesters that a directory does not answer go on with its last good answer for the same skill.

Agents survive a hub that is overloaded (``blast``, ``half_open``) or gone, and one whose answers ``signed_cards``
rejects. The price is that answers may be ``age`` steps old: who has left since is asked all the same.

It cannot stop: a hub that answers wrongly, as an answer poisoned once is used again, unless ``signed_cards`` tells it
from a good one; a hub that is gone before it has answered. A skill that was never looked up has no answer.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.defense import Defense, DefenseConfig
from agentcomm.contracts.directory_defense import Answer, DirectoryRequests, DirectoryVerdicts
from agentcomm.contracts.directory_hook import DirectoryShape

KEPT = tuple(field.name for field in fields(Answer) if field.name != "served")


class LastGoodConfig(DefenseConfig):
    """Arguments of ``last_good``."""

    age: int = Field(20, ge=1, description="look-ups for which an answer may be used, by the requester that got it")


class LastGood(Defense[LastGoodConfig]):
    """Keeps the last good answer per look-up and skill; there are as many look-ups as agents at most."""

    order = "response"
    answers = ("aa.l1.controller_isolation_and_enhancement",)
    adaptive = ("poisoned_cache",)
    history = None
    lossless = False  # a hub can be overloaded without an attack

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Answers of any age."""
        return {"": {}}

    def directory_memory(self, shape: DirectoryShape) -> dict[str, Tensor]:
        """What is shown of the cards in an answer: [B, N, K, k], and K claims each; and its ``age`` [B, N, K]."""
        s = self.team_shape
        sizes, device = (s.num_worlds, s.num_agents, shape.skills, shape.listed), s.device
        return {
            "slot": torch.full(sizes, -1, dtype=torch.int64, device=device),
            "principal": torch.full(sizes, -1, dtype=torch.int64, device=device),
            "claim": torch.zeros(*sizes, shape.skills, device=device),
            "reputation": torch.zeros(sizes, device=device),
            "age": torch.zeros(sizes[:3], dtype=torch.int64, device=device),
        }

    def on_directory(self, requests: DirectoryRequests, memory: dict[str, Tensor]) -> DirectoryVerdicts:
        """Keep good answers, and fill in for those that are missing. Whoever passes a task on keeps none."""
        if requests.answer is None:
            return DirectoryVerdicts()
        given, lookups = requests.answer, requests.own.shape[1]
        memory["age"][requests.worlds] += 1
        world = requests.worlds.unsqueeze(1)
        place = (world, torch.arange(lookups, device=world.device).unsqueeze(0), requests.requirement.argmax(2))
        memory["age"][place] = memory["age"][place].masked_fill(given.served, 0)
        missing = requests.own & ~given.served & (memory["age"][place] <= self.config.age)
        changed: dict[str, Tensor] = {}
        for name in KEPT:
            new, last = getattr(given, name), memory[name][place]
            good, lost = (mask.view(*mask.shape, *[1] * (new.dim() - 2)) for mask in (given.served, missing))
            memory[name][place] = torch.where(good, new, last)
            changed[name] = torch.where(lost, last, new)
        return DirectoryVerdicts(answer=replace(given, **changed))
