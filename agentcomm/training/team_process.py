"""The process in which a team is trained beside others, as an actor of Ray, maybe on another machine.

It writes into a temporary folder only. Progress, events, checkpoints and the policy are in what it answers: the command
that trains writes them into the run's folder, so that nodes need no common disk.
"""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from agentcomm.base.errors import AgentcommError, ConfigError, SeveralErrors
from agentcomm.base.inputs import looking_in
from agentcomm.evaluation.identity import Identity
from agentcomm.runs.config import Variant
from agentcomm.runs.folder import open_run
from agentcomm.training import checkpoint
from agentcomm.training import ray_session as ray_session  # first: it sets what Ray reads when it is imported
from agentcomm.training.scratch import OURS, remove_left, scratch
from agentcomm.training.shipping import Files, TrainingIdentity, read_folder, unpack
from agentcomm.training.team import TeamTraining

import ray  # isort: skip

Row = dict[str, Any]
PREFIX = f"{OURS}team-"


@dataclass
class Answer:
    """What a team's process answers.

    Attributes:
        node: Address of its node.
        done: Env steps finished.
        events: Events since the last answer, as their fields.
        row: The line of progress of an iteration.
        checkpoint: Name and files of a checkpoint that was written.
        policy: Weights and details of the team if it is trained.
        identity: Hashes of the node's code and files, in the first answer.
        error: Class and text of a user-fixable error.
    """

    node: str = ""
    done: int = 0
    events: list[Row] = field(default_factory=list)
    row: Row | None = None
    checkpoint: tuple[str, Files] | None = None
    policy: tuple[dict[str, Tensor], Row] | None = None
    identity: Identity | None = None
    error: tuple[str, str] | None = None


class Notes:
    """Takes events in place of a log."""

    def __init__(self) -> None:
        self._taken: list[Row] = []

    def info(self, event: str, **fields: Any) -> None:
        """Take an event."""
        self._taken.append({"event": event} | fields)

    warning = info

    def take(self) -> list[Row]:
        """The events since the last call."""
        taken, self._taken = self._taken, []
        return taken


class TeamProcess:
    """Trains one team after the other, iteration by iteration, as it is asked.

    Args:
        threads: Torch threads.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._notes, self._open = Notes(), ExitStack()
        self._training: TeamTraining | None = None
        self._local = self._base = ""

    def begin(
        self,
        team: tuple[Variant, int],
        files: Files,
        start: tuple[str, Files] | None,
        modules: Sequence[str],
        base: str,
    ) -> Answer:
        """Build a team.

        Args:
            team: Its variant and training seed.
            files: Of the run.
            start: Name and files of the checkpoint from which it goes on.
            modules: Modules that registered plug-ins in the command.
            base: The run's folder, as it is called in errors.
        """
        session = _session()
        for other in session.parent.glob("session_2*"):  # of a Ray that was killed with its teams
            remove_left(other)
        folder = self._open.enter_context(scratch(session, PREFIX))
        path = unpack(files, folder)
        self._local, self._base = str(path), base
        return self._answer(lambda: self._build(path, team, start, modules))

    def iterate(self) -> Answer:
        """Train for an iteration, and write a checkpoint if one is due."""
        return self._answer(self._iterate)

    def save(self) -> Answer:
        """Write a checkpoint."""
        return self._answer(self._save)

    def close(self) -> None:
        """End env runners, and remove the temporary folder."""
        self._open.close()
        self._training = None

    def _build(
        self, path: Path, team: tuple[Variant, int], start: tuple[str, Files] | None, modules: Sequence[str]
    ) -> Answer:
        for module in modules:
            with suppress(ImportError):  # a plug-in that is missing is reported where it is used
                importlib.import_module(module)
        run = open_run(path, trust=True)  # the command that asks has the user's consent
        self._open.enter_context(looking_in(run.places()))
        self._folder = run.team(*team)
        if start is not None:
            name, files = start
            for file, content in files.items():
                target = checkpoint.folder(self._folder) / name / file
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
        identity = TrainingIdentity(run).of_run()
        self._training = TeamTraining(run, *team, self._folder, self._notes, self._threads)
        self._open.callback(self._training.close)
        policy = self._training.result() if self._training.finished else None
        return Answer(identity=identity, policy=policy)

    def _iterate(self) -> Answer:
        training = self._ready()
        row = training.iterate()
        answer = self._save() if training.is_due else Answer()
        answer.row, answer.policy = row, training.result() if training.finished else None
        return answer

    def _save(self) -> Answer:
        path = self._ready().save()
        return Answer(checkpoint=(path.name, read_folder(path)))

    def _ready(self) -> TeamTraining:
        assert self._training is not None, "the team is not built"
        return self._training

    def _answer(self, do: Callable[[], Answer]) -> Answer:
        """What a function answers, with what every answer contains; errors as what can be sent."""
        try:
            answer = do()
        except AgentcommError as error:
            kind = ConfigError if isinstance(error, SeveralErrors) else type(error)  # the text has all mistakes
            traceback.print_exc()  # into Ray's logs, of which the ends are kept
            answer = Answer(error=(kind.__name__, str(error).replace(self._local, self._base)))
        answer.node, answer.events = ray.util.get_node_ip_address(), self._notes.take()
        answer.done = 0 if self._training is None else self._training.done
        return answer


def _session() -> Path:
    """Folder of Ray's session on this node: our own session is removed with all that a killed process left in it."""
    return Path(ray._private.worker._global_node.get_session_dir_path())
