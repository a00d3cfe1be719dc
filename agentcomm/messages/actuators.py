"""What lies between what a team's policy would do and what is done: compromised agents, then a warden."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from agentcomm.messages.guard import Guard
from agentcomm.threats import Setting


class Actuators:
    """The actuators of all agents of B worlds.

    Args:
        guards: All attacks; those with the power ``act`` count.
        redraw: Chance with which a warden draws an action anew from the policy's law.
        setting: Sizes.
        seed: Seeds the warden.

    Raises:
        ValueError: If two attacks act for one node.
    """

    def __init__(self, guards: Sequence[Guard], redraw: float, setting: Setting, seed: int) -> None:
        self.guards = [guard for guard in guards if guard.actions is not None]
        nodes = [guard.identity for guard in self.guards]
        if len(set(nodes)) < len(nodes):
            raise ValueError(f"two attacks act for one node (nodes {nodes})")
        self.redraw = redraw
        self.agents = setting.num_agents
        self.generator = torch.Generator(setting.device)
        self.generator.manual_seed(seed)

    @property
    def quiet(self) -> bool:
        """Whether what the policy would do is what is done."""
        return not self.guards and not self.redraw

    @torch.no_grad()
    def act(
        self,
        logits: Tensor,
        action: Tensor,
        noise: Tensor | None,
        step: Tensor,
        rows: Tensor,
        alive: Tensor | None = None,
    ) -> Tensor:
        """What is done [R].

        Args:
            logits: [R, A] of the policy.
            action: [R] what it would do.
            noise: [R, A] Gumbel noise that action was drawn with; None where the team decides greedily.
            step: [B] int64.
            rows: [R] int64, whose actions these are, as world * N + agent.
            alive: [B, N] bool, members that are there; None for all.
        """
        if noise is None:
            probability = nn.functional.one_hot(action, logits.shape[-1]).double()
        else:
            probability = logits.double().softmax(-1)
        world, agent = rows // self.agents, rows % self.agents
        drawn = []
        for guard in self.guards:
            mine = agent == guard.identity
            if alive is not None:
                mine = mine & alive[world, agent]
            at = mine.nonzero().squeeze(-1)
            out = guard.act(probability[at], None if noise is None else noise[at], world[at], step)
            if out is not None:
                made, kept, granted = out
                at = at[kept]
                assert guard.actions is not None
                action = action.index_put((at,), guard.actions.overrule(made, action[at], granted))
                drawn.append((guard, made, at, granted))
        if self.redraw:
            action = self._draw_anew(logits, action, noise)
        for guard, made, at, granted in drawn:
            assert guard.actions is not None
            guard.actions.settle(made, action[at], granted, self.redraw)
        return action

    def _draw_anew(self, logits: Tensor, action: Tensor, noise: Tensor | None) -> Tensor:
        """Some actions as the policy would draw them again."""
        anew = torch.rand(action.shape, generator=self.generator, device=action.device) < self.redraw
        fresh = torch.empty_like(logits).exponential_(generator=self.generator).log_()
        return torch.where(anew, (logits if noise is None else logits - fresh).argmax(-1), action)

    def get_state(self) -> dict[str, Any]:
        """The warden's generator."""
        return {"generator": self.generator.get_state().numpy().copy()}

    def set_state(self, saved: dict[str, Any]) -> None:
        """Restore what :meth:`get_state` saved."""
        self.generator.set_state(torch.as_tensor(np.array(saved["generator"])))
