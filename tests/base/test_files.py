"""Files are replaced or appended to as a whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentcomm.base.files import append_line, new_folder, read_jsonl, write_text


def test_a_line_after_a_torn_one_stands_alone(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    append_line(path, {"a": 1})
    with path.open("a") as file:
        file.write('{"a": 2, "torn')
    append_line(path, {"a": 3})
    rows, broken = read_jsonl(path)
    assert rows == [{"a": 1}, {"a": 3}]
    assert broken == 1


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
