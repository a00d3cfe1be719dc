"""A run's folder: the paths of its files, and a lock for writing."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import BaseModel

from agentcomm.base.documents import read_yaml
from agentcomm.base.errors import AgentcommError, CheckpointError, RunError, did_you_mean
from agentcomm.base.files import clean, make_folder, write_text
from agentcomm.base.inputs import Places, portable
from agentcomm.base.registry import Axis
from agentcomm.runs import policy_file
from agentcomm.runs.choices import Choice, modules_of
from agentcomm.runs.config import RunConfig, Variant, dump, load_run
from agentcomm.runs.record import KEY, Origin, entry, write_signed
from agentcomm.runs.settle import changed_paths, located, settled

# Fields that may change when a run is resumed: what has been trained stays what it is.
CHANGES = {"seeds", "control", "evaluation", "plugin_folders"}
TRAINING_CHANGES = {"env_steps", "threads", "checkpoint_every", "keep_checkpoints", "loggers"}
MOST_LISTED = 10  # runs named in an error


def team_name(variant: Variant, seed: int) -> str:
    """Folder of one trained team below ``teams/``."""
    return f"{variant}-{seed}"


def teams(config: RunConfig) -> list[tuple[Variant, int]]:
    """All teams of a run, in training order."""
    variants: tuple[Variant, ...] = ("team", "control") if config.control else ("team",)
    return [(variant, seed) for seed in config.seeds for variant in variants]


class Run:
    """``runs/<name>/`` with ``config.yaml``, ``teams/<variant>-<seed>/``, ``cells.jsonl`` and ``report.html``.

    Args:
        path: The folder.
        config: The run's config.
        origin: Where an existing run comes from.

    Attributes:
        config_before: The config in ``config.yaml``, which differs if the run is resumed with another one.
    """

    def __init__(self, path: Path, config: RunConfig, origin: Origin | None = None) -> None:
        self.path = path
        self.config = config
        self.origin = origin
        self._given: list[str] = []
        self.config_before = config
        self._locked_by: int | None = None  # thread that holds the lock

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

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

    def located(self) -> RunConfig:
        """The config with absolute paths."""
        return located(self.config, (self.path,) if self.origin is None else self.origin.folders)

    def places(self) -> Places:
        """Where paths of the run's config, and those that :meth:`adopt` got, are looked up."""
        return Places((self.path,)) if self.origin is None else self.origin.places(self._given)

    def adopt(self, axis: Axis, choice: Choice) -> Choice:
        """A choice that the user gave, with its paths as they are recorded in the run."""

        def adopted(path: str) -> str:
            self._given.append(portable(path, self.path))
            return self._given[-1]

        return changed_paths(axis, choice, adopted)

    def trained(self) -> list[tuple[Variant, int]]:
        """Teams whose policy has been exported, except those that are to be trained longer."""
        return [t for t in teams(self.config) if self.policy(*t).exists() and not self._is_behind(self.policy(*t))]

    def _is_behind(self, policy: Path) -> bool:
        """Whether an exported policy was trained for fewer env steps than the config says; a damaged one was not."""
        try:
            steps = policy_file.read_about(policy).env_steps
        except CheckpointError:
            return False  # whoever loads it reports the damage
        return steps is not None and steps < self.config.training.env_steps

    def write_config(self) -> None:
        """Write ``config.yaml`` if the run is new or was resumed with another config."""
        path = self.path / "config.yaml"
        if self.config_before != self.config or not (path.exists() and _has_results(self.path)):
            folders = self.located().plugin_folders
            modules = [*self.config.plugins, *modules_of(self.config.environment)]
            write_signed(path, dump(self.config, entry(self.path, modules, folders)))
            self.config_before = self.config

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the folder for writing; the thread that has locked it can do so again.

        Raises:
            RunError: If another process has locked it.
        """
        if self._locked_by == threading.get_ident():
            yield
            return
        lock, writer = FileLock(self.path / ".lock"), self.path / ".writer"
        try:
            lock.acquire(timeout=0)
        except Timeout:
            try:
                known = writer.read_text(encoding="utf-8")
            except OSError:  # it has just started or ended
                known = "unknown"
            raise RunError(f"another process ({known}) is writing to {self.path}; wait for it or stop it") from None
        try:
            self._locked_by = threading.get_ident()
            write_text(writer, f"process {os.getpid()}")
            clean(self.path)
            yield
        finally:
            self._locked_by = None
            writer.unlink(missing_ok=True)
            lock.release()


@contextmanager
def claim(config: RunConfig, root: Path, resume: bool = False, trust: bool = False) -> Iterator[Run]:
    """Lock the folder of a new run, or of an existing one with ``resume``.

    The config is written by :meth:`Run.write_config`, once nothing can refuse the run any more. Seeds, control,
    evaluation and some fields of training may differ from when the run was started. A folder in which training has not
    completed an iteration, as when something could not be built, is used again.

    Raises:
        RunError: If the folder exists and ``resume`` is not set, if it has another config, or if another process
            writes to it. Nothing in the folder has been changed then.
    """
    path = root / config.name
    run = Run(path, settled(config, path))
    _check_claim(run, resume, trust)
    make_folder(path)
    with run.lock():
        run.config_before = _check_claim(run, resume, trust)  # another process may have been faster
        if not _has_results(run.path):
            shutil.rmtree(run.path / "teams", ignore_errors=True)
        yield run


def _check_claim(run: Run, resume: bool, trust: bool) -> RunConfig:
    """Check that a run can be started or resumed; returns the config with which it was started or last resumed."""
    path, config = run.path, run.config
    if not (path / "config.yaml").exists() or not _has_results(path):
        return config
    if not resume:
        raise RunError(
            f"{path} already holds a run; resume it (--resume, in Python resume=True), give the new run"
            f" another name (name=...), or delete the folder"
        )
    opened = open_run(path, trust)
    existing, run.origin = opened.config, opened.origin
    differing = _differing(existing, config)
    differing += [f"training.{name}" for name in _differing(existing.training, config.training)]
    allowed = CHANGES | {"training"} | {f"training.{name}" for name in TRAINING_CHANGES}
    if fixed := [name for name in differing if name not in allowed]:
        raise RunError(
            f"{path} was started with another config (differs in {', '.join(fixed)}); resume with its own"
            f" config ({path / 'config.yaml'}), or give the new run another name (name=NAME; of a callable, --name)"
        )
    return existing


def _differing(one: BaseModel, other: BaseModel) -> list[str]:
    return [name for name in type(one).model_fields if getattr(one, name) != getattr(other, name)]


def create(config: RunConfig, root: Path, resume: bool = False, trust: bool = False) -> Run:
    """Create the folder of a new run, or open that of an existing one with ``resume``.

    Raises:
        RunError: See :func:`claim`.
    """
    with claim(config, root, resume, trust) as run:
        run.write_config()
    return run


def _has_results(path: Path) -> bool:
    """Whether a run's folder holds anything that training or evaluation has completed."""
    kinds = ("teams/*/progress.jsonl", "teams/*/checkpoints/*", "teams/*/policy", "cells.jsonl")
    return any(True for kind in kinds for _ in path.glob(kind))


