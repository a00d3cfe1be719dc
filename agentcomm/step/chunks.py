"""Sequences of recorded steps, for policies with a memory.

A fragment's rows lie world by world. They are cut into chunks of at most L steps of one world, of which the memory at
the start is recorded. :meth:`Chunks.pack` puts chunks side by side, step by step and longest first, so that one step of
all of them is one slice of rows, and nothing needs padding. Where chunks lie is known on the host, so that splitting
rows copies nothing from the device.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

Rows = dict[str, Tensor]


class Chunks:
    """Where chunks lie among the rows of fragments.

    Args:
        time: [R] steps since the fragment began, world by world.
        length: L, the most steps of a chunk.

    Attributes:
        start: [C] int64 on the host, the first row of each chunk.
        size: [C] int64 on the host, its number of rows.
    """

    def __init__(self, time: Tensor, length: int) -> None:
        time = time.cpu()  # once per update
        self.start = (time % length == 0).nonzero().squeeze(1)
        self.size = torch.diff(self.start, append=self.start.new_full((1,), len(time)))

    def __len__(self) -> int:
        return len(self.start)

    def pack(self, rows: Mapping[str, Tensor], memory: Tensor, chosen: Tensor | None = None) -> tuple[Rows, Tensor]:
        """Chunks as :func:`agentcomm.step.replay.reevaluate` takes them.

        Args:
            rows: Columns [R, ...].
            memory: [C, N, S] memory at the start of the chunks.
            chosen: [c] int64 on the host, which chunks; None for all.

        Returns:
            The columns of these chunks, step by step, with their ``memory`` [c, N, S] and ``sizes`` [L] int64 on the
            host, how many of them have each step; and [c] int64 on the host, which chunks they are, longest first.
        """
        chosen = torch.arange(len(self)) if chosen is None else chosen
        size, order = self.size[chosen].sort(descending=True, stable=True)
        chosen = chosen[order]
        steps = torch.arange(int(size[0]) if len(size) else 0)
        sizes = (size > steps.unsqueeze(1)).sum(1)
        place = torch.arange(int(sizes.sum()))
        step = steps.repeat_interleave(sizes)
        index = (self.start[chosen][place - (sizes.cumsum(0) - sizes)[step]] + step).to(memory.device)
        packed = {name: value[index] for name, value in rows.items()}
        return packed | {"memory": memory[chosen.to(memory.device)], "sizes": sizes}, chosen
