"""bandwidth: messages queue for a line of so many bytes per second, and what the queue cannot hold is lost.

A fluid queue (Lindley 1952) with tail drop: a message takes as long as everything before it on its line and itself need
to go out, at ``bytes_per_second``. The queue drains from step to step; the exchanges of one step queue up behind each
other, the messages of one exchange in the order of receivers and their slots. Where messages differ in length, one that
does not fit takes those after it in its exchange with it.
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

    bytes_per_second: float = Field(125_000.0, gt=0, description="what a line carries (125000 is 1 Mbit/s)")
    queue: int = Field(65_536, ge=1, description="bytes that may wait for a line, a message on it included")
    shared: Literal["sender", "receiver"] = Field(
        "sender", description="whether all that an agent sends, or all that it is sent, shares a line"
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
        """See :func:`lines`."""
        return lines(self.team_shape)

    def carry(self, entering: ChannelInput, memory: dict[str, Tensor]) -> ChannelEffect:
        """Queue up."""
        line = entering.sender if self.config.shared == "sender" else entering.receiver
        return queue_up(entering, memory, line, self.config.bytes_per_second, self.config.queue)


def lines(team_shape: TeamShape) -> dict[str, Tensor]:
    """``backlog``: [B, N + 1] float64 bytes that wait per line; ``since``: [B] int64, the step they were counted in."""
    shape = (team_shape.num_worlds, team_shape.num_agents + 1)
    return {
        "backlog": torch.zeros(shape, dtype=torch.float64, device=team_shape.device),
        "since": torch.zeros(team_shape.num_worlds, dtype=torch.int64, device=team_shape.device),
    }


def queue_up(
    entering: ChannelInput, memory: dict[str, Tensor], line: Tensor, rate: float | Tensor, limit: int
) -> ChannelEffect:
    """Send one exchange's messages down their lines.

    Args:
        entering: The messages.
        memory: That of :func:`lines`.
        line: [B, N, M] int64 in 0 .. N.
        rate: Bytes per second since the last exchange and from now on, for all worlds or as [B, 1].
        limit: Bytes that a line's queue holds.
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
    """Bytes [B, S] of messages ``size`` [B, S] on each one's own ``line`` [B, S], up to itself and with it."""
    per_line = size.new_zeros(len(size), num_lines).scatter_add(1, line, size)
    lines_before = per_line.cumsum(1) - per_line
    order = line.argsort(dim=1, stable=True)
    running = torch.empty_like(size).scatter(1, order, size.gather(1, order).cumsum(1))
    return running - lines_before.gather(1, line)
