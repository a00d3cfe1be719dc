"""Folders that cannot be written and full disks are explained, and nothing that was there is lost."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from damage import write_run
from small import small

from agentcomm import api
from agentcomm.base.errors import AgentcommError, FileError

NOBODY = 65534
AGAIN = small(control=False, evaluation={"episodes": 4, "recordings": 1, "attacks": [{"name": "drop"}]})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run; the commands have imported what may not be found without root's rights."""
    folder = tmp_path_factory.mktemp("whole")
    run = write_run(folder).path
    api.train(AGAIN, root=folder, resume=True)
    api.report(run, folder / "page.html")
    return run


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can enter."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


@contextmanager
def without_rights() -> Iterator[None]:
    """As another user, if this one is root, to whom nothing is forbidden."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_run_that_can_only_be_read(whole: Path, open_folder: Path) -> None:
    run = Path(shutil.copytree(whole, open_folder / "small"))
    other = open_folder / "mine"
    other.mkdir()
    other.chmod(0o777)
    for path in (run, *run.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    try:
        with without_rights():
            for command in (api.evaluate, lambda run: api.train(AGAIN, root=run.parent, resume=True)):
                with pytest.raises(FileError, match=r"cannot write to .*small.*: Permission denied; .*of your own"):
                    command(run)
            with pytest.raises(FileError, match=r"report\.html: Permission denied.*--output FILE"):
                api.report(run)
            assert api.report(run, other / "page.html").is_file()
            assert api.messages(run)
        assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    finally:
        for path in (run, *run.rglob("*")):
            path.chmod(0o755)


def test_a_run_that_cannot_even_be_read(whole: Path, open_folder: Path) -> None:
    run = Path(shutil.copytree(whole, open_folder / "small"))
    for name, command in (("cells.jsonl", api.report), ("config.yaml", api.evaluate)):
        (run / name).chmod(0)
        with without_rights(), pytest.raises(AgentcommError, match=f"{name} cannot be read: Permission denied"):
            command(run)


def test_a_file_where_the_folder_of_runs_should_be(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(FileError, match=r"cannot write to .*runs/small: Not a directory; .*give another path"):
        api.train(small(), root=tmp_path / "runs")


def test_a_full_disk_keeps_what_was_evaluated(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Path(shutil.copytree(whole, tmp_path / "small"))
    before = (run / "cells.jsonl").read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileError, match="No space left on device; free space"):
        api.evaluate(run, ["noise"])
    with pytest.raises(FileError, match="No space left on device; free space"):
        api.report(run)
    assert (run / "cells.jsonl").read_bytes() == before
    assert not list(run.rglob(".tmp-*"))


def test_what_a_killed_process_left_is_removed(whole: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(whole, tmp_path / "small"))
    before = (run / "cells.jsonl").read_text()
    (run / ".tmp-half").write_text("x")
    for name in ("cells.jsonl", "events.jsonl"):
        with (run / name).open("a") as file:
            file.write('{"id": "torn')
    api.evaluate(run, ["noise"])
    assert not list(run.glob(".tmp-*"))
    after = (run / "cells.jsonl").read_text()
    assert after.startswith(before)
    assert after.endswith("}\n")
    assert '"torn' not in after + (run / "events.jsonl").read_text()
