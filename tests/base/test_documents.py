"""Whatever stands in the place of a file, reading it gives its content or an error that names it."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from pydantic import BaseModel

from agentcomm.base import documents
from agentcomm.base.documents import read_array, read_json, read_rows, read_yaml
from agentcomm.base.errors import ConfigError, FileError


class Row(BaseModel):
    seed: int


def test_a_file_that_fits_is_read(tmp_path: Path) -> None:
    path = tmp_path / "it"
    path.write_text('\ufeff{"seed": 1, "more": [0.5]}', encoding="utf-8")
    assert read_json(path, Row, "it", tmp_path) == {"seed": 1, "more": [0.5]}
    path.write_text("a: 1e3")
    assert read_yaml(path, "it") == {"a": 1000.0}


@pytest.mark.parametrize("text", ["", "null", "[]", '"x"', "3", "{", '{"seed": "1"}', '{"seed": null}', "{}", "\0"])
def test_a_file_that_does_not_fit_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "it"
    path.write_text(text)
    with pytest.raises(ConfigError, match="the thing"):
        read_json(path, Row, "the thing", error=ConfigError)


def test_rows_that_do_not_fit_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    lines = [
        b'{"seed": 1}',
        b"",
        b"null",
        b'{"seed": "x"}',
        b"[" * 10_000,
        b"\xff",
        b'{"seed": 2, "x": NaN}',
        b'{"seed": 3',
    ]
    path.write_bytes(b"\n".join([*lines, b'{"seed": 4}']))
    assert read_rows(path, Row, "it") == ([{"seed": 1}, {"seed": 4}], 6)
    assert read_rows(tmp_path / "none", Row, "it") == ([], 0)


def test_other_things_in_the_place_of_a_file_are_rejected(tmp_path: Path) -> None:
    folder, pipe, loop, binary = (tmp_path / name for name in ("folder", "pipe", "loop", "binary"))
    folder.mkdir()
    os.mkfifo(pipe)
    loop.symlink_to(loop)
    binary.write_bytes(b"ok\n\x80\x81")
    for path in (folder, pipe, loop, binary, Path("/dev/zero")):
        with pytest.raises(FileError, match="it"):
            read_yaml(path, "it")
    with pytest.raises(FileError, match="line 2: not UTF-8"):
        read_yaml(binary, "it")


def test_links_may_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (tmp_path / "secret").write_text("{}")
    (run / "own").write_text("{}")
    (run / "inside").symlink_to("own")
    (run / "outside").symlink_to("../secret")
    (tmp_path / "other").symlink_to(run)
    assert read_json(tmp_path / "other" / "inside", None, "it", tmp_path / "other") == {}
    with pytest.raises(FileError, match="leads out of"):
        read_json(run / "outside", None, "it", run)


def test_size_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "LARGEST_JSON", 100)
    (tmp_path / "it").write_text(" " * 101)
    with pytest.raises(FileError, match="more than 100 bytes"):
        read_json(tmp_path / "it", None, "it")


def test_arrays_are_read_without_objects_and_within_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "it.npz"
    np.savez(path, a=np.arange(6).reshape(2, 3))
    assert read_array(path, "a", "it").tolist() == [[0, 1, 2], [3, 4, 5]]
    with pytest.raises(FileError, match="it is damaged"):
        read_array(path, "b", "it")
    np.savez(path, a=np.array([{}], object))
    with pytest.raises(FileError, match="it is damaged"):
        read_array(path, "a", "it")
    giant = io.BytesIO()
    np.lib.format.write_array_header_1_0(giant, {"descr": "<f4", "fortran_order": False, "shape": (10**15,)})
    for content in (giant.getvalue(), b"", pickle.dumps({}), b"\x93NUMPY\x01\x00\xff\xff"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.npy", content)
        with pytest.raises(FileError, match="it is damaged"):
            read_array(path, "a", "it")
    monkeypatch.setattr(documents, "LARGEST_ARRAY", 10_000)
    np.savez_compressed(path, a=np.zeros(10**5))
    with pytest.raises(FileError, match="it is too large"):
        read_array(path, "a", "it")
