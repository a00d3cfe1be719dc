"""Trains the teams of a run: progress, events, TensorBoard files, checkpoints, resume."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import torch
from tensorboardX import SummaryWriter

from agentcomm.base.calling import described
from agentcomm.base.documents import read_rows
from agentcomm.base.errors import HookError, NumberError
from agentcomm.base.files import append_line
from agentcomm.base.log import event_log
from agentcomm.base.versions import FORMAT
from agentcomm.runs import policy_file
from agentcomm.runs.assembly import environment_of
from agentcomm.runs.config import Variant
from agentcomm.runs.folder import Run, team_name
from agentcomm.runs.rows import ProgressRow
from agentcomm.training import checkpoint, loggers
from agentcomm.training.ray_session import ray_session
from agentcomm.training.resume import unfinished

Row = dict[str, Any]
DEFAULT = "default_policy"


class Watcher(Protocol):
    """Observer of training, such as a progress bar."""

    def team(self, name: str, done: int, total: int) -> None:
        """Called when a team starts, with ``done`` env steps finished."""

    def iteration(self, row: Row) -> None:
        """Called after an iteration; ``row`` is its line in ``progress.jsonl``."""


class Silent:
    """A watcher that ignores everything."""

    def team(self, name: str, done: int, total: int) -> None:
        """Ignore."""

    def iteration(self, row: Row) -> None:
        """Ignore."""


class Stopped(Exception):
    """Training was stopped by a signal, after writing a checkpoint.

    Attributes:
        number: The signal's number.
    """

    def __init__(self, text: str, number: int) -> None:
        super().__init__(text)
        self.number = number


@contextmanager
def stop_on_signal() -> Iterator[Callable[[], int]]:
    """Catch the first Ctrl-C or SIGTERM; a second one acts as usual.

    Yields:
        A function that returns the number of the signal that came; 0 if none has.
    """
    asked: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def record(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        signal.signal(number, before[signal.Signals(number)])

    try:
        for number in before:
            signal.signal(number, record)
    except ValueError:  # only the main thread can handle signals
        before = {}
    try:
        yield lambda: asked[0] if asked else 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def train(run: Run, watcher: Watcher | None = None) -> None:
    """Train all teams of a run that are not trained yet, resuming from their checkpoints.

    Raises:
        Stopped: After Ctrl-C or SIGTERM, once the current team's checkpoint is written.
        AgentcommError: If another process writes to the run, Ray does not start, env runners do not come back, or
            the code of a plug-in raises.
        RunError: If a team cannot be trained as long as the config says.
        CheckpointError: If the last checkpoint of a team is damaged.
        PluginError: If a logger cannot be imported.
    """
    watcher = watcher or Silent()
    with run.lock(), stop_on_signal() as stopping:
        todo = unfinished(run)
        loggers.check(run.config.training.loggers if todo else ())
        run.write_config()
        log = event_log(run.events)
        log.info("training_started", teams=[team_name(*t) for t in todo])
        if not todo:
            return
        try:
            with ray_session(run.path / "ray.log", run.config.training.runners):
                for variant, seed in todo:
                    _train_team(run, variant, seed, watcher, stopping, log)
        except Exception as error:
            if not isinstance(error, Stopped):
                log.error("training_failed", error=described(error))
            raise
        log.info("training_finished")


def _train_team(run: Run, variant: Variant, seed: int, watcher: Watcher, stopping: Callable[[], int], log: Any) -> None:
    from agentcomm.training.algorithm import CommPPOConfig

    config, folder = run.located(), run.team(variant, seed)
    config = config.model_copy(update={"environment": environment_of(config.environment, seed)})
    training = config.training
    name = team_name(variant, seed)
    log = log.bind(team=name)
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint.clean(folder)
    if training.threads:
        torch.set_num_threads(training.threads)
    algorithm = CommPPOConfig().team(config, variant, seed).build_algo()
    logs = loggers.Loggers(run, variant, seed)
    try:
        done, seconds = _resume(algorithm, folder, log)
        watcher.team(name, done, training.env_steps)
        writer = SummaryWriter(str(folder / "tensorboard"), purge_step=done or None)
        graph = _graph(algorithm)
        while done < training.env_steps:
            began = time.perf_counter()
            with _placed(f"{name}, iteration {algorithm.iteration + 1}", folder):
                result, restarts = _iterate(algorithm, log)
            seconds += time.perf_counter() - began
            now = _graph(algorithm)
            row = _row(algorithm, result, seconds, time.perf_counter() - began, int((graph != now).sum()) // 2)
            row |= {"threads": torch.get_num_threads()} | ({"runner_restarts": restarts} if restarts else {})
            graph, done = now, row["env_steps"]
            append_line(folder / checkpoint.PROGRESS, row)
            for key, value in row.items():
                if key not in ("graph_entropy_rows", "threads"):
                    writer.add_scalar(key, value, done)
            logs.write(row)
            watcher.iteration(row)
            last = done >= training.env_steps
            number = stopping()  # asked once: a signal that comes later must not stop what was not saved
            if last or number or algorithm.iteration % training.checkpoint_every == 0:
                saved = checkpoint.save(algorithm, folder, training.keep_checkpoints)
                log.info("checkpoint", path=saved.name, env_steps=done)
            if number and not last:
                log.info("stopped", env_steps=done)
                raise Stopped(
                    f"{name} was stopped after {done} env steps; resume the run to continue from its checkpoint", number
                )
        writer.close()
        details = {"env_steps": done, "seconds": round(seconds, 3)} | _history(folder / "progress.jsonl")
        policy = algorithm.env_runner.module.policy
        policy_file.save(run.policy(variant, seed), policy, config.environment, config.policy, variant, seed, details)
        log.info("trained", **details)
    finally:
        algorithm.stop()
        logs.close()


@contextmanager
def _placed(where: str, folder: Path) -> Iterator[None]:
    """Say where in training an error of a plug-in or a number that is not finite arose, and what is left of it."""
    try:
        yield
    except (NumberError, HookError) as error:
        kept = checkpoint.latest(folder)
        left = "There is no checkpoint yet." if kept is None else f"The last checkpoint is {kept}; resume from it."
        raise type(error)(f"{where}: {error}\n{left}") from error


def _iterate(algorithm: Any, log: Any) -> tuple[Row, int]:
    """One iteration of training, with events of what happened to its runners; returns how many were restarted."""
    try:
        result = algorithm.train()
    finally:
        incidents = algorithm.sampler.incidents
        for incident in incidents:
            log.warning(**incident)
        algorithm.sampler.incidents = []
    return result, sum(incident["event"] == "runner_restarted" for incident in incidents)


def _history(progress: Path) -> Row:
    """What a policy's details say of how it was trained: the threads from each iteration on, and restarts of runners.

    Reading the progress covers all processes that trained the team.
    """
    threads: list[list[int]] = []
    restarts = 0
    for row in read_rows(progress, ProgressRow, "progress")[0]:
        restarts += row.get("runner_restarts", 0)
        if "threads" in row and (not threads or threads[-1][1] != row["threads"]):
            threads.append([row["iteration"], row["threads"]])
    return {"threads": threads, "runner_restarts": restarts}


def _resume(algorithm: Any, folder: Path, log: Any) -> tuple[int, float]:
    """Restore a team's last checkpoint, if there is one; returns the env steps and the seconds trained so far."""
    start = checkpoint.latest(folder)
    if start is None:
        (folder / checkpoint.PROGRESS).unlink(missing_ok=True)
        return 0, 0.0
    facts = checkpoint.restore(algorithm, start)
    last = checkpoint.restore_progress(start, folder)
    threads = {"threads": torch.get_num_threads(), "threads_before": facts.threads}
    log.info("resumed", checkpoint=start.name, env_steps=facts.env_steps, **threads)
    return facts.env_steps, last["seconds"] if last else 0.0


