"""A local Ray session: closed to the network, without console output, and gone without a trace when it ends."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

# Set before Ray is imported: no usage reports, no detection of accelerators.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray
import ray.rllib  # its loggers must exist before they are diverted
from ray._private import ray_constants, services
from ray._private.node import Node
from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

from agentcomm.base.errors import RayError
from agentcomm.training.ray_agent import without_dashboard_agent
from agentcomm.training.scratch import OURS, scratch

RAY_VERSION = "2.60.0"  # that of pyproject.toml; env runners and sessions use parts that change between versions
PREFIX = f"{OURS}ray-"
# A socket's path may have 107 bytes (macOS: 103); Ray appends "/session_<time>_<pid>/sockets/plasma_store".
LONGEST_FOLDER = 24
TAIL = 10_000  # bytes of each of Ray's logs that are kept after an error


@contextmanager
def ray_session(log: Path, runners: int = 0, teams: int = 0) -> Iterator[None]:
    """Start Ray for the duration of the block. A Ray that is already running is used and left running.

    Our own Ray listens on the loopback interface only, and asks for a random token that only its processes know.
    It starts no dashboard and no dashboard agent (:mod:`agentcomm.training.ray_agent`), autoscaler or log monitor. All
    files are in a temporary folder that is removed.

    Args:
        log: File for Ray's own output, none of which reaches the screen.
        runners: Number of remote env runners of each team.
        teams: Number of teams that are trained at the same time, in processes of their own; 0 for one in this process.

    Raises:
        RayError: If Ray does not start, as on an overloaded machine; if the installed version is another one; or if
            a Ray that is already running has too few CPUs.
    """
    if ray.__version__ != RAY_VERSION:
        raise RayError(
            f"Ray {ray.__version__} is installed, but training needs {RAY_VERSION};"
            f" install it with: pip install 'ray[rllib]=={RAY_VERSION}'"
        )
    if ray.is_initialized():
        _check_joined(runners, teams)
        yield
        return
    with diverted(log), _folder() as folder, _environment():
        before = signal.getsignal(signal.SIGTERM)
        try:
            _start(folder, (runners + 1) * max(teams, 1), log)
            _handle_sigterm(before)
            yield
        except BaseException:
            _keep_logs(folder, log)
            raise
        finally:
            ray.shutdown()
            _handle_sigterm(before)


def _start(folder: Path, cpus: int, log: Path) -> None:
    # Ray has no arguments for these. A signal to our process group, as from `timeout`, must not end Ray before us.
    lean = partial(ray._private.parameter.RayParams, no_monitor=True, include_log_monitor=False)
    apart = partial(services.ConsolePopen, process_group=0 if sys.platform == "linux" else None)
    try:
        with (
            patch.object(ray._private.parameter, "RayParams", lean),
            patch.object(Node, "start_api_server", lambda self, **_: None),
            patch.object(services, "ConsolePopen", apart),
            without_dashboard_agent(),
        ):
            ray.init(
                address="local",
                num_cpus=cpus,
                num_gpus=0,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="ERROR",
                object_store_memory=256 * 2**20,
                _node_ip_address="127.0.0.1",
                _temp_dir=str(folder),
            )
    except Exception as error:  # Ray raises bare Exceptions here
        why = str(error).strip().partition("\n")[0]
        raise RayError(
            f"Ray did not start ({why}); is the machine very busy? Try again with --resume. Details: {log}"
        ) from error


def _check_joined(runners: int, teams: int) -> None:
    """Runners that find no CPU would be waited for without end; of teams in processes, one at a time must find some."""
    needed, found = runners + bool(teams), ray.cluster_resources().get("CPU", 0)
    if found < needed:
        fitting = max(int(found) - bool(teams), 0)
        raise RayError(
            f"the Ray that is already running has {found:g} CPUs, but training.runners={runners} needs {needed};"
            f" set training.runners={fitting}, start Ray with more CPUs, or call ray.shutdown() first"
        )


@contextmanager
def _environment() -> Iterator[None]:
    """Settings of our Ray, which its processes inherit; it is closed to other users and machines."""
    own = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0",  # 127.0.0.1 in place of the network's address
        "RAY_worker_niceness": "0",  # with Ray's 15, runners hardly start on a busy machine
    }
    before = {name: os.environ.get(name) for name in own}
    os.environ.update(own)
    try:
        with patch.object(ray_constants, "ENABLE_RAY_CLUSTER", False):
            _read_environment()
            yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        _read_environment()


def _read_environment() -> None:
    """Ray's core keeps the environment's values from when it was imported, and the first token that it has used."""
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


def _handle_sigterm(handler: Any) -> None:
    """Replace Ray's handler of SIGTERM, which ends the process without a checkpoint."""
    with suppress(ValueError):  # only the main thread can handle signals
        signal.signal(signal.SIGTERM, handler)


@contextmanager
def _folder() -> Iterator[Path]:
    """A new temporary folder with a path that is short enough for sockets. Folders of killed processes are removed.

    Raises:
        RayError: If there is none.
    """
    candidates = [Path(name) for name in (os.environ.get("RAY_TMPDIR"), tempfile.gettempdir(), "/tmp") if name]
    fitting = [c for c in candidates if len(os.fsencode(c)) <= LONGEST_FOLDER and os.access(c, os.W_OK | os.X_OK)]
    if not fitting:
        raise RayError(
            f"Ray needs a writable temporary folder with a path of at most {LONGEST_FOLDER} bytes for its sockets, but"
            f" there are only {', '.join(map(str, dict.fromkeys(candidates)))}; set RAY_TMPDIR to a short one"
        )
    with scratch(fitting[0], PREFIX) as folder:
        yield folder


def _keep_logs(folder: Path, log: Path) -> None:
    """Append the ends of the logs of Ray's processes to our own log."""
    with suppress(OSError), log.open("ab") as kept:
        for path in sorted(folder.glob("session_2*/logs/*")):
            if path.suffix in (".err", ".out") and path.stat().st_size:
                kept.write(f"\n--- {path.name}\n".encode() + path.read_bytes()[-TAIL:])


def _report(data: dict[str, Any], **_: Any) -> None:
    """In place of Ray's own function, which prints to standard output."""
    logging.getLogger("ray").error("\n".join(data["lines"]))


@contextmanager
def diverted(log: Path) -> Iterator[None]:
    """Redirect the standard error of C++ code, Ray's loggers, and what its processes report, to a file.

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
            with patch.object(ray._private.worker, "print_to_stdstream", _report):
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
