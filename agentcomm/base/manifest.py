"""Folders that are whole or refused: a manifest with the size and SHA-256 of every file.

``manifest.json`` is written last. A folder with a missing, additional, empty or changed file, with a link or a folder
in it, or with a changed manifest does not match and is refused. The hashes find damage. They prove nothing about who
wrote the folder: its content must be harmless to read in any case.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentcomm.base.documents import read_bytes
from agentcomm.base.errors import CheckpointError
from agentcomm.base.values import parse_json
from agentcomm.base.versions import versions

MANIFEST = "manifest.json"
LIMIT = 2**16  # bytes of a manifest


@dataclass(frozen=True)
class FolderFormat:
    """What a folder with a manifest contains.

    Attributes:
        kind: What it is, in manifests and errors.
        number: Number of the format that this version of agentcomm writes and reads.
        files: Names of its files, without the manifest.
        remedy: What to do about a damaged one.
        is_old: Whether a folder without a manifest was written by an older version.
        old_remedy: What to do about such a folder.
    """

    kind: str
    number: int
    files: frozenset[str]
    remedy: str
    is_old: Callable[[Path], bool]
    old_remedy: str


def seal(folder: Path, spec: FolderFormat, **facts: Any) -> None:
    """Write the manifest of a complete folder, after flushing its files to disk.

    Args:
        folder: The folder; it contains exactly the files of the format.
        spec: The format.
        facts: Facts about the content, as JSON values.
    """
    files = {}
    for name in sorted(spec.files):
        with (folder / name).open("rb") as file:
            os.fsync(file.fileno())
            files[name] = {"bytes": os.fstat(file.fileno()).st_size, "sha256": _sha256(file)}
    body = {"kind": spec.kind, "format": spec.number, "agentcomm": versions()["agentcomm"], "files": files} | facts
    with (folder / MANIFEST).open("wb") as file:
        file.write(_text(body | {"sha256": _digest(body)}))
        file.flush()
        os.fsync(file.fileno())


def check(folder: Path, spec: FolderFormat) -> dict[str, Any]:
    """Check every file of a folder against its manifest.

    Returns:
        The manifest.

    Raises:
        CheckpointError: If anything is missing, additional or changed, or another version wrote the folder.
    """
    manifest = read(folder, spec)
    for name, entry in manifest["files"].items():
        path = folder / name
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if not size and entry["bytes"]:
                raise _damaged(spec, path, "is empty")
            if size != entry["bytes"]:
                raise _damaged(spec, path, f"has {size:,} bytes instead of {entry['bytes']:,}")
            if _sha256(file) != entry["sha256"]:
                raise _damaged(spec, path, "has been changed since it was written (its SHA-256 differs)")
    return manifest


def read(folder: Path, spec: FolderFormat) -> dict[str, Any]:
    """Read the manifest of a folder, and check it and the names of the files, but not their content.

    Raises:
        CheckpointError: If the manifest is missing or damaged, files are missing or additional, or another version
            wrote the folder.
    """
    if not folder.is_dir() or folder.is_symlink():
        raise CheckpointError(f"{spec.kind} {folder} is not a folder; {spec.remedy}")
    with os.scandir(folder) as entries:
        found = {entry.name: entry.stat(follow_symlinks=False).st_mode for entry in entries}
    if MANIFEST not in found:
        if spec.is_old(folder):
            raise CheckpointError(
                f"{spec.kind} {folder} was written by an older version of agentcomm, which this version does not read;"
                f" {spec.old_remedy}"
            )
        raise _damaged(spec, folder / MANIFEST, "is missing")
    for name, mode in found.items():  # links could lead outside the folder
        if not stat.S_ISREG(mode):
            raise _damaged(spec, folder / name, "is a link" if stat.S_ISLNK(mode) else "is not a regular file")
    what = f"{MANIFEST} of {spec.kind} {folder}"
    manifest = _parsed(read_bytes(folder / MANIFEST, what, LIMIT, folder, CheckpointError))
    if manifest is None:
        raise _damaged(spec, folder / MANIFEST, "is damaged")
    if (manifest["kind"], manifest["format"]) != (spec.kind, spec.number):
        raise CheckpointError(
            f"{folder} is a {manifest['kind']} of format {manifest['format']}, written by agentcomm"
            f" {manifest['agentcomm']}; needed is a {spec.kind} of format {spec.number}. Use that version"
        )
    if set(manifest["files"]) != spec.files:
        raise _damaged(spec, folder / MANIFEST, "is damaged")
    for name in sorted(spec.files - found.keys()):
        raise _damaged(spec, folder / name, "is missing")
    for name in sorted(found.keys() - spec.files - {MANIFEST}):
        raise _damaged(spec, folder / name, f"does not belong to a {spec.kind}")
    return manifest


def _parsed(text: bytes) -> dict[str, Any] | None:
    """The manifest in a text; None unless it is exactly as :func:`seal` writes it."""
    try:
        manifest = parse_json(text.decode())
        if type(manifest) is not dict or _text(manifest) != text:
            return None
        stated = manifest.pop("sha256", None)
        entries = manifest["files"].values()
        typed = all(type(manifest[k]) is t for k, t in (("kind", str), ("format", int), ("agentcomm", str)))
        typed &= all(type(e["bytes"]) is int and type(e["sha256"]) is str for e in entries)
        return manifest if typed and stated == _digest(manifest) else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _text(manifest: dict[str, Any]) -> bytes:
    return (json.dumps(manifest, indent=1, allow_nan=False) + "\n").encode()


def _digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(_text(body)).hexdigest()


def _sha256(file: Any) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()


def _damaged(spec: FolderFormat, path: Path, what: str) -> CheckpointError:
    return CheckpointError(f"{spec.kind} {path.parent} is damaged: {path.name} {what}; {spec.remedy}")
