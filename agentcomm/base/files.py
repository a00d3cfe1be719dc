"""Atomic file writes, and JSON Lines files; an error names the path and what was kept.

Temporary files are named ``.tmp-<process>-...``. What a killed process left behind, the next writer removes.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from agentcomm.base.errors import FileError
from agentcomm.base.text import clip, reason
from agentcomm.base.values import parse_json

ADVICE = {
    errno.EACCES: "change its permissions, or use a folder of your own",
    errno.EPERM: "change its permissions, or use a folder of your own",
    errno.EROFS: "the disk is read-only; use another folder",
    errno.ENOSPC: "free space on the disk and repeat the command",
    errno.EDQUOT: "free space in your quota and repeat the command",
    errno.ENOTDIR: "a part of the path is a file, not a folder; give another path",
    errno.EEXIST: "a file is in the way; give another path",
    errno.EISDIR: "a folder is in the way; give another path",
}


@contextmanager
def writing(path: Path, kept: str = "") -> Iterator[None]:
    """Turn errors of the file system into errors that name the path, how to go on, and what was kept.

    Args:
        path: What is written, unless the error names a file itself.
        kept: What is not lost, as the last words of the message.

    Raises:
        FileError: If the block raises OSError.
    """
    try:
        yield
    except OSError as failed:
        named = failed.filename if isinstance(failed.filename, str) else ""
        where = path if not named or "/.tmp-" in named else named
        parts = [f"cannot write to {clip(str(where))}: {reason(failed)}", ADVICE.get(failed.errno or 0, ""), kept]
        raise FileError("; ".join(part for part in parts if part)) from failed


def make_folder(path: Path) -> None:
    """Create a folder, and those it is in.

    Raises:
        FileError: If that is not possible.
    """
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)


def write_text(path: Path, text: str) -> None:
    """Replace a file's content in one step, see :func:`write_bytes`.

    Raises:
        FileError: If it cannot be written; an older file is unchanged then.
    """
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file's content in one step: readers see the old or the new content, never a part.

    Raises:
        FileError: If it cannot be written; an older file is unchanged then.
    """
    temporary = _temporary(path)
    with writing(path, "the file there is unchanged" if path.is_file() else ""):
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            with suppress(OSError):
                temporary.unlink()


def append_line(path: Path, row: dict[str, Any]) -> None:
    """Append one JSON line; removes the rest of a line that a killed process did not finish.

    Raises:
        FileError: If it cannot be written; the earlier lines are unchanged then.
    """
    text = json.dumps(row, allow_nan=False) + "\n"
    with writing(path, "its earlier lines are kept"):
        end = mend(path)
        with path.open("ab") as file:
            try:
                file.write(text.encode())
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                with suppress(OSError):
                    os.truncate(path, end)
                raise


def mend(path: Path) -> int:
    """Remove an unfinished last line of a JSON Lines file; returns the file's size."""
    with suppress(FileNotFoundError), path.open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        tail, window = b"", 2**16
        while b"\n" not in tail and len(tail) < size:
            file.seek(max(size - window, 0))
            tail, window = file.read(), window * 4
        line = tail[tail.rfind(b"\n") + 1 :]
        if not line:
            return size
        try:
            parse_json(line.decode())
        except ValueError:
            return file.truncate(size - len(line))
        return size + file.write(b"\n")  # only the line's end was missing
    return 0


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Fill a temporary folder that is moved to ``path`` once everything in it is written.

    Raises:
        FileError: If it cannot be written; an older folder is unchanged then.
    """
    make_folder(path.parent)
    temporary, old = _temporary(path), _temporary(path)
    with writing(path, "the folder there is unchanged" if path.is_dir() else ""):
        try:
            temporary.mkdir()
            yield temporary
            if path.exists():
                os.replace(path, old)
            os.replace(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)


def clean(folder: Path) -> None:
    """Remove temporary files and folders of processes that are gone."""
    for stray in folder.glob(".tmp-*"):
        owner = re.match(r"\.tmp-(\d+)-", stray.name)
        if owner is not None and _runs(int(owner[1])):
            continue
        if stray.is_dir() and not stray.is_symlink():
            shutil.rmtree(stray, ignore_errors=True)
        else:
            with suppress(OSError):
                stray.unlink()


def _temporary(path: Path) -> Path:
    return path.with_name(f".tmp-{os.getpid()}-{secrets.token_hex(4)}")


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # of another user
        return True
    return True
