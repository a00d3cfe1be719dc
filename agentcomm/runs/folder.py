"""A run's folder: the paths of its files, and a lock for writing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from agentcomm.base.errors import RunError, did_you_mean
from agentcomm.base.files import write_text
from agentcomm.runs.config import RunConfig, Variant, dump, load

# Fields that may change when a run is resumed, because trained teams do not depend on them.
GROWS = {"seeds", "control", "evaluation"}


def team_name(variant: Variant, seed: int) -> str:
    """Folder of one trained team below ``teams/``."""
    return f"{variant}-{seed}"


def teams(config: RunConfig) -> list[tuple[Variant, int]]:
    """All teams of a run, in training order."""
    variants: tuple[Variant, ...] = ("team", "control") if config.control else ("team",)
    return [(variant, seed) for seed in config.seeds for variant in variants]


class Run:
    """``runs/<name>/`` with ``config.yaml``, ``teams/<variant>-<seed>/``, ``cells.jsonl`` and ``report.html``."""

    def __init__(self, path: Path, config: RunConfig) -> None:
        self.path = path
        self.config = config

    @property
    def cells(self) -> Path:
        """One JSON line per evaluated cell."""
        return self.path / "cells.jsonl"

    @property
    def events(self) -> Path:
        """Structured events."""
        return self.path / "events.jsonl"

    @property
    def report(self) -> Path:
        """The report."""
        return self.path / "report.html"

    def team(self, variant: Variant, seed: int) -> Path:
        """Folder of one team."""
        return self.path / "teams" / team_name(variant, seed)

    def policy(self, variant: Variant, seed: int) -> Path:
        """Folder of a team's exported policy; it exists once the team is trained."""
        return self.team(variant, seed) / "policy"

    def trained(self) -> list[tuple[Variant, int]]:
        """Teams whose policy has been exported."""
        return [t for t in teams(self.config) if (self.policy(*t) / "policy.json").exists()]

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the folder for writing.

        Raises:
            RunError: If another process has locked it.
        """
        lock, writer = FileLock(self.path / ".lock"), self.path / ".writer"
        try:
            lock.acquire(timeout=0)
        except Timeout:
            known = writer.read_text(encoding="utf-8") if writer.exists() else "unknown"
            raise RunError(f"another process ({known}) is writing to {self.path}; wait for it or stop it") from None
        try:
            write_text(writer, f"process {os.getpid()}")
            yield
        finally:
            lock.release()


def create(config: RunConfig, root: Path, resume: bool = False) -> Run:
    """Create the folder for a config, or open the existing one with ``resume``.

    Seeds, control and evaluation of a resumed run may differ from when it was started. A folder in which training has
    not completed an iteration, as when something could not be built, is used again.

    Raises:
        RunError: If the folder holds a run and ``resume`` is not set, if it has another config, or if another process
            has locked it.
    """
    path = root / config.name
    if (path / "config.yaml").exists() and _has_results(path):
        if not resume:
            raise RunError(
                f"{path} already holds a run; resume it (--resume, in Python resume=True), give the new run"
                f" another name (name=...), or delete the folder"
            )
        existing = open_run(path)
        differing = [f for f in RunConfig.model_fields if getattr(existing.config, f) != getattr(config, f)]
        if fixed := [field for field in differing if field not in GROWS]:
            raise RunError(
                f"{path} was started with another config (differs in {', '.join(fixed)}); resume with its own"
                f" config ({path / 'config.yaml'}), or give the new run another name (name=...)"
            )
        if differing:
            write_text(path / "config.yaml", dump(config))
        return Run(path, config)
    path.mkdir(parents=True, exist_ok=True)
    run = Run(path, config)
    with run.lock():
        if not _has_results(path):
            shutil.rmtree(path / "teams", ignore_errors=True)
        write_text(path / "config.yaml", dump(config))
    return run


def _has_results(path: Path) -> bool:
    """Whether a run's folder holds anything that training or evaluation has completed."""
    kinds = ("teams/*/progress.jsonl", "teams/*/checkpoints/*", "teams/*/policy", "cells.jsonl")
    return any(True for kind in kinds for _ in path.glob(kind))


def open_run(path: str | Path) -> Run:
    """An existing run's folder.

    Raises:
        RunError: If there is none.
    """
    path = Path(path)
    if not (path / "config.yaml").exists():
        if (Path("runs") / path / "config.yaml").exists():
            raise RunError(f"no run at {path}; did you mean '{Path('runs') / path}'?")
        near = sorted(p.parent.name for p in path.parent.glob("*/config.yaml")) if path.parent.is_dir() else []
        raise RunError(f"no run at {path}; {did_you_mean(path.name, near)}")
    return Run(path, load(path / "config.yaml"))
