"""A process that steps the environments of some worlds for :mod:`agentcomm.pettingzoo.processes`.

Arrays are in memory that it shares with the process that started it, and calls come over a connection. It ends when
the connection does. It must not import torch, which takes a second.
"""

from __future__ import annotations

import mmap
import sys
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from agentcomm.base.errors import AgentcommError, HookError
from agentcomm.pettingzoo.shard import Arrays, Shard


def main() -> None:
    """Create environments, and answer calls until the connection ends."""
    channel, memory = Connection(int(sys.argv[1])), int(sys.argv[2])
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        shard = None
        try:
            recipe, count, what, first, worlds = channel.recv()
            shard = Shard(recipe.maker(), count, what, first)
            channel.send(("setup", "done", shard.team))
            _, shard.team = channel.recv()  # the memory has its size now
            shard.attach(Arrays(shard.team, worlds, mmap.mmap(memory, Arrays.size(shard.team, worlds))))
            channel.send(("setup", "done", None))
            _serve(channel, shard)
        except AgentcommError as error:
            channel.send(("setup", "error", type(error).__name__, str(error)))
        finally:
            if shard is not None:
                with suppress(HookError):  # told by the call of close, unless there was none
                    shard.close()


def _serve(channel: Connection, shard: Shard) -> None:
    """Answer calls of the shard's methods until one closes it."""
    name = ""
    while name != "close":
        name, *arguments = channel.recv()
        try:
            answer: tuple[Any, ...] = (name, "done", getattr(shard, name)(*arguments))
        except AgentcommError as error:
            answer = (name, "error", type(error).__name__, str(error))
        channel.send(answer)


if __name__ == "__main__":
    main()
