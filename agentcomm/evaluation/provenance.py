"""Provenance of a cell: which code and which machine produced its row.

It is for readers. What decides whether a row is still valid is its identity (evaluation/identity.py).
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from agentcomm.base.source import hash_of, revision
from agentcomm.runs.config import RunConfig


def code(config: RunConfig) -> dict[str, Any]:
    """Commit of the source tree, whether it has uncommitted changes, and hash of the run's config."""
    commit, dirty = revision()
    return {"commit": commit, "dirty": dirty, "config": hash_of([config.model_dump_json().encode()])}


def machine(device: str) -> dict[str, Any]:
    """Threads, processor, cores, device and build of torch of this process.

    Args:
        device: Device of the cell, such as ``cuda:0``.
    """
    return {
        "threads": torch.get_num_threads(),
        "cpu": _cpu(),
        "cores": os.cpu_count() or 1,
        "device": device if device.startswith("cpu") else f"{device} ({torch.cuda.get_device_name(device)})",
        "torch": torch.__version__,
    }


@contextmanager
def one_thread() -> Iterator[None]:
    """Evaluate with one torch thread, as worker processes do: sums depend on the number of threads in their last bits.

    Cells are evaluated in parallel instead, so that their numbers are the same on machines with more or fewer cores.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@lru_cache(1)
def _cpu() -> str:
    """Name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
