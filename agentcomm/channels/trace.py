"""trace: measured latency, loss and bandwidth over time, from a file.

The file is CSV with a header: ``seconds,latency_ms,loss`` and, if bandwidth is limited, ``mbit`` (megabits per second
of each sender's uplink). A row is valid until the next one, the last one as long as the one before it; then the trace
repeats. Every episode starts at a random time of the trace.
"""

from __future__ import annotations

import csv
from io import StringIO
from math import isfinite
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.base.documents import read_text
from agentcomm.base.errors import ConfigError
from agentcomm.base.inputs import InputPath, find_input
from agentcomm.channels.bandwidth import lines, queue_up
from agentcomm.contracts.channel import Channel, ChannelConfig, ChannelEffect, ChannelInput
from agentcomm.contracts.shape import TeamShape

COLUMNS = ("seconds", "latency_ms", "loss", "mbit")  # the last may be missing
BYTES_PER_MBIT = 125_000
LARGEST = 16 * 2**20  # bytes of a file


class TraceConfig(ChannelConfig):
    """Arguments of ``trace``."""

    file: Annotated[str, InputPath()] = Field(description="CSV file with columns seconds,latency_ms,loss[,mbit]")
    queue: int = Field(65_536, ge=1, description="size of an uplink's queue in bytes, if the trace limits bandwidth")


class Trace(Channel[TraceConfig]):
    """Piecewise constant latency, loss and bandwidth.

    Raises:
        ConfigError: If the file cannot be used.
    """

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """A short trace with limited bandwidth."""
        return {"": {"file": str(Path(__file__).parent / "example_trace.csv")}}

    def __init__(self, config: TraceConfig, team_shape: TeamShape, slots: int) -> None:
        super().__init__(config, team_shape, slots)
        columns = torch.tensor(read(config.file), dtype=torch.float64, device=team_shape.device).T.contiguous()
        self._starts = columns[0] - columns[0, 0]
        self._length = self._starts[-1] + (self._starts[-1] - self._starts[-2] if len(self._starts) > 1 else 1.0)
        self._seconds, self._loss, *rate = columns[1] / 1000, columns[2], *columns[3:]
        self._rate = rate[0] * BYTES_PER_MBIT if rate else None

    def memory(self) -> dict[str, Tensor]:
        """``offset``: [B] float64 start of the episode in the trace, in seconds, valid once it has ``started``."""
        s = self.team_shape
        own = {
            "offset": torch.zeros(s.num_worlds, dtype=torch.float64, device=s.device),
            "started": torch.zeros(s.num_worlds, dtype=torch.bool, device=s.device),
        }
        return own if self._rate is None else own | lines(s)

    def carry(self, entering: ChannelInput, memory: dict[str, Tensor]) -> ChannelEffect:
        """Apply the current row of the trace in each world."""
        offset, started = memory["offset"], memory["started"]
        drawn = torch.rand(len(offset), generator=entering.generator, dtype=torch.float64, device=offset.device)
        offset.copy_(torch.where(started, offset, drawn * self._length))
        started.fill_(True)
        now = (offset + entering.step * entering.step_seconds) % self._length
        row = torch.searchsorted(self._starts, now, right=True) - 1
        lost = entering.present & (entering.rand() < self._loss[row].view(-1, 1, 1))
        seconds = self._seconds[row].float().view(-1, 1, 1) * entering.present
        if self._rate is None:
            return ChannelEffect(lost=lost, seconds=seconds)
        # Lost messages use the uplink, too.
        queued = queue_up(entering, memory, entering.sender, self._rate[row].unsqueeze(1), self.config.queue)
        assert queued.lost is not None
        assert queued.seconds is not None
        return ChannelEffect(lost=lost | queued.lost, seconds=seconds + queued.seconds)


def read(file: str) -> list[list[float]]:
    """Rows of a trace.

    Raises:
        ConfigError: If the file is missing or not a valid trace; names the line, the value and how to fix it.
    """
    try:
        text = read_text(find_input(file), f"trace {file}", LARGEST, error=ConfigError)
        reader = csv.reader(StringIO(text, newline=""))
        table = [(reader.line_num, cells) for cells in reader]
    except FileNotFoundError:
        raise ConfigError(f"trace {file}: there is no such file (looked for in {Path.cwd()})") from None
    except csv.Error as error:
        raise ConfigError(f"trace {file} cannot be read as CSV in UTF-8: {error}") from error
    header = [name.strip() for name in table[0][1]] if table else []
    if header not in (list(COLUMNS), list(COLUMNS[:-1])):
        raise ConfigError(f"trace {file}, line 1: {','.join(header)!r} must be seconds,latency_ms,loss[,mbit]")
    if len(table) == 1:
        raise ConfigError(f"trace {file} is empty; give at least one row below the header")
    rows: list[list[float]] = []
    for line, cells in table[1:]:
        row = _row(cells, header, f"trace {file}, line {line}")
        if rows and row[0] <= rows[-1][0]:
            raise ConfigError(
                f"trace {file}, line {line}: seconds {cells[0]!r} do not come after {rows[-1][0]:g}; "
                "sort the rows by time and leave out repeated ones"
            )
        rows.append(row)
    return rows


def _row(cells: list[str], header: list[str], where: str) -> list[float]:
    if len(cells) != len(header):
        raise ConfigError(
            f"{where}: {','.join(cells)!r} has {len(cells)} values; give {len(header)}: {','.join(header)}"
        )
    values = []
    for name, text in zip(header, cells, strict=True):
        try:
            value = float(text)
        except ValueError:
            raise ConfigError(f"{where}: {name} {text!r} is not a number") from None
        if not isfinite(value) or value < 0:
            raise ConfigError(f"{where}: {name} {text!r} must be a finite number of at least 0")
        if name == "loss" and value > 1:
            raise ConfigError(f"{where}: loss {text!r} must be a probability, at most 1")
        if name == "mbit" and value == 0:
            raise ConfigError(f"{where}: mbit '0' must be above 0; write loss 1 where nothing passes")
        values.append(value)
    return values
