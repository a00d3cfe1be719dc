"""Commands in processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-c", "from agentcomm.cli.main import main; main()"]
ENVIRONMENT = os.environ | {"COLUMNS": "160", "OMP_NUM_THREADS": "1"}


def agentcomm(*words: object, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a command, which ends with that exit code and warns of nothing."""
    done = subprocess.run(
        [*COMMAND, *map(str, words)], cwd=cwd, capture_output=True, text=True, timeout=200, env=ENVIRONMENT
    )
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    assert "WARNING" not in done.stderr + done.stdout
    return done


def rows(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def start(*words: str, cwd: Path, progress: Path, iterations: int) -> subprocess.Popen[str]:
    """Train in the background; returns once so many iterations are in ``progress``."""
    process = subprocess.Popen(
        [*COMMAND, *words],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=ENVIRONMENT,
    )
    until = time.monotonic() + 120
    while not (progress.exists() and len(progress.read_text().splitlines()) >= iterations):
        assert process.poll() is None, process.communicate()
        if time.monotonic() > until:
            os.killpg(process.pid, signal.SIGKILL)
            pytest.fail(f"no {iterations} iterations of {progress} in time: {process.communicate()}")
        time.sleep(0.005)
    return process
