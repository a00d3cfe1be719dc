"""A run's folder: where everything lies, and which process may write into it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from agentcomm.base.errors import RunError, did_you_mean
from agentcomm.base.files import write_text
from agentcomm.runs.config import RunConfig, Variant, dump, load

# What may differ when a run is resumed: no team that is trained already depends on these.
GROWS = {"seeds", "control", "evaluation"}


def team_name(variant: Variant, seed: int) -> str:
    """Folder of one trained team below ``teams/``."""
    return f"{variant}-{seed}"


def teams(config: RunConfig) -> list[tuple[Variant, int]]:
    """All teams of a run, in the order they are trained."""
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
        """The page."""
        return self.path / "report.html"

    def team(self, variant: Variant, seed: int) -> Path:
        """Folder of one team."""
        return self.path / "teams" / team_name(variant, seed)

    def policy(self, variant: Variant, seed: int) -> Path:
        """Folder of a team's exported policy; it exists once the team is trained."""
        return self.team(variant, seed) / "policy"

    def trained(self) -> list[tuple[Variant, int]]:
        """Teams whose policy is there."""
        return [t for t in teams(self.config) if (self.policy(*t) / "policy.json").exists()]

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for writing.

        Raises:
            RunError: If another process holds it.
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
    """The folder for a config: a new one, or with ``resume`` the one that is there.

    A resumed run may have other seeds, and another evaluation, than when it was started.

    Raises:
        RunError: If the folder exists and ``resume`` is not set, or holds another config.
    """
    path = root / config.name
    if (path / "config.yaml").exists():
        if not resume:
            raise RunError(
                f"{path} already holds a run; resume it (--resume, in Python resume=True), give the new one"
                f" another name (name=...), or delete that folder"
            )
        existing = open_run(path)
        differing = [f for f in RunConfig.model_fields if getattr(existing.config, f) != getattr(config, f)]
        if fixed := [field for field in differing if field not in GROWS]:
            raise RunError(
                f"{path} was started with another config (differs in {', '.join(fixed)}); resume with the"
                f" config it has ({path / 'config.yaml'}), or give the new one another name (name=...)"
            )
        if differing:
            write_text(path / "config.yaml", dump(config))
        return Run(path, config)
    path.mkdir(parents=True, exist_ok=True)
    write_text(path / "config.yaml", dump(config))
    return Run(path, config)


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
