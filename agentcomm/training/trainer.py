"""Trains the teams of a run: progress, events, TensorBoard files, checkpoints, resume."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from agentcomm.base.calling import described
from agentcomm.base.errors import HookError, NumberError
from agentcomm.base.log import event_log
from agentcomm.runs.config import Variant
from agentcomm.runs.folder import Run, team_name
from agentcomm.training import checkpoint, loggers
from agentcomm.training.placement import Placement, check_runners
from agentcomm.training.ray_session import ray_session
from agentcomm.training.refusal import removed_if_refused
from agentcomm.training.resume import unfinished
from agentcomm.training.side_by_side import SideBySide
from agentcomm.training.stopping import Stopped as Stopped
from agentcomm.training.stopping import stop_on_signal
from agentcomm.training.team import TeamTraining, export
from agentcomm.training.watching import Records, Silent
from agentcomm.training.watching import Watcher as Watcher

Team = tuple[Variant, int]


def train(run: Run, watcher: Watcher | None = None, jobs: int = 1, address: str | None = None) -> None:
    """Train all teams of a run that are not trained yet, resuming from their checkpoints.

    The folder of a new run is removed again if its training is refused.

    Args:
        run: The run.
        watcher: Is told of each team and each iteration.
        jobs: Teams to train at the same time, each in a process of its own if there are several.
        address: Ray cluster on which to train them instead: ``auto``, or ``host:port``.

    Raises:
        Stopped: After Ctrl-C or SIGTERM, once the checkpoints of the teams at work are written.
        AgentcommError: If another process writes to the run, Ray does not start, env runners or processes do not come
            back, or the code of a plug-in raises.
        RunError: If a team cannot be trained as long as the config says.
        CheckpointError: If the last checkpoint of a team is damaged.
        PluginError: If a logger cannot be imported.
        ConfigError: If there are too many runners for this machine.
    """
    watcher = watcher or Silent()
    with run.lock(), removed_if_refused(run), stop_on_signal() as stopping:
        todo = unfinished(run)
        loggers.check(run.config.training.loggers if todo else ())
        run.write_config()
        log = event_log(run.events)
        log.info("training_started", teams=[team_name(*t) for t in todo])
        if not todo:
            return
        watcher.begin({team_name(*t): _done(run.team(*t)) for t in todo}, run.config.training.env_steps)
        try:
            _train(run, todo, watcher, stopping, log, Placement.of(run, todo, jobs, address))
        except Exception as error:
            if not isinstance(error, Stopped):
                log.error("training_failed", error=described(error))
            raise
        log.info("training_finished")


def _train(
    run: Run, todo: Sequence[Team], watcher: Watcher, stopping: Callable[[], int], log: Any, placement: Placement | None
) -> None:
    if placement is None or placement.address is None:
        check_runners(run.config.training.runners, 1 if placement is None else placement.at_once)
    if placement is not None:
        with placement.session(run.path / "ray.log"):
            SideBySide(run, placement, watcher, stopping, log).train(todo)
        return
    with ray_session(run.path / "ray.log", run.config.training.runners):
        for variant, seed in todo:
            _train_team(run, variant, seed, watcher, stopping, log.bind(team=team_name(variant, seed)))


def _train_team(run: Run, variant: Variant, seed: int, watcher: Watcher, stopping: Callable[[], int], log: Any) -> None:
    """Train one team in this process."""
    folder = run.team(variant, seed)
    with (
        closing(TeamTraining(run, variant, seed, folder, log)) as team,
        closing(Records(run, (variant, seed), team.done)) as records,
    ):
        watcher.team(team.name, team.done, team.total)
        while not team.finished:
            try:
                row = team.iterate()
            except (NumberError, HookError) as error:
                raise type(error)(f"{error}\n{checkpoint.left_in(folder)}") from error
            records.add(row)
            watcher.iteration(team.name, row)
            number = stopping()  # asked once: a signal that comes later must not stop what was not saved
            if team.is_due or number:
                team.save()
            if number and not team.finished:
                log.info("stopped", env_steps=team.done)
                raise Stopped(
                    f"{team.name} was stopped after {team.done} env steps; resume the run to continue from its"
                    " checkpoint",
                    number,
                )
        weights, details = team.result()
    export(run, variant, seed, weights, details)
    log.info("trained", **details)


def _done(team: Path) -> int:
    """Env steps of a team's last checkpoint."""
    start = checkpoint.latest(team)
    return 0 if start is None else checkpoint.check(start).env_steps
