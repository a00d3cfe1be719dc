"""Trains teams side by side: each in a process of its own, in one session of Ray or on a cluster.

Each process is an actor of Ray that is asked for one iteration at a time (:mod:`agentcomm.training.team_process`).
Trials of Ray Tune would do the same, but Tune keeps state, checkpoints and resume of its own beside the run's, and
needs a disk that all nodes share.

A process that has trained a team trains the next one: a new process takes seconds to import everything. If a process is
lost with its node, or killed, another one takes up its team from the last checkpoint.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from agentcomm.base import errors
from agentcomm.base.errors import RayError
from agentcomm.base.inputs import looking_in
from agentcomm.runs.config import Variant
from agentcomm.runs.folder import Run
from agentcomm.training import checkpoint, cluster
from agentcomm.training.lost import tell_lost, why_lost
from agentcomm.training.placement import Placement
from agentcomm.training.shipping import TrainingIdentity, check_node, pack
from agentcomm.training.stopping import Stopped
from agentcomm.training.team_at_work import Process, TeamAtWork
from agentcomm.training.team_process import Answer
from agentcomm.training.watching import Watcher

import ray  # isort: skip
from ray import exceptions  # isort: skip

MOST_LOST = 3  # times that a team is taken up again
PAUSE_SECONDS = 0.5  # between two looks whether a signal came
LOST = (*cluster.LOST, exceptions.RayActorError)


class SideBySide:
    """Trains teams side by side.

    Args:
        run: The run, locked for writing; only this process writes into its folder.
        placement: Where teams are trained.
        watcher: Is told of each team and each iteration.
        stopping: Returns the number of the signal that came; 0 if none has.
        log: Events go there.
    """

    def __init__(self, run: Run, placement: Placement, watcher: Watcher, stopping: Callable[[], int], log: Any) -> None:
        self._run, self._placement, self._watcher, self._log = run, placement, watcher, log
        self._stopping = stopping
        self._waiting: deque[TeamAtWork] = deque()
        self._at_work: dict[Any, TeamAtWork] = {}  # by what they were asked for
        self._idle: list[Process] = []
        self._failed: Exception | None = None
        self._stopped: list[TeamAtWork] = []

    def train(self, todo: Sequence[tuple[Variant, int]]) -> None:
        """Train teams; the first error ends all, after their checkpoints are written.

        Raises:
            Stopped: After Ctrl-C or SIGTERM, once the checkpoints of the teams at work are written.
            RayError: If a team's process is lost too often, or a node has other code than this machine.
            AgentcommError: As raised in a team's process; the text names the team.
        """
        self._placement.check()
        with looking_in(self._run.places()):
            identity = TrainingIdentity(self._run)
            self._files, self._identity = ray.put(pack(self._run, identity.all_choices())), identity.of_run()
        several = self._placement.address is not None
        self._waiting.extend(TeamAtWork(self._run, team, several, self._log) for team in todo)
        try:
            while self._waiting or self._at_work:
                self._drop() if self._ending else self._start()
                if self._at_work:
                    for ref in ray.wait(list(self._at_work), timeout=PAUSE_SECONDS)[0]:
                        self._take(self._at_work.pop(ref), ref)
        finally:
            for team in self._at_work.values():
                team.kill()
            for process in self._idle:
                process.kill()
        if self._failed is not None:
            raise self._failed
        if self._stopped:
            self._say_stopped()

    @property
    def _ending(self) -> bool:
        return bool(self._failed or self._stopping())

    def _start(self) -> None:
        """Start as many teams as there is room for."""
        while self._waiting and len(self._at_work) < self._placement.at_once and not self._failed:
            team = self._waiting.popleft()
            try:
                process = self._idle.pop() if self._idle else Process(self._placement)
                self._at_work[team.start(process, self._files)] = team
            except errors.AgentcommError as error:
                self._failed = error

    def _drop(self) -> None:
        """Drop teams that have not begun: they have nothing to save, and may wait for room."""
        dropped = {ref: team for ref, team in self._at_work.items() if not team.begun}
        for ref, team in dropped.items():
            team.kill()
            del self._at_work[ref]
        self._stopped += [*dropped.values(), *self._waiting]
        self._waiting.clear()

    def _take(self, team: TeamAtWork, ref: Any) -> None:
        """Take what a team's process answers, and ask it for what is next."""
        if team.closing:
            self._close(team, ref)
            return
        try:
            answer: Answer = ray.get(ref)
            if answer.identity is not None:
                check_node(answer.node, answer.identity, self._identity)
            team.record(answer, self._watcher)
        except LOST as error:
            self._lose(team, error)
        except (errors.AgentcommError, exceptions.RayTaskError) as error:
            self._failed = self._failed or error
            self._ask(team, "close")
        else:
            self._ask(team, self._next(team, answer))

    def _close(self, team: TeamAtWork, ref: Any) -> None:
        """Keep the process for a team that waits; otherwise release its CPUs, for which others may wait."""
        process = team.release()
        try:
            ray.get(ref)
        except exceptions.RayError:
            process.kill()
        else:
            self._idle.append(process) if self._waiting else process.kill()

    def _next(self, team: TeamAtWork, answer: Answer) -> str:
        """What a team is asked for after an answer."""
        if answer.policy is not None:
            return "close"
        if not self._ending:
            return "iterate"
        if answer.row is not None and answer.checkpoint is None:
            return "save"
        team.log.info("stopped", env_steps=answer.done)
        self._stopped.append(team)
        return "close"

    def _ask(self, team: TeamAtWork, what: str) -> None:
        self._at_work[team.ask(what)] = team

    def _lose(self, team: TeamAtWork, error: Exception) -> None:
        """Take a team up again whose process was lost, from its last checkpoint; or give it up."""
        team.kill()
        team.lost += 1
        why = why_lost(error, team.node)
        team.log.warning("process_lost", times=team.lost, error=why)
        if self._ending:
            self._stopped.append(team)
            tell_lost(self._watcher, team.name, f"{why}. What it learned since its last checkpoint is lost")
        elif team.lost > MOST_LOST:
            self._failed = self._given_up(team, why)
        else:
            self._waiting.appendleft(team)
            kept = checkpoint.latest(team.folder)
            start = "the start, as it has no checkpoint yet" if kept is None else "its last checkpoint"
            again = f"It is taken up again (time {team.lost} of {MOST_LOST} at most) from {start}"
            tell_lost(self._watcher, team.name, f"{why}. {again}")

    def _given_up(self, team: TeamAtWork, why: str) -> RayError:
        fewer = "give nodes more memory" if self._placement.address else "train fewer teams at a time (--jobs)"
        return RayError(
            f"{team.name}: its process was lost {team.lost} times. The last time, {why}."
            f" {checkpoint.left_in(team.folder)} If memory runs out, {fewer}. Resume with --resume, in Python"
            f" resume=True. Ray's log is {self._run.path / 'ray.log'}"
        )

    def _say_stopped(self) -> None:
        """Say how far teams are.

        Raises:
            Stopped: Always.
        """
        stopped = sorted((team for team in self._stopped if team.done), key=lambda team: team.name)
        each = ", ".join(f"{team.name} after {team.done} env steps" for team in stopped) or "none has begun"
        raise Stopped(
            f"teams were stopped ({each}); resume the run to continue from their checkpoints", self._stopping()
        )
