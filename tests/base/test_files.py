"""Files are replaced or appended to as a whole."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

from agentcomm.base.documents import read_rows
from agentcomm.base.errors import FileError
from agentcomm.base.files import append_line, clean, make_folder, new_folder, write_text


@pytest.mark.parametrize("torn", ['{"a": 2, "torn', "{" + "x" * 200_000, '{"é": "'])
def test_a_torn_line_is_removed_by_the_next_writer(tmp_path: Path, torn: str) -> None:
    path = tmp_path / "rows.jsonl"
    append_line(path, {"a": 1})
    with path.open("ab") as file:
        file.write(torn.encode()[:-1])
    append_line(path, {"a": 3})
    assert path.read_text() == '{"a": 1}\n{"a": 3}\n'


def test_a_complete_last_line_without_its_end_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}')
    append_line(path, {"a": 3})
    assert read_rows(path, None, "it") == ([{"a": 1}, {"a": 3}], 0)


def test_a_full_disk_keeps_the_earlier_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.jsonl"
    append_line(path, {"a": 1})

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileError, match=r"rows\.jsonl: No space left on device; free space .* earlier lines are kept"):
        append_line(path, {"a": 2})
    with pytest.raises(FileError, match="the file there is unchanged"):
        write_text(path, "new")
    assert path.read_text() == '{"a": 1}\n'
    assert [p.name for p in tmp_path.iterdir()] == ["rows.jsonl"]


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(FileError, match=r"cannot write to .*file.*give another path"):
            make_folder(path)
    with pytest.raises(FileError, match="file/rows"):
        append_line(tmp_path / "file" / "rows", {})
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileError, match="a folder is in the way"):
        append_line(tmp_path / "folder", {})


def test_modes_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "text", "x")
        append_line(tmp_path / "rows", {})
        with new_folder(tmp_path / "folder"):
            pass
    finally:
        os.umask(before)
    assert [(tmp_path / n).stat().st_mode & 0o777 for n in ("text", "rows", "folder")] == [0o640, 0o640, 0o750]


def test_temporary_files_of_dead_processes_are_removed(tmp_path: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    (tmp_path / f".tmp-{gone.pid}-aa").write_text("x")
    (tmp_path / ".tmp-old").mkdir()
    (tmp_path / f".tmp-{os.getpid()}-aa").write_text("x")
    (tmp_path / "kept").write_text("x")
    clean(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [f".tmp-{os.getpid()}-aa", "kept"]


def test_nan_never_reaches_a_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        append_line(tmp_path / "rows.jsonl", {"a": float("nan")})
    assert not (tmp_path / "rows.jsonl").exists() or not (tmp_path / "rows.jsonl").read_text()


def test_a_folder_that_fails_to_fill_does_not_appear(tmp_path: Path) -> None:
    def fill() -> None:
        with new_folder(tmp_path / "it") as folder:
            (folder / "half").write_text("x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fill()
    assert list(tmp_path.iterdir()) == []


def test_text_and_folders_are_replaced(tmp_path: Path) -> None:
    for text in ("one", "two"):
        write_text(tmp_path / "file", text)
        with new_folder(tmp_path / "folder") as folder:
            (folder / text).write_text(text)
    assert (tmp_path / "file").read_text() == "two"
    assert [p.name for p in (tmp_path / "folder").iterdir()] == ["two"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]
