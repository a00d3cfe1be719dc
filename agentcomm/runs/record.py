"""The part of a run's ``config.yaml`` that agentcomm writes: the format, where the run was made, and hashes of modules.

A run of somebody else may name modules to import and files to read. They are used only with the user's consent; runs
that this user made are known by a signature (:mod:`agentcomm.base.trust`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from agentcomm.base import trust
from agentcomm.base.documents import LARGEST_YAML, read_bytes
from agentcomm.base.errors import AgentcommError, RunError
from agentcomm.base.files import write_text
from agentcomm.base.inputs import Places
from agentcomm.base.modules import find_module, module_hash
from agentcomm.base.text import clip, shorten
from agentcomm.base.versions import FORMAT, versions

KEY = "written"
SIGNATURE = ".signature"


class Record(BaseModel):
    """The entry ``written`` of a run's config.

    Attributes:
        format: Format of the run's files.
        agentcomm: Version that made the run.
        folder: Absolute path of the run's folder when it was made.
        modules: Hashes of the modules in ``plugins``, and of those that the environment imports.
    """

    format: int
    agentcomm: str
    folder: str
    modules: dict[str, str] = {}


@dataclass(frozen=True)
class Origin:
    """Where a run's config comes from.

    Attributes:
        record: Its record.
        folder: The run's present folder.
        own: Whether this user made the run, or trusts it.
    """

    record: Record
    folder: Path
    own: bool

    @property
    def folders(self) -> tuple[Path, ...]:
        """Folders from which relative paths are looked up."""
        made = Path(self.record.folder)
        return (self.folder, made) if self.own else (self.folder,)

    def places(self, given: Sequence[str] = ()) -> Places:
        """Where the run's input files are looked up, besides those that the user gave."""
        return Places(self.folders, None if self.own else self.folder, frozenset(given))


def take(data: Any, path: Path) -> Record | None:
    """Remove the record from the content of a config file; None if the file is not the config of a run.

    Raises:
        RunError: If another version of agentcomm wrote the run.
    """
    if not isinstance(data, dict) or KEY not in data:
        return None
    found = data.pop(KEY)
    check_format(found.get("format") if isinstance(found, dict) else None, path)
    try:
        return Record.model_validate(found, strict=True)
    except ValidationError:
        raise RunError(f"{path}: the entry {KEY!r} is damaged: {shorten(found)}; restore the file") from None


def check_format(found: Any, path: Path) -> None:
    """Check the number of a file's format.

    Raises:
        RunError: If it is not the one of this version.
    """
    if found == FORMAT:
        return
    age = "a newer" if isinstance(found, int) and found > FORMAT else "an older"
    raise RunError(
        f"{path} was written by {age} version of agentcomm (format {shorten(found or 1)}; this version reads {FORMAT}):"
        f" use that version (pip install agentcomm==...), or train the run again under another name"
    )


def entry(folder: Path, modules: Sequence[str], plugin_folders: Sequence[str]) -> dict[str, Any]:
    """The record of a run in a folder, as an entry of its config."""
    files = {name: find_module(name, plugin_folders) for name in modules}
    made = Record(
        format=FORMAT,
        agentcomm=versions()["agentcomm"],
        folder=str(folder.absolute()),
        modules={name: module_hash(name, file) for name, file in files.items() if file is not None},
    )
    return {KEY: made.model_dump(mode="json")}


def write_signed(path: Path, text: str) -> None:
    """Write a run's config, and the signature that makes it this user's own.

    Raises:
        FileError: If it cannot be written.
    """
    write_text(path, text)
    if signed := trust.signature(text.encode()):
        write_text(path.with_name(SIGNATURE), signed + "\n")


def is_own(path: Path) -> bool:
    """Whether this user wrote the config of a run."""
    try:
        content = read_bytes(path, str(path), LARGEST_YAML)
        return trust.is_own(content, read_bytes(path.with_name(SIGNATURE), SIGNATURE, 1000).decode("ascii"))
    except (OSError, AgentcommError, UnicodeDecodeError):
        return False


def consent(record: Record, path: Path, modules: Sequence[str], folders: Sequence[str], trusted: bool) -> bool:
    """Whether a run is this user's own or trusted, before any of its modules is imported.

    Args:
        record: The run's record.
        path: Its ``config.yaml``.
        modules: The modules in its ``plugins``.
        folders: Its ``plugin_folders``.
        trusted: Whether the user says so now (``--trust``), which is remembered for this config and these modules.

    Raises:
        RunError: If it has modules to import and the user has not consented.
    """
    files = {name: find_module(name, folders) for name in modules}
    hashes = {name: "" if file is None else module_hash(name, file) for name, file in files.items()}
    # A module inside of the run travels with it, so that somebody else may have changed it.
    inside = [
        name
        for name, file in files.items()
        if file is not None and file.resolve().is_relative_to(path.parent.resolve())
    ]
    own = is_own(path) and all(record.modules.get(name) == hashes[name] for name in inside)
    described = json.dumps([read_bytes(path, str(path), LARGEST_YAML).decode("utf-8", "replace"), hashes]).encode()
    if trusted:
        trust.remember_consent(described)
    if own or trusted or trust.has_consent(described):
        return True
    if modules:
        listed = "".join(
            f"\n  {clip(name)}: {'not found' if file is None else file} (sha256 {hashes[name][:16] or '-'})"
            for name, file in files.items()
        )
        raise RunError(
            f"the run in {path.parent} was made by somebody else, or changed since, and its config imports modules,"
            f" which can do anything on this machine:{listed}\nRead them, and then repeat the command with --trust"
            f" (in Python trust=True)"
        )
    return False
