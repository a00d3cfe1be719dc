"""A team that is trained in a process of its own, as the command sees it: asks the process, and writes its answers."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from agentcomm.base import errors, registry
from agentcomm.base.errors import HookError, NumberError, RunError
from agentcomm.base.files import append_line, new_folder
from agentcomm.runs.config import Variant
from agentcomm.runs.folder import Run, team_name
from agentcomm.training import checkpoint
from agentcomm.training.placement import Placement
from agentcomm.training.shipping import Files, read_folder
from agentcomm.training.team import export
from agentcomm.training.team_process import Answer, TeamProcess
from agentcomm.training.watching import Records, Watcher

import ray  # isort: skip
from ray.util.placement_group import remove_placement_group  # isort: skip


class Process:
    """A process that trains teams, and the CPUs that are reserved for it and its env runners.

    Args:
        placement: Where it is started.
    """

    def __init__(self, placement: Placement) -> None:
        self._reserved = placement.reserve()
        options = placement.options(self._reserved)
        self._actor: Any = ray.remote(TeamProcess).options(**options).remote(placement.threads)

    def ask(self, what: str, *arguments: Any) -> Any:
        """Call a method of :class:`~agentcomm.training.team_process.TeamProcess`; returns a reference to its answer."""
        return getattr(self._actor, what).remote(*arguments)

    def kill(self) -> None:
        """End it at once, whatever it is doing."""
        for release, what in ((ray.kill, self._actor), (remove_placement_group, self._reserved)):
            with suppress(Exception):  # Ray raises all kinds of errors for what is gone already
                release(what)


class TeamAtWork:
    """A team that is trained by a process; it has none before :meth:`start` and after :meth:`release`.

    Args:
        run: The run, locked for writing.
        team: Variant and training seed.
        several: Whether there are several nodes, so that errors name theirs.
        log: Events go there.

    Attributes:
        name: Name of the team.
        folder: Its folder.
        done: Env steps finished.
        begun: Whether the process has built the team.
        closing: Whether the process has been asked to close.
        lost: How often a process was lost.
        node: Address of the node of its process, once that has answered.
    """

    def __init__(self, run: Run, team: tuple[Variant, int], several: bool, log: Any) -> None:
        self._run, self._team, self._several = run, team, several
        self.name, self.folder = team_name(*team), run.team(*team)
        self.log = log.bind(team=self.name)
        self.done, self.lost, self.begun, self.closing, self.node = 0, 0, False, False, ""
        self._process: Process | None = None
        self._records: Records | None = None

    def start(self, process: Process, files: Any) -> Any:
        """Let a process go on from the last checkpoint; returns a reference to its first answer.

        Args:
            process: The process.
            files: Reference to the run's files.

        Raises:
            CheckpointError: If the last checkpoint is damaged.
        """
        self._process, self.closing, self.node = process, False, ""
        self.folder.mkdir(parents=True, exist_ok=True)
        checkpoint.clean(self.folder)
        start, saved = checkpoint.latest(self.folder), None
        if start is None:
            (self.folder / checkpoint.PROGRESS).unlink(missing_ok=True)
        else:
            checkpoint.check(start)
            checkpoint.restore_progress(start, self.folder)
            saved = start.name, read_folder(start)
        modules, base = registry.registered_modules(), str(self._run.path)
        return process.ask("begin", self._team, files, saved, modules, base)

    def ask(self, what: str) -> Any:
        """Ask the process to ``iterate``, ``save`` or ``close``; returns a reference to its answer."""
        assert self._process is not None, "the team has a process"
        self.closing = what == "close"
        return self._process.ask(what)

    def record(self, answer: Answer, watcher: Watcher) -> None:
        """Write an answer into the run's folder.

        Raises:
            AgentcommError: The error that is the answer; the text names the team.
        """
        self.node = answer.node
        if answer.error is None:
            self.done = answer.done
            self._record_begin(watcher)
            if answer.row is not None:
                self._record_row(answer.row, watcher)
            if answer.checkpoint is not None:
                self._record_checkpoint(*answer.checkpoint)
        for event in answer.events:
            self.log.info(**event)
        if answer.policy is not None:
            export(self._run, *self._team, *answer.policy)
            self.log.info("trained", **answer.policy[1])
        if answer.error is not None:
            raise self._error(*answer.error, answer.node)

    def release(self) -> Process:
        """Have no process any longer; returns it."""
        assert self._process is not None, "the team has a process"
        if self._records is not None:
            self._records.close()
        process, self._process, self._records, self.begun = self._process, None, None, False
        return process

    def kill(self) -> None:
        """End the process at once."""
        self.release().kill()

    def _record_begin(self, watcher: Watcher) -> None:
        if not self.begun:
            self.begun, self._records = True, Records(self._run, self._team, self.done)
            watcher.team(self.name, self.done, self._run.config.training.env_steps)

    def _record_row(self, row: dict[str, Any], watcher: Watcher) -> None:
        append_line(self.folder / checkpoint.PROGRESS, row)
        assert self._records is not None, "the team has begun"
        self._records.add(row)
        watcher.iteration(self.name, row)

    def _record_checkpoint(self, name: str, files: Files) -> None:
        with new_folder(checkpoint.folder(self.folder) / name) as target:
            for file, content in files.items():
                (target / file).write_bytes(content)
        checkpoint.keep_newest(self.folder, self._run.config.training.keep_checkpoints)

    def _error(self, kind: str, text: str, node: str) -> errors.AgentcommError:
        """An error of the process, with the team's name, its node if there are several, and what is left."""
        text = text if text.startswith(self.name) else f"{self.name}: {text}"
        made: type[errors.AgentcommError] = getattr(errors, kind, RunError)
        if self._several:
            text += f" (on node {node})"
        if issubclass(made, NumberError | HookError):
            text += f"\n{checkpoint.left_in(self.folder)}"
        return made(text)
