"""Samples with all env runners of an algorithm: restarts runners that died, passes on what an environment raised.

RLlib's own ``synchronous_parallel_sample`` returns nothing if the only runner has died. If an environment raises, RLlib
ends the runner's process and drops the error.
"""

from __future__ import annotations

import time
import traceback
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from agentcomm.base import errors
from agentcomm.base.calling import described
from agentcomm.base.errors import AgentcommError, HookError, RunError
from agentcomm.training.env_runner import BatchFirstEnvRunner

TRIES = 3
RESTART_SECONDS = 120.0  # on a busy machine, a process takes tens of seconds to start
PAUSE_SECONDS = 0.5


@dataclass
class Failure:
    """An error in a runner, as what can be sent: not every exception can be unpickled.

    Attributes:
        error: The error to raise.
        final: Whether trying again is of no use.
        trace: Its traceback.
    """

    error: AgentcommError
    final: bool
    trace: str

    @classmethod
    def of(cls, runner: int, error: Exception) -> Failure:
        """The failure of a runner; errors of our own keep their class and text."""
        trace = "".join(traceback.format_exception(error))
        if not isinstance(error, AgentcommError):
            return cls(HookError(f"env runner {runner}: {described(error)}"), False, trace)
        ours = next(kind for kind in type(error).__mro__ if kind.__module__ == errors.__name__)
        return cls(ours(str(error)), not isinstance(error, HookError), trace)


@dataclass
class Attempt:
    """What a runner returns when it is asked for a fragment.

    Attributes:
        batches: Its fragment; empty if it failed or is behind.
        metrics: RLlib's metrics of the fragment.
        restarted: Whether its process is new since it was asked last.
        behind: Whether it has no weights yet.
        failure: The error that it met.
    """

    batches: list[Any] = field(default_factory=list)
    metrics: Any = None
    restarted: bool = False
    behind: bool = False
    failure: Failure | None = None


def attempt(runner: BatchFirstEnvRunner, progress: float) -> Attempt:
    """Sample a fragment in a runner's process. After an error, the next attempt begins with new worlds.

    Args:
        runner: The runner.
        progress: Share of training done (0 .. 1).
    """
    restarted, runner.restarted = runner.restarted, False
    if runner.awaits_weights and not runner.broken:
        return Attempt(restarted=restarted, behind=True)
    try:
        if runner.broken:
            raise runner.broken
        if runner.sampler is None:
            runner.make_env()
        runner.follow_schedule(progress)
        return Attempt(runner.sample(), runner.get_metrics(), restarted)
    except Exception as error:
        failure = Failure.of(runner.worker_index or 0, error)
        with suppress(Exception):
            runner.stop()
        runner.sampler = None
        return Attempt(restarted=restarted, failure=failure)


class ParallelSampler:
    """Samples with the runners of an algorithm, and keeps account of those that fail.

    Args:
        algorithm: The algorithm.

    Attributes:
        incidents: Deaths, restarts and failures since they were read last, as fields of events.
    """

    def __init__(self, algorithm: Any) -> None:
        self.algorithm = algorithm
        self.incidents: list[dict[str, Any]] = []
        self._in_a_row: Counter[int] = Counter()  # deaths or failures of each runner

    def collect(self, env_steps: int) -> tuple[list[Any], list[Any]]:
        """Fragments of at least ``env_steps`` joint steps, sorted by runner, and their metrics.

        Raises:
            AgentcommError: The error of a runner; that of a plug-in only if it is met three times in a row.
            RunError: If a runner dies three times in a row, or none comes back.
        """
        done: list[Attempt] = []
        while sum(batch.env_steps() for a in done for batch in a.batches) < env_steps:
            done += self._round()
        batches = [batch for a in done for batch in a.batches]
        # Runners finish in any order; sorted, so that rows do not depend on their speed.
        return sorted(batches, key=lambda b: b.runner), [a.metrics for a in done]

    def _round(self) -> list[Attempt]:
        """One fragment of each runner that returns one."""
        group = self.algorithm.env_runner_group
        progress = self.algorithm.progress
        if not group.num_remote_workers():
            runner = group.local_env_runner
            runner.follow_schedule(progress)
            return [Attempt(runner.sample(), runner.get_metrics())]
        self._wait_for_restarts()
        found = []
        for result in group._worker_manager.foreach_actor(partial(attempt, progress=progress)):
            if not result.ok:
                self._died(result.actor_id, result.get())
                continue
            returned: Attempt = result.get()
            if returned.restarted:
                self._note("runner_restarted", result.actor_id, note="its worlds start again from the runner's seed")
            if returned.behind:  # its process died and came back between two fragments, unnoticed by RLlib
                group._worker_manager.set_actor_state(result.actor_id, healthy=False)
            elif returned.failure:
                self._failed(result.actor_id, returned.failure)
            else:
                self._in_a_row[result.actor_id] = 0
                found.append(returned)
        return found

    def _wait_for_restarts(self) -> None:
        """Wait until Ray has restarted the runners that died, and send them the weights."""
        algorithm = self.algorithm
        group = algorithm.env_runner_group
        until = time.monotonic() + RESTART_SECONDS
        while True:
            if restored := algorithm.restore_env_runners(group):
                algorithm._make_on_env_runners_recreated_callbacks(
                    config=algorithm.config, env_runner_group=group, restored_env_runner_indices=restored
                )
            if group.num_healthy_remote_workers() == group.num_remote_workers():
                return
            if time.monotonic() > until:
                missing = sorted({*group._worker_manager.actor_ids()} - {*group.healthy_worker_ids()})
                raise RunError(
                    f"env runners {missing} died and were not restarted within {RESTART_SECONDS:.0f} s; the machine may"
                    f" be out of memory or very busy. Resume the run, perhaps with fewer training.runners"
                )
            time.sleep(PAUSE_SECONDS)

    def _died(self, runner: int, error: Exception) -> None:
        why = " ".join(str(error).split())
        self._note("runner_died", runner, error=why)
        self._in_a_row[runner] += 1
        if self._in_a_row[runner] >= TRIES:
            raise RunError(
                f"the process of env runner {runner} died {TRIES} times in a row; the environment may crash, or the"
                f" machine may be out of memory. See ray.log in the run's folder. Ray says: {why[:300]}"
            )

    def _failed(self, runner: int, failure: Failure) -> None:
        self._note("runner_failed", runner, error=str(failure.error), traceback=failure.trace)
        self._in_a_row[runner] += 1
        if failure.final or self._in_a_row[runner] >= TRIES:
            raise failure.error

    def _note(self, event: str, runner: int, **details: Any) -> None:
        # An iteration is counted when it ends.
        self.incidents.append({"event": event, "runner": runner, "iteration": self.algorithm.iteration + 1} | details)
