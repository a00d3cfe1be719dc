"""One team in training: built, resumed, iterated, saved. Where its results go is up to the caller."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from agentcomm.base.documents import read_rows
from agentcomm.base.errors import HookError, NumberError
from agentcomm.base.files import append_line
from agentcomm.base.versions import FORMAT
from agentcomm.runs import policy_file
from agentcomm.runs.assembly import environment_of
from agentcomm.runs.config import RunConfig, Variant
from agentcomm.runs.folder import Run, team_name
from agentcomm.runs.rows import ProgressRow
from agentcomm.training import checkpoint

Row = dict[str, Any]
DEFAULT = "default_policy"


class TeamTraining:
    """A team in training; it goes on from its last checkpoint if there is one.

    Args:
        run: The run.
        variant: Variant of the team.
        seed: Its training seed.
        folder: Folder of its progress and checkpoints.
        log: Events go there.
        threads: Torch threads; 0 for those of the config, or else as they are.

    Attributes:
        name: Name of the team.
        done: Env steps trained.
        total: Env steps to train.

    Raises:
        CheckpointError: If the last checkpoint is damaged.
        AgentcommError: If something cannot be built.
    """

    def __init__(self, run: Run, variant: Variant, seed: int, folder: Path, log: Any, threads: int = 0) -> None:
        from agentcomm.training.algorithm import CommPPOConfig

        config = config_of(run, seed)
        self.name, self.total = team_name(variant, seed), config.training.env_steps
        self._training, self._folder, self._log = config.training, folder, log
        folder.mkdir(parents=True, exist_ok=True)
        checkpoint.clean(folder)
        if wanted := threads or config.training.threads:
            torch.set_num_threads(wanted)
        self.algorithm = CommPPOConfig().team(config, variant, seed).build_algo()
        try:
            self.done, self._seconds = _resume(self.algorithm, folder, log)
            self._graph = _graph(self.algorithm)
        except BaseException:
            self.close()
            raise

    @property
    def finished(self) -> bool:
        """Whether it is trained as long as the config says."""
        return self.done >= self.total

    @property
    def is_due(self) -> bool:
        """Whether a checkpoint is due after this iteration."""
        return self.finished or self.algorithm.iteration % self._training.checkpoint_every == 0

    def iterate(self) -> Row:
        """Train for one iteration; returns its line of ``progress.jsonl``, which is written.

        Raises:
            AgentcommError: If env runners do not come back, or the code of a plug-in raises.
        """
        began = time.perf_counter()
        with _placed(f"{self.name}, iteration {self.algorithm.iteration + 1}"):
            result, restarts = _iterate(self.algorithm, self._log)
        took = time.perf_counter() - began
        self._seconds += took
        now = _graph(self.algorithm)
        row = _row(self.algorithm, result, self._seconds, took, int((self._graph != now).sum()) // 2)
        row |= {"threads": torch.get_num_threads()} | ({"runner_restarts": restarts} if restarts else {})
        self._graph, self.done = now, row["env_steps"]
        append_line(self._folder / checkpoint.PROGRESS, row)
        return row

    def save(self) -> Path:
        """Write a checkpoint; returns its folder."""
        saved = checkpoint.save(self.algorithm, self._folder, self._training.keep_checkpoints)
        self._log.info("checkpoint", path=saved.name, env_steps=self.done)
        return saved

    def result(self) -> tuple[dict[str, Tensor], Row]:
        """The policy's weights, and the details of how it was trained."""
        details = {"env_steps": self.done, "seconds": round(self._seconds, 3)}
        policy = self.algorithm.env_runner.module.policy
        weights = {name: value.cpu() for name, value in policy.state_dict().items()}  # the command may have no GPU
        return weights, details | _history(self._folder / checkpoint.PROGRESS)

    def close(self) -> None:
        """End its env runners."""
        self.algorithm.stop()


class Weights:
    """Weights of a policy that is elsewhere, as :func:`agentcomm.runs.policy_file.save` takes a policy."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        self._weights = weights

    def state_dict(self) -> dict[str, Tensor]:
        """The weights by name."""
        return self._weights


def export(run: Run, variant: Variant, seed: int, weights: dict[str, Tensor], details: Row) -> None:
    """Write a trained policy into the run's folder."""
    config, policy = config_of(run, seed), run.policy(variant, seed)
    content: Any = Weights(weights)
    policy_file.save(policy, content, config.environment, config.policy, variant, seed, details)


def config_of(run: Run, seed: int) -> RunConfig:
    """A run's config with absolute paths, and with the environment of one seed."""
    config = run.located()
    return config.model_copy(update={"environment": environment_of(config.environment, seed)})


@contextmanager
def _placed(where: str) -> Iterator[None]:
    """Say where in training an error of a plug-in or a number that is not finite arose."""
    try:
        yield
    except (NumberError, HookError) as error:
        raise type(error)(f"{where}: {error}") from error


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
