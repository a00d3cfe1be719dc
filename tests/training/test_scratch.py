"""What killed processes leave in temporary folders is removed, and nothing else."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import ray
from filelock import FileLock
from small import small

from agentcomm.base.errors import RayError
from agentcomm.runs.folder import create
from agentcomm.training import scratch as module
from agentcomm.training.cluster import joined
from agentcomm.training.scratch import LOCK, YOUNG, remove_left, scratch

HOLDS = """
import sys, time
from pathlib import Path
from agentcomm.training.scratch import scratch
with scratch(Path(sys.argv[1]), "agentcomm-cells-") as folder:
    (folder / "run").mkdir()
    (folder / "run" / "config.yaml").touch()
    print(folder, flush=True)
    time.sleep(60)
"""


def aged(folder: Path, seconds: float = 2 * YOUNG) -> Path:
    """A folder whose process began some time ago."""
    folder.mkdir(exist_ok=True)
    (folder / LOCK).touch()
    os.utime(folder / LOCK, (time.time() - seconds,) * 2)
    return folder


def test_what_a_killed_process_leaves_is_removed_by_the_next(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLDS, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    folder = aged(Path(process.stdout.readline().strip()))
    remove_left(tmp_path)
    assert (folder / "run" / "config.yaml").exists(), "its process is alive"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with scratch(tmp_path, "agentcomm-team-") as own:
        assert list(tmp_path.iterdir()) == [own]
    assert not list(tmp_path.iterdir())


def test_a_command_on_a_cluster_begins_with_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(ray, "is_initialized", lambda: False)  # other tests may have one
    left = aged(tmp_path / "agentcomm-cells-a")
    with pytest.raises(RayError, match="no Ray cluster answers"), joined("127.0.0.1:1", tmp_path / "ray.log"):
        pass
    assert not left.exists()


def test_folders_of_others_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, elsewhere = tmp_path / "base", aged(tmp_path / "elsewhere")
    base.mkdir()
    left, alive, new = (aged(base / f"agentcomm-ray-{name}", age) for name, age in (("l", 99), ("a", 99), ("n", 0)))
    (base / "agentcomm-mine").mkdir()
    run = create(small(), base / "agentcomm-runs")
    with run.lock():
        pass
    run.path.rename(base / "agentcomm-run")
    shutil.rmtree(base / "agentcomm-runs")
    (base / "agentcomm-ray-link").symlink_to(elsewhere)
    (left / "link").symlink_to(elsewhere)
    aged(base / "another")
    with FileLock(alive / LOCK):
        remove_left(base)
        names = {path.name for path in base.iterdir()}
    assert names == {alive.name, new.name, "agentcomm-mine", "agentcomm-run", "agentcomm-ray-link", "another"}
    assert (elsewhere / LOCK).exists()
    monkeypatch.setattr(os, "getuid", lambda: -1)
    remove_left(base)
    assert alive.exists(), "another user's"


def test_a_removal_that_was_interrupted_is_finished_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when processes that are just ending still write."""
    (tmp_path / "agentcomm-ray-a" / "logs").mkdir(parents=True)
    left = aged(tmp_path / "agentcomm-ray-a")

    def fail(path: Path) -> None:
        raise OSError("Directory not empty")

    with monkeypatch.context() as busy:
        busy.setattr(shutil, "rmtree", fail)
        remove_left(tmp_path)
        assert (left / LOCK).exists()
    remove_left(tmp_path)
    assert not left.exists()

    tries: list[Path] = []
    rmtree = shutil.rmtree

    def late(path: Path) -> None:
        tries.append(path)
        fail(path) if len(tries) == 1 else rmtree(path)

    monkeypatch.setattr(module, "PAUSES", (0.0, 0.0))
    monkeypatch.setattr(shutil, "rmtree", late)
    with scratch(tmp_path, "agentcomm-ray-") as own:
        (own / "logs").mkdir()
    assert len(tries) == 2
    assert not own.exists()
