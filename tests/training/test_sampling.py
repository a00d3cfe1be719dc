"""Runners that die are restarted; errors in a runner's environment end training with their own text."""

from __future__ import annotations

import os
import signal
import time
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.rllib.callbacks.callbacks import RLlibCallback
from small import small

from agentcomm.base.errors import AgentcommError, HookError, NumberError, RunError
from agentcomm.training import sampling
from agentcomm.training.algorithm import CommPPOConfig
from agentcomm.training.sampling import Attempt, Failure, ParallelSampler, attempt


class Manager:
    """Stands in for RLlib's manager of one remote runner, which answers what is in ``answers``."""

    def __init__(self, answers: list[Attempt | Exception]) -> None:
        self.answers = answers
        self.healthy = True

    def foreach_actor(self, func: Any) -> list[Any]:
        answer = self.answers.pop(0)
        self.healthy = not isinstance(answer, Exception)
        return [SimpleNamespace(actor_id=1, ok=self.healthy, get=lambda: answer)]

    def set_actor_state(self, actor_id: int, healthy: bool) -> None:
        self.healthy = healthy

    def actor_ids(self) -> list[int]:
        return [1]


class StandIn:
    """An algorithm whose runner is restarted whenever it died, unless ``restarts`` is False."""

    iteration = 4
    config = None

    def __init__(self, answers: list[Attempt | Exception], restarts: bool = True) -> None:
        self.manager = Manager(answers)
        self.restarts = restarts
        self.recreated = 0
        self.progress = 0.0
        self.env_runner_group = SimpleNamespace(
            _worker_manager=self.manager,
            num_remote_workers=lambda: 1,
            num_healthy_remote_workers=lambda: int(self.manager.healthy),
            healthy_worker_ids=lambda: [1] if self.manager.healthy else [],
        )

    def restore_env_runners(self, group: Any) -> list[int]:
        if self.manager.healthy or not self.restarts:
            return []
        self.manager.healthy = True
        return [1]

    def _make_on_env_runners_recreated_callbacks(self, **_: Any) -> None:
        self.recreated += 1


def fragment(runner: int = 1) -> Attempt:
    return Attempt([SimpleNamespace(runner=runner, env_steps=lambda: 8)], {"sampled": 8})


def failed(error: Exception) -> Attempt:
    return Attempt(failure=Failure.of(1, error))


def events(sampler: ParallelSampler) -> list[str]:
    return [incident["event"] for incident in sampler.incidents]


def test_a_runner_that_died_is_waited_for() -> None:
    back = fragment()
    back.restarted = True
    algorithm = StandIn([RuntimeError("worker died"), back, fragment()])
    sampler = ParallelSampler(algorithm)
    batches, metrics = sampler.collect(16)
    assert len(batches) == len(metrics) == 2
    assert algorithm.recreated == 1
    assert events(sampler) == ["runner_died", "runner_restarted"]
    assert all(incident["runner"] == 1 and incident["iteration"] == 5 for incident in sampler.incidents)


def test_a_runner_without_weights_is_sent_them_first() -> None:
    algorithm = StandIn([Attempt(restarted=True, behind=True), fragment()])
    sampler = ParallelSampler(algorithm)
    assert len(sampler.collect(8)[0]) == 1
    assert algorithm.recreated == 1
    assert events(sampler) == ["runner_restarted"]


def test_a_runner_that_dies_again_and_again_ends_training() -> None:
    sampler = ParallelSampler(StandIn([RuntimeError("worker died: SIGSEGV")] * 3))
    with pytest.raises(RunError, match=r"env runner 1 died 3 times in a row.*SIGSEGV"):
        sampler.collect(8)


def test_deaths_with_samples_between_them_do_not_add_up() -> None:
    died = RuntimeError("worker died")
    sampler = ParallelSampler(StandIn([died, died, fragment(), died, died, fragment()]))
    assert len(sampler.collect(16)[0]) == 2


