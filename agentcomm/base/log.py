"""Structured events: one JSON line each, in the run's ``events.jsonl``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import structlog


def event_log(path: Path) -> Any:
    """A structlog logger that appends to a file and flushes every line."""
    return structlog.wrap_logger(
        structlog.WriteLogger(path.open("a", encoding="utf-8", buffering=1)),
        processors=[
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.dict_tracebacks,
            structlog.processors.JSONRenderer(default=str),
        ],
    )
