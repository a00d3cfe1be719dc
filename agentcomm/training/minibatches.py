"""How the rows of an update are split into minibatches: joint steps, or for policies with a memory chunks of them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from agentcomm.contracts.policy import CommPolicy
from agentcomm.runs.ppo_settings import PPOSettings
from agentcomm.step.chunks import Chunks
from agentcomm.step.replay import unroll

Rows = dict[str, Tensor]


class StepBatch:
    """Joint steps, each on its own.

    Args:
        rows: Columns [R, ...].
        settings: PPO's arguments.
    """

    def __init__(self, rows: Rows, settings: PPOSettings) -> None:
        self.rows, self.settings = rows, settings

    def without(self, held: Tensor) -> tuple[StepBatch, Rows]:
        """The batch without some rows ([R] bool), and those rows."""
        kept = {name: value[~held] for name, value in self.rows.items()}
        return StepBatch(kept, self.settings), {name: value[held] for name, value in self.rows.items()}

    def epoch(self, number: int, policy: CommPolicy, generator: torch.Generator) -> Iterator[Rows]:
        """Minibatches in random order; a remainder smaller than a minibatch is left to the next epoch.

        Args:
            number: Number of the epoch, from 0.
            policy: The policy in training.
            generator: Shuffles rows.
        """
        count = len(self.rows["advantage"])
        size = min(self.settings.minibatch or count, count)
        if size == count:
            yield self.rows
            return
        for index in _parts(_shuffled(count, generator), size):
            yield {name: value[index] for name, value in self.rows.items()}


class ChunkBatch:
    """Chunks of successive steps of one world, in whose course a policy with a memory is unrolled.

    Gradients end where chunks end. The memory at the start of a chunk is that of the rollout in the first epoch; as the
    policy changes, it is computed again before each later epoch, from the start of the fragment and without gradient.

    Args:
        rows: Columns [R, ...], world by world, with ``time`` [R], ``first`` [R, N] (a member whose episode starts), and
            ``memory`` [C, N, S] at the start of chunks.
        settings: PPO's arguments.
    """

    def __init__(self, rows: Rows, settings: PPOSettings) -> None:
        self.rows, self.settings = dict(rows), settings
        self.memory = self.rows.pop("memory")
        self.chunks = Chunks(self.rows["time"], settings.chunk)

    def without(self, held: Tensor) -> tuple[ChunkBatch, Rows]:
        """The batch without the chunks of some worlds, whose rows [R] are held out, and their chunks."""
        of_chunks = held.cpu()[self.chunks.start]
        kept = {name: value[~held] for name, value in self.rows.items()}
        kept["memory"] = self.memory[~of_chunks.to(held.device)]
        packed, _ = self.chunks.pack(self.rows, self.memory, of_chunks.nonzero().squeeze(1))
        return ChunkBatch(kept, self.settings), packed

    def epoch(self, number: int, policy: CommPolicy, generator: torch.Generator) -> Iterator[Rows]:
        """Minibatches of whole chunks in random order, of about as many rows as of single steps."""
        if number:
            self._recall(policy)
        count, rows = len(self.chunks), len(self.rows["advantage"])
        size = self.settings.minibatch or rows
        if size >= rows:
            yield self.chunks.pack(self.rows, self.memory)[0]
            return
        for chosen in _parts(_shuffled(count, generator).cpu(), max(size // self.settings.chunk, 1)):
            yield self.chunks.pack(self.rows, self.memory, chosen)[0]

    @torch.no_grad()
    def _recall(self, policy: CommPolicy) -> None:
        """Compute the memory at the start of chunks with the present policy, from that at the start of the fragment."""
        fragments = Chunks(self.rows["time"], len(self.rows["time"]))
        first = torch.searchsorted(self.chunks.start, fragments.start)  # the first chunk of each fragment
        packed, order = fragments.pack(self.rows, self.memory[first.to(self.memory.device)])
        again = self.memory.clone()
        for at, step in enumerate(unroll(policy, packed)):
            number, place = divmod(at, self.settings.chunk)
            if not place:
                again[(first[order[: len(step.memory)]] + number).to(again.device)] = step.memory
        self.memory = again


def batch_of(policy: CommPolicy, rows: Rows, settings: PPOSettings) -> StepBatch | ChunkBatch:
    """The rows of an update as a policy needs them."""
    return ChunkBatch(rows, settings) if policy.memory_width else StepBatch(rows, settings)


def _shuffled(count: int, generator: torch.Generator) -> Tensor:
    """[count] int64, random indices."""
    return torch.randperm(count, generator=generator, device=generator.device)


def _parts(order: Tensor, size: int) -> Iterator[Tensor]:
    """The entries of ``order``, ``size`` at a time."""
    for start in range(0, len(order) - size + 1, size):
        yield order[start : start + size]
