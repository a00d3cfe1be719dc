"""bandwidth: messages queue for a line of limited bandwidth; messages that exceed the queue are lost.

A fluid queue (Lindley 1952) with tail drop: the delay of a message is the time to transmit it and all messages before
it on its line, at ``bytes_per_second``. The queue drains from step to step. Exchanges of one step queue one after the
other, and messages of one exchange in the order of receivers and their slots. If messages differ in length, one that
does not fit also causes the loss of those behind it in its exchange.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.channel import Channel, ChannelConfig, ChannelEffect, ChannelInput
from agentcomm.contracts.shape import TeamShape


class BandwidthConfig(ChannelConfig):
    """Arguments of ``bandwidth``."""

    bytes_per_second: float = Field(
        125_000.0, gt=0, description="bandwidth of a line in bytes per second (125000 is 1 Mbit/s)"
    )
    queue: int = Field(65_536, ge=1, description="size of the queue in bytes, including the message in transmission")
    shared: Literal["sender", "receiver"] = Field(
        "sender", description="whether messages from an agent (sender) or to an agent (receiver) share a line"
    )


class Bandwidth(Channel[BandwidthConfig]):
    """One line per agent; newcomers share one."""

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """A narrow uplink, and a narrow downlink."""
        return {
            "": {"bytes_per_second": 900, "queue": 400},
            "downlink": {"bytes_per_second": 900, "queue": 400, "shared": "receiver"},
        }

    def memory(self) -> dict[str, Tensor]:
        """The state of the lines; see :func:`lines`."""
        return lines(self.team_shape)

    def carry(self, entering: ChannelInput, memory: dict[str, Tensor]) -> ChannelEffect:
        """Delay messages by the queues of their lines."""
        line = entering.sender if self.config.shared == "sender" else entering.receiver
        return queue_up(entering, memory, line, self.config.bytes_per_second, self.config.queue)


def lines(team_shape: TeamShape) -> dict[str, Tensor]:
    """``backlog``: [B, N + 1] float64 bytes in the queue of each line; ``since``: [B] int64, step of that count."""
    shape = (team_shape.num_worlds, team_shape.num_agents + 1)
    return {
        "backlog": torch.zeros(shape, dtype=torch.float64, device=team_shape.device),
        "since": torch.zeros(team_shape.num_worlds, dtype=torch.int64, device=team_shape.device),
    }


def queue_up(
    entering: ChannelInput, memory: dict[str, Tensor], line: Tensor, rate: float | Tensor, limit: int
) -> ChannelEffect:
    """Transmit the messages of one exchange over their lines.

    Args:
        entering: The messages.
        memory: The tensors of :func:`lines`.
        line: [B, N, M] int64 in 0 .. N.
        rate: Bytes per second, one number for all worlds or [B, 1].
        limit: Size of a line's queue in bytes.
    """
    backlog, since = memory["backlog"], memory["since"]
    elapsed = (entering.step - since).unsqueeze(1) * entering.step_seconds
    backlog.sub_(elapsed * rate).clamp_(min=0)
    since.copy_(entering.step)
    own, size = line.flatten(1), (entering.size * entering.present).flatten(1)
    needed = backlog.gather(1, own) + _up_to(size, own, backlog.shape[1])
    fits = needed <= limit
    backlog.scatter_add_(1, own, (size * fits).double())
    seconds = (needed / rate).float().view(entering.present.shape)
    carried = entering.present & fits.view(entering.present.shape)
    return ChannelEffect(lost=entering.present & ~carried, seconds=seconds.masked_fill(~carried, 0.0))


def _up_to(size: Tensor, line: Tensor, num_lines: int) -> Tensor:
    """Bytes [B, S] on the ``line`` [B, S] of each message up to and including the message, given ``size`` [B, S]."""
    per_line = size.new_zeros(len(size), num_lines).scatter_add(1, line, size)
    lines_before = per_line.cumsum(1) - per_line
    order = line.argsort(dim=1, stable=True)
    running = torch.empty_like(size).scatter(1, order, size.gather(1, order).cumsum(1))
    return running - lines_before.gather(1, line)
