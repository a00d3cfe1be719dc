"""The columns in which rollouts record delivered messages."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from agentcomm.contracts.inbox import Inbox

Rows = dict[str, Tensor]


def record_inboxes(inboxes: list[list[Inbox]], links: Tensor, reads_age: bool = False) -> Rows:
    """Delivered messages of T steps of R rounds as columns [T, B, R, ...]; changes are recorded only if there are any.

    Args:
        inboxes: Inboxes per step and round.
        links: [T, B, N, k], for teams without rounds.
        reads_age: Whether the policy reads the age of messages.
    """
    flat = [inbox for step in inboxes for inbox in step]
    if not flat:
        return {"mask": torch.zeros_like(links, dtype=torch.bool).unsqueeze(2)[:, :, :0]}
    slots = max(inbox.mask.shape[-1] for inbox in flat)
    disturbed = slots > flat[0].links.shape[-1] or any(i.scale is not None or i.delta is not None for i in flat)

    def column(pick: Any) -> Tensor:
        return torch.stack([torch.stack([pick(inbox) for inbox in step], 1) for step in inboxes])

    def slot(x: Tensor, value: float = 0) -> Tensor:
        return torch.nn.functional.pad(x, (0, slots - x.shape[-1]), value=value)

    columns = {"mask": column(lambda i: slot(i.mask))}
    if disturbed:
        columns["source"] = column(lambda i: slot(i.source).to(torch.int16))
    if reads_age and any(i.age is not None for i in flat):

        def age(inbox: Inbox) -> Tensor:
            return torch.zeros_like(inbox.source) if inbox.age is None else inbox.age

        columns["age"] = column(lambda i: slot(age(i)).to(torch.int8))
    if any(i.scale is not None for i in flat):

        def factor(inbox: Inbox) -> Tensor:
            return torch.ones_like(inbox.mask, dtype=torch.float32) if inbox.scale is None else inbox.scale

        columns["scale"] = column(lambda i: slot(factor(i)))
    if any(i.delta is not None for i in flat):
        width = flat[0].spoken.shape[-1]

        def offset(inbox: Inbox) -> Tensor:
            if inbox.delta is None:
                return inbox.spoken.new_zeros(*inbox.mask.shape[:2], slots, width)
            return torch.nn.functional.pad(inbox.delta, (0, 0, 0, slots - inbox.mask.shape[-1]))

        columns["delta"] = column(offset)
    if any(i.coding is not None for i in flat):

        def coding(inbox: Inbox) -> Tensor:
            return torch.zeros_like(inbox.spoken) if inbox.coding is None else inbox.coding

        columns["coding"] = column(coding)
    return columns