def _graph(algorithm: Any) -> torch.Tensor:
    """Executed adjacency [N, N] of the policy in training; [1, 1] if the graph changes per step."""
    topology = algorithm.env_runner.module.policy.topology
    if topology.dynamic:
        return torch.zeros(1, 1, dtype=torch.bool)
    source = topology.graph(None, 1).source[0]
    adjacency = torch.zeros(len(source), len(source), dtype=torch.bool)
    return adjacency.scatter_(1, source.cpu(), True)


def _row(algorithm: Any, result: Row, seconds: float, took: float, flips: int) -> Row:
    """One line of ``progress.jsonl``."""
    sampled, learned = result["env_runners"], result["learners"][DEFAULT]
    training = algorithm.config.env_config["run"]["training"]
    row: Row = {
        "format": FORMAT,
        "iteration": algorithm.iteration,
        "env_steps": int(result["num_env_steps_sampled_lifetime"]),
        "seconds": round(seconds, 4),
        "env_steps_per_second": round(float(sampled["num_env_steps_sampled"]) / took, 1),
        "episode_length": sampled.get("episode_len_mean"),
        "episode_return": sampled.get("episode_return_mean"),
        "success": sampled.get("success"),
        "gate_open": sampled.get("gate_open"),
        "graph_flips": flips,
    }
    row |= {name: value for name, value in sampled.items() if name.startswith("messages_")}
    names = ("policy_loss", "value_loss", "entropy", "kl", "clip_fraction", "grad_norm", "first_ratio_error")
    choices = ("flipped", "gradient_open", "gradient_closed")  # of straight-through gates and dynamic graphs
    row |= {name: learned[name] for name in (*names, *choices) if name in learned}
    topology = algorithm.env_runner.module.policy.topology
    if topology.learned:
        entropy = topology.row_entropy()
        row |= {"graph_agreement": sampled.get("graph_agreement"), "graph_entropy": float(entropy.mean())}
        row["graph_entropy_rows"] = [round(e, 4) for e in entropy.tolist()]
    every = training["evaluate_every"]
    if every and algorithm.iteration % every == 0:
        found = result.get("evaluation", {}).get("env_runners", {})
        row |= {"eval_mean_steps": found.get("episode_len_mean"), "eval_success": found.get("success")}
        row["eval_episodes"] = found.get("num_episodes")
    return {key: value for key, value in ((k, _plain(v)) for k, v in row.items()) if value is not None}


def _plain(value: Any) -> Any:
    """The value as a JSON number or list; None for missing values and NaN."""
    if value is None or isinstance(value, int | list):
        return value
    number = float(value)
    return round(number, 6) if math.isfinite(number) else None
