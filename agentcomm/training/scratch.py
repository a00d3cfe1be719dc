"""Temporary folders that go with their process. What a killed process leaves, the next command removes.

Each has a file that its process keeps locked, so a folder whose lock is free has no owner any more. No Ray in here.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

OURS = "agentcomm-"  # how the names of all of them begin
LOCK = ".scratch-lock"  # not the .lock of a run's folder, which may have such a name and lie there
YOUNG = 10.0  # seconds within which a process may not have locked its new folder yet
PAUSES = (0.0, 0.1, 0.3, 1.0)  # seconds: processes that are just ending still write


@contextmanager
def scratch(base: Path, prefix: str) -> Iterator[Path]:
    """A new temporary folder that is removed in the end. Those that killed processes left are removed first.

    Args:
        base: Where it is made.
        prefix: How its name begins: with :data:`OURS`.
    """
    remove_left(base)
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=base))
        stack.callback(_remove, folder, PAUSES)
        stack.enter_context(FileLock(folder / LOCK))
        yield folder


def remove_left(base: Path) -> None:
    """Remove folders that this user's killed processes left in another one."""
    for folder in base.glob(f"{OURS}*"):
        lock = folder / LOCK
        with suppress(OSError, Timeout):
            if folder.is_symlink() or folder.stat().st_uid != os.getuid() or lock.is_symlink():
                continue
            if time.time() - lock.stat().st_mtime < YOUNG:
                continue
            with FileLock(lock, timeout=0):
                _remove(folder)


def _remove(folder: Path, pauses: tuple[float, ...] = (0.0,)) -> None:
    """Remove a folder, its lock last: as long as anything is left, a later command sees that it has no owner."""
    for pause in pauses:
        time.sleep(pause)
        with suppress(OSError):
            for path in folder.iterdir():
                if path.name != LOCK:
                    _remove_entry(path)
            (folder / LOCK).unlink(missing_ok=True)
            try:
                folder.rmdir()
            except OSError:  # something was written at the last moment
                (folder / LOCK).touch()
                raise
            return


def _remove_entry(path: Path) -> None:
    """Remove a folder or a file; of a link, the link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