def open_run(path: str | Path, trust: bool = False) -> Run:
    """An existing run's folder.

    Args:
        path: The folder.
        trust: Whether the user trusts the modules and paths in the run's config, whoever made it.

    Raises:
        RunError: If there is none, if another version of agentcomm wrote it, or if its config imports modules and
            neither this user made the run nor trusts it.
    """
    path = run_folder(path)
    return Run(path, *load_run(path / "config.yaml", trust))


def run_folder(path: str | Path) -> Path:
    """The folder of an existing run.

    Raises:
        RunError: If there is none.
    """
    path = Path(path)
    if not (path / "config.yaml").exists():
        raise RunError(_no_run(path))
    return path


def _no_run(path: Path) -> str:
    """Why a path is not the folder of a run, and what may be meant instead."""
    if path.is_file():
        return _not_a_folder(path)
    if inside := _runs_in(path):
        listed = ", ".join(inside[:MOST_LISTED]) + (", ..." if len(inside) > MOST_LISTED else "")
        return f"{path} holds the run{'s' * (len(inside) > 1)} {listed}; name one of them, such as {path / inside[0]}"
    if (Path("runs") / path / "config.yaml").exists():
        return f"no run at {path}; did you mean '{Path('runs') / path}'?"
    near = _runs_in(path.parent)
    return f"no run at {path}; {did_you_mean(path.name, near) if near else 'train one first: agentcomm train CONFIG'}"


def _not_a_folder(path: Path) -> str:
    """Which run is meant by a file."""
    try:
        data = read_yaml(path, str(path))
    except (OSError, AgentcommError):
        data = None
    name = data.get("name") if isinstance(data, dict) else None
    if not isinstance(name, str):
        return f"{path} is a file, not the folder of a run; that of the run NAME is runs/NAME"
    run = path.parent if path.name == "config.yaml" and KEY in data else Path("runs") / name
    if (run / "config.yaml").exists():
        return f"{path} is a config, not a run; its run is {run}"
    return f"{path} is a config, not a run; train it first (agentcomm train {path}), its run is then {run}"


def _runs_in(path: Path) -> list[str]:
    """Names of the runs in a folder."""
    return sorted(config.parent.name for config in path.glob("*/config.yaml")) if path.is_dir() else []
