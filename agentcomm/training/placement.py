"""Where the teams of a run are trained side by side: how many at once, with what, in which Ray."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from agentcomm.base.errors import ConfigError, RayError
from agentcomm.runs.config import Variant
from agentcomm.runs.folder import Run, teams
from agentcomm.training.cluster import joined
from agentcomm.training.ray_session import ray_session

import ray  # isort: skip
from ray.util.placement_group import PlacementGroup, placement_group  # isort: skip


RUNNERS_PER_CORE = 4  # more of them would only wait for each other, with hundreds of megabytes each


def check_runners(runners: int, teams: int) -> None:
    """Check that this machine has the cores for the env runners of teams that are trained at the same time.

    Raises:
        ConfigError: If it has not.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    most = RUNNERS_PER_CORE * cores
    if runners * teams > most:
        of_teams = f" for each of {teams} teams at a time" if teams > 1 else ""
        raise ConfigError(
            f"training.runners {runners}{of_teams}: this machine has {cores} cores, and at most {most} processes are"
            " started on it; lower it, or use a cluster (--address)"
        )


@dataclass(frozen=True)
class Placement:
    """Where teams are trained side by side.

    Attributes:
        at_once: Most teams at work at the same time.
        threads: Torch threads of each team's process.
        cpus: CPUs that Ray reserves for it.
        runners: Env runners of each team, with a CPU each.
        gpus: GPUs that a cluster reserves for each team. Teams on this machine share those that it has.
        address: Address of a Ray cluster; None for processes of this machine.
    """

    at_once: int
    threads: int
    cpus: int
    runners: int
    address: str | None
    gpus: int = 0

    @classmethod
    def of(
        cls, run: Run, todo: Sequence[tuple[Variant, int]], jobs: int, address: str | None = None
    ) -> Placement | None:
        """The placement of a run's teams; None if they are trained one after the other in this process.

        Threads depend on the number of all teams of the run, so that a resumed run has as many as before.
        """
        training = run.config.training
        if address is not None:  # Ray starts each team when it has room for it
            threads = training.threads or 1
            return cls(len(todo), threads, threads, training.runners, address, int(training.device.startswith("cuda")))
        jobs = min(jobs, len(teams(run.config)))
        if jobs == 1:
            return None
        threads = training.threads or max(1, torch.get_num_threads() // jobs)
        return cls(min(jobs, len(todo)), threads, 1, training.runners, None)

    def session(self, log: Path) -> AbstractContextManager[None]:
        """The Ray in which teams are trained, during a block.

        Raises:
            RayError: If there is none.
        """
        if self.address is not None:
            return joined(self.address, log)
        return ray_session(log, self.runners, self.at_once)

    def check(self) -> None:
        """Check that Ray has room for a team; it would be waited for without end.

        Raises:
            RayError: If it has not.
        """
        nodes = [node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]]
        if ray.cluster_resources().get("GPU", 0) < self.gpus:
            raise RayError(
                "training.device is a GPU, but no node of Ray has one; use training.device=cpu, or add nodes"
            )
        needed = self.cpus + self.runners
        if max(nodes, default=0) < self.cpus or sum(nodes) < needed:
            have = ", ".join(f"{cpus:g}" for cpus in nodes) or "none"
            raise RayError(
                f"a team needs {self.cpus} CPUs of one node (training.threads) and {self.runners} more"
                f" (training.runners), but the nodes of Ray have {have}; lower these numbers, or add nodes"
            )

    def reserve(self) -> PlacementGroup:
        """Reserve the CPUs of one team: together, so that no team waits for runners while others hold their CPUs."""
        first = {"CPU": float(self.cpus)} | ({"GPU": float(self.gpus)} if self.gpus else {})
        return placement_group([first] + [{"CPU": 1.0}] * self.runners, strategy="PACK")

    def options(self, reserved: PlacementGroup) -> dict[str, Any]:
        """Ray's options for the process of a team."""
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        strategy = PlacementGroupSchedulingStrategy(reserved, 0, placement_group_capture_child_tasks=True)
        needs = {"num_cpus": self.cpus, "num_gpus": self.gpus}
        return {**needs, "max_restarts": 0, "scheduling_strategy": strategy}