def test_a_runner_that_does_not_come_back_ends_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "RESTART_SECONDS", 0.0)
    monkeypatch.setattr(sampling, "PAUSE_SECONDS", 0.0)
    sampler = ParallelSampler(StandIn([RuntimeError("worker died")], restarts=False))
    with pytest.raises(RunError, match=r"env runners \[1\] died and were not restarted"):
        sampler.collect(8)


def test_an_error_that_passes_is_survived_and_one_that_stays_ends_training() -> None:
    broken = [failed(ConnectionError("licence server does not answer"))]
    sampler = ParallelSampler(StandIn([*broken * 2, fragment()]))
    assert len(sampler.collect(8)[0]) == 1
    assert events(sampler) == ["runner_failed"] * 2
    sampler = ParallelSampler(StandIn(broken * 3))
    with pytest.raises(HookError, match="env runner 1: ConnectionError: licence server does not answer"):
        sampler.collect(8)
    assert "ConnectionError: licence server" in sampler.incidents[0]["traceback"]


def test_our_own_errors_keep_their_class_and_end_training_at_once() -> None:
    class Special(NumberError):
        def __init__(self, one: int, two: int) -> None:  # could not be unpickled
            super().__init__(f"{one} and {two}")

    sampler = ParallelSampler(StandIn([failed(Special(1, 2))]))
    with pytest.raises(NumberError, match="1 and 2") as caught:
        sampler.collect(8)
    assert type(caught.value) is NumberError
    assert issubclass(NumberError, AgentcommError)


def test_an_attempt_after_an_error_begins_with_new_worlds() -> None:
    made = []

    def sample() -> list[Any]:
        raise ZeroDivisionError("in step 3")

    runner: Any = SimpleNamespace(
        restarted=False,
        awaits_weights=False,
        broken=None,
        sampler="worlds",
        worker_index=2,
        make_env=lambda: made.append(1),
        follow_schedule=lambda progress: None,
        sample=sample,
        stop=lambda: None,
    )
    for number in range(2):
        found = attempt(runner, 0.0)
        assert len(made) == number
        assert found.failure is not None
        assert str(found.failure.error).startswith("env runner 2: ZeroDivisionError: in step 3 (")
        assert __file__ in str(found.failure.error)


def test_an_error_of_construction_is_sent_by_the_first_attempt() -> None:
    runner: Any = SimpleNamespace(
        restarted=True, awaits_weights=True, broken=OSError("no licence file on this node"), worker_index=1
    )
    found = attempt(runner, 0.0)
    assert found.failure is not None
    assert "env runner 1: OSError: no licence file on this node" in str(found.failure.error)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_running")
def test_a_lone_runner_that_is_killed_comes_back_with_current_weights() -> None:
    """Once unnoticed, between two fragments; once while it samples."""
    recreated = []

    class Mine(RLlibCallback):
        def on_env_runners_recreated(self, *, env_runner_indices: list[int], **_: Any) -> None:
            recreated.append(env_runner_indices)

    run = small("training.runners=1", "training.env_steps=100000")
    algorithm = CommPPOConfig().team(run, "team", 0).callbacks(Mine).build_algo()
    algorithm.train()
    actor = algorithm.env_runner_group._worker_manager.actors()[1]

    def kill() -> None:
        os.kill(ray.get(actor.apply.remote(lambda _: os.getpid())), signal.SIGKILL)

    kill()
    until = time.monotonic() + 60
    while True:
        try:
            ray.get(actor.ping.remote())
            break
        except ray.exceptions.RayActorError:
            assert time.monotonic() < until
            time.sleep(0.2)
    for number in (2, 3):
        result = algorithm.train()
        assert result["training_iteration"] == number
        assert result["num_env_steps_sampled_lifetime"] == 128 * number
        assert result["learners"]["default_policy"]["first_ratio_error"] < 1e-5
        if number == 2:
            assert events(algorithm.sampler) == ["runner_restarted"]
            kill()
    assert events(algorithm.sampler) == ["runner_restarted", "runner_died", "runner_restarted"]
    assert recreated == [[1], [1]]
    algorithm.stop()
