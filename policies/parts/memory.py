"""The memory of agents: gated recurrent units (Cho et al. 2014, arXiv 1406.1078) for what they see and what they hear.

*Seen*, before any message: ``h_t = GRU(x_t, h_{t-1})``, where x_t is the encoded observation. *Heard*, after the last
round: ``m_t = GRU(s_t, m_{t-1})``, where s_t is the agent's state, so that an agent acts on what it has just heard.
Both are added to the agent's vector, which stays of length sqrt(D):

    hidden = LN(x_t + U [h_t, m_{t-1}])    for messages, gates, graph and critic
    state  = LN(s_t + V m_t)               for the action

All agents share the units. What is seen alone is cheap: an update unrolls one cell. What is heard makes it unroll the
rounds of messages, too, because a message depends on messages of earlier steps.
"""

from __future__ import annotations

from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from policies.graphs.part import Part


class MemoryConfig(Part):
    """Arguments of the memory."""

    seen: bool = Field(True, description="remember observations")
    heard: bool = Field(True, description="remember messages, and the state after the last round")
    width: int | None = Field(None, ge=1, le=1024, description="width of each memory; the policy's when not given")

    @model_validator(mode="after")
    def _remembers(self) -> Self:
        if not (self.seen or self.heard):
            raise ValueError("a memory with seen=false and heard=false holds nothing; leave memory out instead")
        return self


class GRUMemory(nn.Module):
    """One cell per memory, shared by all agents.

    Attributes:
        width: Width S of an agent's memory: what it saw, then what it heard.
    """

    def __init__(self, config: MemoryConfig, width: int) -> None:
        super().__init__()
        cell = config.width or width
        self.sizes = [cell * config.seen, cell * config.heard]
        self.width = sum(self.sizes)
        self.seen = nn.GRUCell(width, cell) if config.seen else None
        self.heard = nn.GRUCell(width, cell) if config.heard else None
        self.recalled = nn.Linear(self.width, width, bias=False)
        self.retained = nn.Linear(cell, width, bias=False) if config.heard else None

    def recall(self, encoded: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Encoded observations [B, N, D] and memory [B, N, S] -> hidden vectors, and the memory of what is seen now."""
        if self.seen is not None:
            seen, heard = memory.split(self.sizes, -1)
            memory = torch.cat([_step(self.seen, encoded, seen), heard], -1)
        return nn.functional.layer_norm(encoded + self.recalled(memory), encoded.shape[-1:]), memory

    def retain(self, state: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """State [B, N, D] after the last round and memory -> state to act on, and the memory of what is heard now."""
        if self.heard is None or self.retained is None:
            return state, memory
        seen, heard = memory.split(self.sizes, -1)
        heard = _step(self.heard, state, heard)
        state = nn.functional.layer_norm(state + self.retained(heard), state.shape[-1:])
        return state, torch.cat([seen, heard], -1)


def _step(cell: nn.GRUCell, now: Tensor, before: Tensor) -> Tensor:
    """One step of a cell with inputs [..., D] and memories [..., W]."""
    out: Tensor = cell(now.flatten(0, -2), before.flatten(0, -2))
    return out.view_as(before)
