"""A local Ray session without console output, which is always shut down."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Set before Ray is imported: no usage reports, no token file in the home folder, no detection of accelerators.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray
import ray.rllib  # its loggers must exist before they are diverted

from agentcomm.base.errors import RayError


@contextmanager
def ray_session(log: Path, runners: int = 0) -> Iterator[None]:
    """Start Ray for the duration of the block. A Ray that is already running is used and left running.

    Args:
        log: File for Ray's own output, none of which reaches the screen.
        runners: Number of remote env runners.

    Raises:
        RayError: If Ray does not start, as on an overloaded machine.
    """
    if ray.is_initialized():
        yield
        return
    with _diverted(log):
        try:
            ray.init(
                address="local",
                num_cpus=runners + 1,
                num_gpus=0,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="ERROR",
                object_store_memory=256 * 2**20,
            )
        except Exception as error:  # Ray raises bare Exceptions here
            ray.shutdown()
            why = str(error).strip().partition("\n")[0]
            raise RayError(
                f"Ray did not start ({why}); is the machine very busy? Try again with --resume. Details: {log}"
            ) from error
        try:
            yield
        finally:
            ray.shutdown()


@contextmanager
def _diverted(log: Path) -> Iterator[None]:
    """Redirect the standard error of C++ code, and Ray's loggers, to a file.

    Ray's core prints to file descriptor 2, regardless of Python's logging; Python's own standard error
    stays on the screen.
    """
    handler = logging.FileHandler(log)
    names = ["ray", *(name for name in logging.root.manager.loggerDict if name.startswith("ray."))]
    loggers = [logging.getLogger(name) for name in names]
    before = [(logger, logger.handlers, logger.propagate) for logger in loggers]
    python_stderr = sys.stderr
    screen = os.dup(2)
    with log.open("ab", buffering=0) as file:
        ours = sys.stderr = os.fdopen(os.dup(screen), "w", buffering=1)
        os.dup2(file.fileno(), 2)
        for logger in loggers:
            logger.handlers, logger.propagate = ([handler], False) if logger.name == "ray" else ([], True)
        try:
            yield
        finally:
            handler.close()
            for logger, handlers, propagate in before:
                logger.handlers, logger.propagate = handlers, propagate
            os.dup2(screen, 2)
            os.close(screen)
            if sys.stderr is ours:
                sys.stderr = python_stderr
            ours.close()
