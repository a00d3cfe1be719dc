"""Optional packages: an error that says how to install what a protocol needs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from agentcomm.base.errors import PluginError

Extra = Literal["a2a", "mcp", "audit", "agentdojo", "inspect"]


@contextmanager
def needs(extra: Extra) -> Iterator[None]:
    """Imports in this block come from an extra.

    Its package logs refused requests with tracebacks, which Python prints unless somebody handles the log; from here
    on, they are seen only by programs that set up logging.

    Raises:
        PluginError: If a package is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise PluginError(
            f"{extra!r} needs the package {error.name!r}, which is not installed;"
            f" install it with: pip install 'agentcomm[{extra}]'"
        ) from error
    log = logging.getLogger(extra)
    if not log.handlers:
        log.addHandler(logging.NullHandler())
