"""Keeps the two agents of Ray's raylet from starting: metrics for a dashboard, and runtime environments.

Nothing in our sessions uses them, but they take a second of CPU time and 170 MB. A raylet does not start without the
commands of both, waits for files with their ports, and ends when one of them ends. So it gets processes that sleep as
long as it runs, and the files say that there are no ports, as Ray's own agent does in a minimal installation.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from ray import _raylet  # only after agentcomm.training.ray_session has set what Ray reads
from ray._private import ray_constants, services

COMMANDS = ("--dashboard_agent_command=", "--runtime_env_agent_command=")
PORTS = (
    "METRICS_AGENT_PORT_NAME",
    "METRICS_EXPORT_PORT_NAME",
    "DASHBOARD_AGENT_LISTEN_PORT_NAME",
    "RUNTIME_ENV_AGENT_PORT_NAME",
)
NONE = -1
SLEEP = "import os, time; parent = os.getppid()\nwhile os.getppid() == parent: time.sleep(1)"
SLEEPER = subprocess.list2cmdline([sys.executable, "-I", "-S", "-c", SLEEP])


@contextmanager
def without_agents() -> Iterator[None]:
    """Start Ray without the agents of its raylet during the block."""
    start = services.start_ray_process

    def start_lean(command: list[str], process_type: str, *arguments: Any, **options: Any) -> Any:
        if process_type == ray_constants.PROCESS_TYPE_RAYLET:
            _state_ports(command)
            command = [_replaced(word) for word in command]
        return start(command, process_type, *arguments, **options)

    with patch.object(services, "start_ray_process", start_lean):
        yield


def _replaced(word: str) -> str:
    return next((name + SLEEPER for name in COMMANDS if word.startswith(name)), word)


def _state_ports(command: list[str]) -> None:
    """Write the files for which the raylet waits."""
    given = dict(word.removeprefix("--").split("=", 1) for word in command if "=" in word)
    for name in PORTS:
        core: Any = _raylet
        core.persist_port(given["session_dir"], given["node_id"], getattr(core, name), NONE)
