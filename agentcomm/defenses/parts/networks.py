"""Small networks, and the loop that trains them on clean messages and corrupted ones in about a second."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from agentcomm.defenses.parts.corruptions import corrupt
from agentcomm.defenses.parts.detector import Messages
from agentcomm.defenses.parts.features import flat

HIDDEN = 64
STEPS, BATCH, RATE = 150, 160, 5e-3


def network(inputs: int, outputs: int, device: torch.device) -> nn.Sequential:
    """A network with two hidden layers."""
    layers = nn.Linear(inputs, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, outputs)
    return nn.Sequential(*layers).to(device)


def train(
    trained: nn.Module,
    clean: Messages,
    spread: Tensor,
    loss: Callable[[Messages, Tensor, Messages], Tensor],
    generator: torch.Generator,
) -> None:
    """Train a module on inboxes in which some messages are corrupted; its parameters are frozen afterwards.

    Args:
        trained: What is trained.
        clean: Clean messages.
        spread: [D] standard deviation of clean messages.
        loss: Given messages with some corrupted ones, which of them are corrupted [R, 1, M] bool, and the clean ones.
        generator: For all draws.
    """
    inboxes = flat(clean)
    inboxes = inboxes.rows(inboxes.present.any(-1).squeeze(1))
    optimizer = torch.optim.AdamW(trained.parameters(), RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS)
    for _ in range(STEPS):
        rows = torch.randint(len(inboxes.present), (BATCH,), generator=generator, device=generator.device)
        batch = inboxes.rows(rows)
        made, where = corrupt(batch.payload.squeeze(1), batch.present.squeeze(1), spread, generator)
        value = loss(batch._replace(payload=made.unsqueeze(1)), where.unsqueeze(1), batch)
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    trained.requires_grad_(False)


def balanced(logit: Tensor, corrupted: Tensor, present: Tensor) -> Tensor:
    """Binary cross-entropy of corrupted against clean messages, in which both count alike.

    Args:
        logit: [R, 1, M].
        corrupted: [R, 1, M] bool.
        present: [R, 1, M] bool.
    """
    each = nn.functional.binary_cross_entropy_with_logits(logit, corrupted.float(), reduction="none")
    parts = [each[where].mean() for where in (corrupted & present, ~corrupted & present) if bool(where.any())]
    return torch.stack(parts).sum()
