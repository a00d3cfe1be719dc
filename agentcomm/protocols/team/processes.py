"""Starts the processes of a team's agents, and ends them."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from agentcomm.base import registry
from agentcomm.base.errors import ProtocolError
from agentcomm.base.text import exit_text

COMMAND = [sys.executable, "-c", "from agentcomm.protocols.team.nursery import main; main()"]


@dataclass(frozen=True)
class Contact:
    """Where an agent is served.

    Attributes:
        url: On the loopback interface.
        public: Its public key, 32 bytes.
    """

    url: str
    public: bytes


class AgentProcesses:
    """One process per agent, in a session of their own, so that Ctrl-C reaches this process only, which ends them.

    Args:
        run: Folder of the run.
        seed: Training seed of the team.
        agents: N.
        protocol: ``a2a`` or ``mcp``.
        environment: Public key of the environment, whose requests agents obey.
        patience: Seconds in which all agents have to be up, and that each waits for a message.
    """

    def __init__(self, run: Path, seed: int, agents: int, protocol: str, environment: bytes, patience: float) -> None:
        self._agents, self._patience = agents, patience
        self._team = {
            "run": str(run.absolute()),
            "seed": seed,
            "agents": agents,
            "protocol": protocol,
            "environment": environment.hex(),
            "patience": patience,
            "modules": registry.registered_modules(),
        }

    def __enter__(self) -> list[Contact]:
        """Start them.

        Raises:
            ProtocolError: If one does not start.
        """
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self._channel, write = os.pipe()
        self._said = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [*COMMAND, str(write)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._said,
            env=environment,
            start_new_session=True,
            pass_fds=(write,),
            text=True,
        )
        os.close(write)
        try:
            return self._contacts()
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End them."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        os.close(self._channel)
        self._said.close()

    def ended(self, seconds: float = 2.0) -> str:
        """Which agent's process has ended, and how; empty if none has said so within some seconds."""
        if not select.select([self._channel], [], [], seconds)[0]:
            return ""
        first = os.read(self._channel, 2**16).partition(b"\n")[0]
        return str(json.loads(first)["error"]) if first else self._why()

    def _contacts(self) -> list[Contact]:
        """Wait until every agent has said where it is."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it is gone already; its exit status says why
            self._process.stdin.write(json.dumps(self._team) + "\n")
            self._process.stdin.flush()
        found: dict[int, Contact] = {}
        rest, deadline = b"", time.monotonic() + self._patience
        while len(found) < self._agents:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._channel], [], [], left)[0]:
                raise ProtocolError(
                    f"agents did not start within {self._patience:g} s; {len(found)} of {self._agents} did; on a busy"
                    " machine, give more time with --timeout"
                )
            read = os.read(self._channel, 2**16)
            if not read:
                raise ProtocolError(self._why())
            *lines, rest = (rest + read).split(b"\n")
            for line in lines:
                said: dict[str, Any] = json.loads(line)
                if "error" in said:
                    raise ProtocolError(f"an agent did not start: {said['error']}")
                found[said["agent"]] = Contact(said["url"], bytes.fromhex(said["public"]))
        return [found[agent] for agent in range(self._agents)]

    def _why(self) -> str:
        """Why the processes have ended."""
        code = self._process.wait()
        self._said.seek(0)
        lines = [line for line in self._said.read().decode(errors="replace").splitlines() if line.strip()]
        return f"the agents' process {exit_text(code)}" + (f": {lines[-1].strip()[:200]}" if lines else "")
