"""Keeps the dashboard agent of Ray's raylet from starting: it gathers metrics for a dashboard that we do not start.

A raylet does not start without the agent's command, waits for files with its ports, and ends when it ends. So it gets a
process that sleeps as long as the raylet runs, and the files say that there are no ports, as the agent itself does in a
minimal installation of Ray. The raylet's other agent makes runtime environments, which Ray Tune uses; it stays.
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

COMMAND = "--dashboard_agent_command="
PORTS = ("METRICS_AGENT_PORT_NAME", "METRICS_EXPORT_PORT_NAME", "DASHBOARD_AGENT_LISTEN_PORT_NAME")
NONE = -1
SLEEP = "import os, time; parent = os.getppid()\nwhile os.getppid() == parent: time.sleep(1)"
SLEEPER = subprocess.list2cmdline([sys.executable, "-I", "-S", "-c", SLEEP])


@contextmanager
def without_dashboard_agent() -> Iterator[None]:
    """Start Ray without the dashboard agent of its raylet during the block."""
    start = services.start_ray_process

    def start_lean(command: list[str], process_type: str, *arguments: Any, **options: Any) -> Any:
        if process_type == ray_constants.PROCESS_TYPE_RAYLET:
            _state_ports(command)
            command = [COMMAND + SLEEPER if word.startswith(COMMAND) else word for word in command]
        return start(command, process_type, *arguments, **options)

    with patch.object(services, "start_ray_process", start_lean):
        yield


def _state_ports(command: list[str]) -> None:
    """Write the files for which the raylet waits."""
    given = dict(word.removeprefix("--").split("=", 1) for word in command if "=" in word)
    core: Any = _raylet
    for name in PORTS:
        core.persist_port(given["session_dir"], given["node_id"], getattr(core, name), NONE)
