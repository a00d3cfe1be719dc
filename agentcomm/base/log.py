"""Structured events: one JSON line each, in the run's ``events.jsonl``; and warnings, on stderr."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import structlog

from agentcomm.base.files import mend, writing

_warned: set[str] = set()


def warn_once(texts: Iterable[str]) -> None:
    """Log warnings, which Python prints on stderr unless told otherwise; each of them once per process."""
    for text in dict.fromkeys(texts):
        if text not in _warned:
            _warned.add(text)
            logging.getLogger("agentcomm").warning("%s", text)


def event_log(path: Path) -> Any:
    """A structlog logger that appends to a file and flushes every line.

    Raises:
        FileError: If the file cannot be written.
    """
    with writing(path):
        mend(path)
        file = path.open("a", encoding="utf-8", buffering=1)
    return structlog.wrap_logger(
        structlog.WriteLogger(file),
        processors=[
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.dict_tracebacks,
            structlog.processors.JSONRenderer(default=str),
        ],
    )
