"""Third-party environments in several processes, with their numbers in memory that all of them share.

Each process steps the environments of some consecutive worlds. It is a new Python process in a session of its own, so
that Ctrl-C reaches only the one that started it, and it ends when that one does, even after kill -9. The shared memory
is a file without a name: it is gone when the last process that uses it is.
"""

from __future__ import annotations

import mmap
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from multiprocessing import Pipe
from typing import Any

import numpy as np

from agentcomm.base import errors
from agentcomm.base.errors import AgentcommError, ConfigError, HookError
from agentcomm.base.text import exit_text
from agentcomm.pettingzoo.kinds import Recipe
from agentcomm.pettingzoo.shard import Arrays

COMMAND = [sys.executable, "-m", "agentcomm.pettingzoo.worker"]
PATIENCE = 5.0  # seconds that a process has for closing its environments


class _Process:
    """One process, its connection and its worlds."""

    def __init__(self, worlds: range, memory: int) -> None:
        self.worlds = worlds
        self.channel, theirs = Pipe()
        path = os.pathsep.join(path for path in sys.path if path)
        environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}  # processes are the parallelism
        self.popen = subprocess.Popen(
            [*COMMAND, str(theirs.fileno()), str(memory)],
            stdin=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
            pass_fds=(theirs.fileno(), memory),
        )
        theirs.close()

    def send(self, *call: Any) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # :meth:`receive` says why it is gone
            self.channel.send(call)

    def receive(self) -> tuple[Any, ...] | None:
        """Its next answer; None if it has ended."""
        try:
            answer: tuple[Any, ...] = self.channel.recv()
        except (EOFError, ConnectionResetError):
            return None
        return answer

    def kill(self) -> None:
        """Kill the process and those that it started."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()
        self.channel.close()


class Processes:
    """Environments of B worlds in several processes; has the methods of :class:`agentcomm.pettingzoo.shard.Shard`.

    Args:
        recipe: What creates an environment.
        worlds: B.
        processes: Number of processes.
        what: The environment, for messages.

    Attributes:
        team: What the environments have in common.
        arrays: What goes into the environments and what comes out.

    Raises:
        ConfigError: If the environments are not supported or cannot be created in another process.
        HookError: If their code raises an error, or a process ends.
    """

    def __init__(self, recipe: Recipe, worlds: int, processes: int, what: str) -> None:
        self._what = what
        try:
            pickle.dumps(recipe)
        except Exception as error:
            raise ConfigError(f"{what}: with processes={processes}, arguments must be plain values: {error}") from None
        memory = _anonymous_file()
        self._processes: list[_Process] = []
        self._kill = weakref.finalize(self, _kill, self._processes, os.getpid())
        try:
            ends = np.linspace(0, worlds, min(processes, worlds) + 1).round().astype(int).tolist()
            for first, end in pairwise(ends):
                self._processes.append(_Process(range(first, end), memory))
            for process in self._processes:
                process.send(recipe, len(process.worlds), what, process.worlds.start, worlds)
            self.team, *others = self._answers("its constructor")
            if any(other.shape != self.team.shape for other in others):
                raise HookError(f"{what}: its copies have different agents or spaces")
            os.ftruncate(memory, Arrays.size(self.team, worlds))
            self.arrays = Arrays(self.team, worlds, mmap.mmap(memory, Arrays.size(self.team, worlds)))
            self._all("its constructor", "attach", self.team)
        except BaseException:
            self._kill()
            raise
        finally:
            os.close(memory)

    def reset(self, seeds: Mapping[int, int], options: Mapping[str, Any] | None) -> None:
        """Start episodes in some worlds, each with its seed."""
        called = []
        for process in self._processes:
            if mine := {world: seed for world, seed in seeds.items() if world in process.worlds}:
                process.send("reset", mine, options)
                called.append(process)
        self._answers("reset", called)

    def step(self, steps: Sequence[int]) -> None:
        """Step every environment whose episode is running, with the actions in the arrays."""
        self._all("step", "step", list(steps))

    def render(self, world: int, links: Any) -> Any:
        """The rendering of a world in its own render mode; links are drawn if it has a ``show`` method."""
        process = next(process for process in self._processes if world in process.worlds)
        process.send("render", world, links)
        return self._answers("the rendering", [process])[0]

    def close(self) -> None:
        """Close all environments and end the processes; kills those that take too long. Can be called again.

        Raises:
            HookError: If closing an environment failed.
        """
        last = []
        for process in self._processes:
            process.send("close")
        for process in self._processes:
            answer: tuple[Any, ...] | None = None
            with suppress(OSError):
                while process.channel.poll(PATIENCE):  # answers of interrupted calls come first
                    if (received := process.receive()) is None:
                        break
                    answer = received
            last.append(answer)
        self._kill()
        self._processes.clear()
        for answer in last:
            if answer is not None and answer[:2] == ("close", "error"):
                raise HookError(answer[3])

    def _all(self, where: str, *call: Any) -> list[Any]:
        """Call a method in all processes."""
        for process in self._processes:
            process.send(*call)
        return self._answers(where)

    def _answers(self, where: str, called: Sequence[_Process] | None = None) -> list[Any]:
        """The answers of processes, when all have answered.

        Raises:
            AgentcommError: The error in the first of those worlds in which there was one.
        """
        found, failed = [], list[AgentcommError]()
        for process in self._processes if called is None else called:
            answer = process.receive()
            if answer is None:
                worlds = f"worlds {process.worlds.start} to {process.worlds.stop - 1}"
                ended = exit_text(process.popen.wait())
                failed.append(HookError(f"{self._what}: the process of {worlds} {ended} in {where}"))
            elif answer[1] == "error":
                failed.append(getattr(errors, answer[2], HookError)(answer[3]))
            else:
                found.append(answer[2])
        if failed:
            raise failed[0]
        return found


def _anonymous_file() -> int:
    """A file in memory, or else a temporary one, that no folder lists."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("agentcomm")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _kill(processes: Sequence[_Process], owner: int) -> None:
    for process in processes if os.getpid() == owner else ():  # not in a fork of the owner
        process.kill()
