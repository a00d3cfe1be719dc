"""What attacks on sensors may show agents of the world: only what those sensors could have shown by themselves.

They act before a team decides. What agents see then is what a rollout records, so that an update sees the same.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from agentcomm.threats import Attack, SensorView
from agentcomm.world import World

Violate = Callable[[str, Tensor], None]


def proposal(
    attack: Attack, view: SensorView, observation: Tensor, world: World, norm: float | None, violate: Violate
) -> tuple[Tensor, Tensor] | None:
    """Ask an attack what agents shall see, and take from it what its sensors could show.

    Args:
        attack: The attack.
        view: What it is shown.
        observation: [B, N, O] what agents would see.
        world: Says what sensors can show.
        norm: Largest change of a number; None for any.
        violate: Told which rule was broken, and where.

    Returns:
        bool, what is changed: [B, N, O] indices or [B, N, 1] vectors of numbers, each of which costs 1; and what is
        shown [B, N, O]. None where the attack leaves everything as it is.
    """
    wanted = attack.perceive(view)
    if wanted is None:
        return None
    if wanted.shape != observation.shape or wanted.dtype != observation.dtype:
        raise ValueError(
            f"{type(attack).__name__}: perceive must return {observation.dtype} {tuple(observation.shape)},"
            f" not {wanted.dtype} {tuple(wanted.shape)}"
        )
    reach = view.reach.unsqueeze(-1)
    # Of what an attack cannot see, only what it makes up of it counts as changed.
    changed = torch.where(reach, wanted != observation, wanted != view.observation)
    violate("modify out of reach", changed & ~reach)
    changed &= reach
    if view.readings is None:
        finite = wanted.isfinite().all(-1, keepdim=True)
        violate("modify not finite", changed.any(-1, keepdim=True) & ~finite)
        change = (wanted - observation).masked_fill(~finite | ~reach, 0.0)
        if norm is not None:
            violate("modify beyond the norm", (change.abs() > norm * (1 + 1e-5) + 1e-6).any(-1))
            change = change.clamp(-norm, norm)
        shown = (observation + change).clamp(world.layout.low, world.layout.high)
        return changed.any(-1, keepdim=True) & finite, shown
    known = (wanted >= -1) & (wanted < world.layout.vocabulary)
    possible = view.readings.expand(len(wanted), -1, -1, -1)
    possible = possible.gather(3, wanted.clamp(-1, world.layout.vocabulary - 1).unsqueeze(-1) + 1).squeeze(-1)
    violate("show what no sensor could", changed & ~(known & possible))
    return changed & known & possible, wanted
