"""A training that is refused leaves no folder behind."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from agentcomm.base.errors import AgentcommError, HookError
from agentcomm.runs.folder import Run

EMPTY = {".lock", ".writer"}  # all that the folder of a new run holds


@contextmanager
def removed_if_refused(run: Run) -> Iterator[None]:
    """Remove the folder of a new run if an error ends the block before any team has written anything.

    It is kept if the error names something in it, such as Ray's log, or if the code of a plug-in raised: then its
    events say more. What was there before is kept, too.

    Args:
        run: The run, locked for writing.
    """
    new = set(os.listdir(run.path)) <= EMPTY
    try:
        yield
    except AgentcommError as error:
        wrote = any(path.is_file() for path in (run.path / "teams").rglob("*"))
        if new and not wrote and not isinstance(error, HookError) and str(run.path) not in str(error):
            shutil.rmtree(run.path, ignore_errors=True)
        raise
