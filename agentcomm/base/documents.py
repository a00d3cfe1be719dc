"""The one door through which files are read: bounded in size and depth, checked by a schema; errors name the line.

Files may come from anybody. Reading one runs no code, never leaves the folder that it is meant to be in, and needs
bounded memory and time; whatever is wrong with a file becomes an :class:`agentcomm.base.errors.AgentcommError`.
"""

from __future__ import annotations

import codecs
import io
import os
import stat
import zipfile
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from agentcomm.base.errors import AgentcommError, FileError
from agentcomm.base.explain import explain
from agentcomm.base.text import reason, shorten
from agentcomm.base.values import parse_json, parse_yaml

LARGEST_YAML = 256 * 2**10  # bytes; the parser reads about 200 KB per second
LARGEST_JSON = 64 * 2**20  # bytes of a file
LARGEST_ARRAY = 64 * 2**20  # bytes of an array

Error = type[AgentcommError]


def read_bytes(path: Path, what: str, limit: int, within: Path | None = None, error: Error = FileError) -> bytes:
    """The content of a regular file.

    Args:
        path: The file.
        what: What it is, for errors; such as ``config examples/demo.yaml``.
        limit: Largest size in bytes.
        within: Folder that the file must be in once links are followed; None for anywhere.
        error: Class of the errors.

    Raises:
        FileNotFoundError: If there is no such file; callers know best what to advise.
        AgentcommError: If it is no regular file, too large, outside ``within``, or cannot be read.
    """
    try:
        if within is not None and not path.resolve().is_relative_to(within.resolve()):
            raise error(f"{what} is a link that leads out of {within} (to {path.resolve()}); put the file itself there")
        if not stat.S_ISREG(path.stat().st_mode):
            kind = "a folder, not a file" if path.is_dir() else "not a regular file"
            raise error(f"{what} cannot be read: it is {kind}")
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            content = file.read(limit + 1)
    except FileNotFoundError:
        raise
    except (OSError, RuntimeError, ValueError) as failed:  # a loop of links, a name with NUL
        raise error(f"{what} cannot be read: {reason(failed)}") from None
    if len(content) > limit:
        raise error(f"{what} is too large: more than {limit:,} bytes")
    return content


def read_text(path: Path, what: str, limit: int, within: Path | None = None, error: Error = FileError) -> str:
    """The text of a UTF-8 file; see :func:`read_bytes`."""
    content = read_bytes(path, what, limit, within, error)
    try:
        return content.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as failed:
        line = content.count(b"\n", 0, failed.start) + 1
        raise error(f"{what}, line {line}: not UTF-8 text; is it another kind of file?") from None


def read_json(
    path: Path, model: type[BaseModel] | None, what: str, within: Path | None = None, error: Error = FileError
) -> dict[str, Any]:
    """The object in a JSON file, checked by ``model`` without changing it.

    Raises:
        FileNotFoundError: If there is no such file.
        AgentcommError: If it cannot be read, or does not fit the model.
    """
    text = read_text(path, what, LARGEST_JSON, within, error)
    try:
        return _checked(parse_json(text), model)
    except ValidationError as failed:
        raise error(explain(failed, what, model or BaseModel)) from None
    except ValueError as failed:
        raise error(f"{what} is damaged: {failed}") from None


def read_rows(
    path: Path,
    model: type[BaseModel] | None,
    what: str,
    within: Path | None = None,
    error: Error = FileError,
    growing: bool = False,
) -> tuple[list[dict[str, Any]], int]:
    """The objects of a file with one JSON object per line.

    A run that was killed may leave a truncated last line: lines that are no JSON object or do not fit ``model`` are
    skipped and counted.

    Args:
        path: The file.
        model: Schema of a line; None for any object.
        what: What it is, for errors.
        within: Folder that the file must be in once links are followed; None for anywhere.
        error: Class of the errors.
        growing: Whether another process may be writing the last line: a part of a line is then not counted.

    Returns:
        The objects, and the number of skipped lines; nothing if there is no such file.

    Raises:
        AgentcommError: If the file cannot be read.
    """
    try:
        content = read_bytes(path, what, LARGEST_JSON, within, error)
    except FileNotFoundError:
        return [], 0
    rows: list[dict[str, Any]] = []
    broken = 0
    lines = content.split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            rows.append(_checked(parse_json(line.decode("utf-8")), model))
        except ValueError:
            broken += not (growing and number == len(lines))
    return rows, broken


def read_yaml(path: Path, what: str, within: Path | None = None, error: Error = FileError) -> Any:
    """The value in a YAML file; see :func:`parse_yaml`.

    Raises:
        FileNotFoundError: If there is no such file.
        AgentcommError: If it cannot be read.
    """
    return parse_yaml(read_text(path, what, LARGEST_YAML, within, error), what, error)


def read_array(path: Path, name: str, what: str, error: Error = FileError) -> Any:
    """An array of an ``.npz`` file; arrays of Python objects are rejected.

    Raises:
        FileNotFoundError: If there is no such file.
        AgentcommError: If it cannot be read.
    """
    import numpy as np  # not before it is needed

    content = read_bytes(path, what, LARGEST_ARRAY, error=error)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive, archive.open(f"{name}.npy") as member:
            unpacked = member.read(LARGEST_ARRAY + 1)
        if len(unpacked) > LARGEST_ARRAY:
            raise error(f"{what} is too large: array {name!r} has more than {LARGEST_ARRAY:,} bytes")
        return np.lib.format.read_array(io.BytesIO(unpacked), allow_pickle=False)
    except AgentcommError:
        raise
    except Exception as failed:  # zipfile, zlib and NumPy raise a dozen kinds for damaged files
        raise error(f"{what} is damaged: {reason(failed)}") from None


def _checked(value: Any, model: type[BaseModel] | None) -> dict[str, Any]:
    """The object itself, if it is one and fits the model; raises ValueError, of which ValidationError is a kind."""
    if not isinstance(value, dict):
        raise ValueError(f"it must contain an object, not {shorten(value)}")
    if model is not None:
        model.model_validate(value, strict=True)
    return value
