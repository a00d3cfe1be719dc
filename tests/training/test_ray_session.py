"""Ray starts quietly, closed to the network, and leaves nothing behind; or it says why it does not start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

import psutil
import pytest
import ray

from agentcomm.base.errors import RayError
from agentcomm.training import ray_session as module
from agentcomm.training.ray_session import RAY_VERSION, ray_session

STRANGER = """
import sys
from ray._raylet import GcsClient
GcsClient(address=sys.argv[1]).internal_kv_keys(b"", b"fun")
print("got in")
"""


@pytest.mark.ray
def test_ray_that_does_not_start_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard error is the screen's again, too, and the environment is as before."""

    def fail(**_: object) -> None:
        raise Exception("The current node timed out during startup.\nLong story")

    monkeypatch.setattr(ray, "init", fail)
    before, variables = os.fstat(2), dict(os.environ)
    says = r"did not start \(The current node timed out during startup.\).*--resume"
    with pytest.raises(RayError, match=says), ray_session(tmp_path / "ray.log"):
        pass
    assert os.fstat(2).st_ino == before.st_ino
    assert dict(os.environ) == variables


def test_another_version_of_ray_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pinned = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    assert f"ray[rllib]=={RAY_VERSION}" in pinned
    monkeypatch.setattr(ray, "__version__", "2.61.0")
    with pytest.raises(RayError, match=r"Ray 2\.61\.0 is installed.*pip install"), ray_session(tmp_path / "ray.log"):
        pass


def test_sockets_fit_into_a_short_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("x" * 90)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    with module._folder() as folder:
        assert len(os.fsencode(folder)) + len("/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store") < 103
    assert not folder.exists()
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != "/tmp")
    with pytest.raises(RayError, match=r"at most 24 bytes.*set RAY_TMPDIR"), module._folder():
        pass


@pytest.mark.ray
def test_our_ray_is_closed_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process without the token is refused; all sockets listen on the loopback interface only."""
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")  # a cluster that is not asked for
    variables, handler = dict(os.environ), signal.getsignal(signal.SIGTERM)
    with ray_session(tmp_path / "ray.log"):
        assert signal.getsignal(signal.SIGTERM) == handler
        folder = Path(ray._private.worker._global_node.get_temp_dir_path())
        started = psutil.Process().children(recursive=True)
        names = " ".join(" ".join(process.cmdline()) for process in started)
        assert "gcs_server" in names
        assert len([p for p in started if p.cmdline()[-1].startswith("import os, time; parent")]) == 1
        assert not any(name in names for name in ("dashboard.py", "monitor.py", "dashboard/agent.py", "DashboardAgent"))
        listening = [c for p in [psutil.Process(), *started] for c in p.net_connections("inet") if c.status == "LISTEN"]
        assert listening
        assert {c.laddr.ip.removeprefix("::ffff:") for c in listening} == {"127.0.0.1"}
        address = ray.get_runtime_context().gcs_address
        without = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        refused = subprocess.Popen(
            [sys.executable, "-c", STRANGER, address],
            env=without | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "guessed" * 8},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            assert refused.stdout is not None
            assert "InvalidAuthToken" in refused.stdout.readline()
        finally:
            refused.kill()
            refused.communicate()
    assert not folder.exists()
    assert not ray.is_initialized()
    ours = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER")
    assert all(os.environ.get(name) == variables.get(name) for name in ours)
    until = time.monotonic() + 30
    while any(process.is_running() and process.status() != "zombie" for process in started):
        assert time.monotonic() < until, [p for p in started if p.is_running()]
        time.sleep(0.2)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_running")
def test_a_ray_that_is_already_running_needs_enough_cpus(tmp_path: Path) -> None:
    says = r"has 4 CPUs, but training\.runners=99 needs 99; set training\.runners=4"
    with pytest.raises(RayError, match=says), ray_session(tmp_path / "ray.log", runners=99):
        pass
    with ray_session(tmp_path / "ray.log", runners=3):
        pass
    assert ray.is_initialized()
