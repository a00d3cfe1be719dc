"""A folder with a manifest is whole or refused: whatever is done to it, the file is named."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from agentcomm.base import manifest
from agentcomm.base.errors import CheckpointError
from agentcomm.base.manifest import MANIFEST, FolderFormat

PAIR = FolderFormat("pair", 3, frozenset({"a.json", "b.bin"}), "make it again", lambda _: False, "make a new one")


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    folder = tmp_path / "pair"
    folder.mkdir()
    (folder / "a.json").write_text('{"x": 1}')
    (folder / "b.bin").write_bytes(bytes(range(40)))
    manifest.seal(folder, PAIR, count=2)
    return folder


def outside(path: Path) -> None:
    """Replace a file by a link to a copy of it."""
    copy = path.parent.parent / "copy"
    shutil.move(path, copy)
    path.symlink_to(copy)


def as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def as_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\n"),
    "a link": outside,
    "a folder": as_folder,
    "a pipe": as_pipe,
}


def test_a_whole_folder_is_accepted(pair: Path) -> None:
    found = manifest.check(pair, PAIR)
    assert (found["count"], found["kind"], found["format"]) == (2, "pair", 3)


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
@pytest.mark.parametrize("name", ["a.json", "b.bin", MANIFEST])
def test_a_damaged_file_is_named(pair: Path, name: str, damage: Callable[[Path], object]) -> None:
    damage(pair / name)
    with pytest.raises(CheckpointError, match=rf"{name}.*make it again"):
        manifest.check(pair, PAIR)


@pytest.mark.parametrize("name", ["a.json", "b.bin", MANIFEST])
def test_every_flipped_bit_is_found(pair: Path, name: str) -> None:
    whole = (pair / name).read_bytes()
    for place in range(len(whole)):
        for bit in range(8):
            changed = bytearray(whole)
            changed[place] ^= 1 << bit
            (pair / name).write_bytes(changed)
            with pytest.raises(CheckpointError, match=name):
                manifest.check(pair, PAIR)


@pytest.mark.parametrize("name", ["c.bin", ".hidden"])
def test_additional_files_are_refused(pair: Path, name: str) -> None:
    (pair / name).write_bytes(b"x")
    with pytest.raises(CheckpointError, match=f"{name} does not belong to a pair"):
        manifest.check(pair, PAIR)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "sub/b.bin", "", "b.bin/../b.bin", "b\x00.bin"])
def test_a_manifest_cannot_lead_outside(pair: Path, name: str) -> None:
    """Even one with a valid checksum."""
    (pair.parent / "secret").write_bytes(bytes(range(40)))
    forged = json.loads((pair / MANIFEST).read_text())
    forged["files"] = {name: forged["files"]["b.bin"]}
    del forged["sha256"]
    (pair / MANIFEST).write_bytes(manifest._text(forged | {"sha256": manifest._digest(forged)}))
    with pytest.raises(CheckpointError, match=r"manifest\.json is damaged"):
        manifest.check(pair, PAIR)


def test_other_kinds_and_formats_are_named(pair: Path) -> None:
    for other in (replace(PAIR, kind="box"), replace(PAIR, number=4)):
        with pytest.raises(CheckpointError, match=r"is a pair of format 3, written by agentcomm \d.*needed is a"):
            manifest.check(pair, other)
    (pair / MANIFEST).unlink()
    old = replace(PAIR, is_old=lambda folder: (folder / "a.json").exists())
    with pytest.raises(CheckpointError, match=r"older version of agentcomm.*make a new one"):
        manifest.check(pair, old)


def test_a_missing_folder_and_a_link_to_one_are_refused(pair: Path) -> None:
    with pytest.raises(CheckpointError, match="is not a folder"):
        manifest.check(pair.parent / "nowhere", PAIR)
    (pair.parent / "link").symlink_to(pair)
    with pytest.raises(CheckpointError, match="is not a folder"):
        manifest.check(pair.parent / "link", PAIR)
