"""The function ``grid`` of the Python API: trains the teams of a grid that are missing, and evaluates all its cells."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from agentcomm import api
from agentcomm.base.errors import ConfigError, RunError, together
from agentcomm.base.text import shorten
from agentcomm.evaluators import check_jobs
from agentcomm.runs.assembly import check_training
from agentcomm.runs.conditions import ConditionsConfig
from agentcomm.runs.config import RunConfig
from agentcomm.runs.folder import Run, open_run
from agentcomm.runs.grid_config import GridConfig, load_grid, parse_grid


def grid(
    file: str | Path | GridConfig | Mapping[str, Any],
    root: str | Path = "runs",
    jobs: int = 1,
    address: str | None = None,
    resume: bool = False,
    retry_failed: bool = False,
    trust: bool = False,
    progress: bool | None = None,
    watch: Callable[[Any, float, int], None] | None = None,
    adaptive: bool = False,
) -> dict[Path, list[dict[str, Any]]]:
    """Evaluate a grid: environment x policy x attack x defense x budget x conditions x seed.

    Everything is checked before anything runs; a plug-in of another distribution that fails its quick conformance check
    only marks its cells as failed. Cells go to the ``cells.jsonl`` of their run, so that evaluate, report
    and rerun work on it. Finished cells are not evaluated again.

    Args:
        file: A YAML file, nested dicts, or a validated config.
        root: Folder that contains the run folders; teams that the grid trains go to ``root/<grid>/``.
        jobs: As for :func:`agentcomm.evaluate`, and for :func:`agentcomm.train` of the teams that the grid trains.
        address: Likewise.
        resume: Whether to resume the training of teams.
        retry_failed: As for :func:`agentcomm.evaluate`.
        trust: As for :func:`agentcomm.evaluate`.
        progress: As for :func:`agentcomm.evaluate`.
        watch: As for :func:`agentcomm.evaluate`.
        adaptive: As for :func:`agentcomm.evaluate`, besides the grid's own field.

    Returns:
        The rows of each run, by its folder.

    Raises:
        AgentcommError: If anything in the grid is wrong.
        agentcomm.training.trainer.Stopped: After Ctrl-C or SIGTERM in training.
    """
    config = _config(file)
    folder = Path(root) / config.name
    to_train = list(config.to_train())
    runs: list[Run] = []
    together(
        lambda: check_jobs(jobs, address=address),
        *(partial(_check, one, config) for one in to_train),
        *(partial(_open, runs, path, config, trust) for path in config.runs),
        *(partial(_check_new, folder / one.name, resume) for one in to_train),
    )
    train = partial(api.train, root=folder, resume=resume, trust=trust, progress=progress, jobs=jobs, address=address)
    runs += [_changed(train(one), config) for one in to_train]
    evaluate = partial(
        api.evaluate,
        attacks=config.budgeted(),
        defenses=config.defenses,
        watch=watch,
        trust=trust,
        progress=progress,
        jobs=jobs,
        address=address,
        retry_failed=retry_failed,
        adaptive=adaptive or config.adaptive,
        keep_going=True,
    )
    return {run.path: evaluate(run, conditions=_conditions(config)) for run in runs}


def _config(file: Any) -> GridConfig:
    if isinstance(file, GridConfig):
        return file
    if isinstance(file, Mapping):
        return parse_grid(dict(file))
    if isinstance(file, str | os.PathLike):
        return load_grid(Path(file))
    raise ConfigError(f"a grid is the path of a YAML file, or a dict, not {shorten(file)}")


def _conditions(config: GridConfig) -> dict[str, Any]:
    return {name: getattr(config.conditions, name) for name in ConditionsConfig.model_fields}


def _planned(config: RunConfig, grid: GridConfig) -> RunConfig:
    """A run's config with the cells of the grid as what is to be evaluated."""
    cells = {
        "attacks": grid.budgeted(),
        "defenses": grid.defenses,
        "adaptive": grid.adaptive,
        "episodes": grid.episodes,
        "seed": grid.episode_seed,
        "recordings": grid.recordings,
    }
    return config.model_copy(update={"evaluation": config.evaluation.model_copy(update=cells | _conditions(grid))})


def _check(config: RunConfig, grid: GridConfig) -> None:
    """Check that a team can be trained, and finds what its cells need."""
    check_training(_planned(config, grid).check())


def _check_new(folder: Path, resume: bool) -> None:
    """Refuse to train in a folder that is in use."""
    if not resume and any(folder.glob("teams/*/*")):
        raise RunError(f"{folder} already holds a run of this grid; resume it (--resume), or name the grid otherwise")


def _open(runs: list[Run], path: str, grid: GridConfig, trust: bool) -> None:
    """Open a run of the grid, and check that its teams are trained."""
    run = open_run(path, trust)
    trained = sorted({seed for _, seed in run.trained()})
    if missing := [seed for seed in grid.seeds or () if seed not in trained]:
        raise RunError(
            f"seeds: {path} has no trained team of seed {', '.join(map(str, missing))} (trained: "
            f"{', '.join(map(str, trained)) or 'none'}); leave these seeds out, or train them first"
        )
    runs.append(_changed(run, grid))


def _changed(run: Run, grid: GridConfig) -> Run:
    """A run with the seeds, the episodes and the recordings of the grid, as far as this evaluation is concerned."""
    changed = _planned(run.config, grid)
    run.config = changed if grid.seeds is None else changed.model_copy(update={"seeds": grid.seeds})
    return run
