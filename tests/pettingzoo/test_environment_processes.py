"""Third-party environments in several processes: the same results and errors, and nothing is left behind."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from agentcomm.base.errors import ConfigError, HookError
from agentcomm.contracts.step import Step
from agentcomm.pettingzoo import processes
from agentcomm.pettingzoo.adapter import ParallelWorld, ParallelWorldConfig

SEEDS = torch.randint(2**31, (5,), generator=torch.Generator().manual_seed(0)).tolist()
MAKE = "pettingzoo_zoo:Fragile"
# Ctrl-C reaches it even if the tests run in the background of a shell, where it is ignored.
STEPPING = """
import signal, sys, torch
from contextlib import closing
from agentcomm.pettingzoo.adapter import ParallelWorld, ParallelWorldConfig
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with closing(ParallelWorld(ParallelWorldConfig(make="pettingzoo_zoo:Fragile", processes=2), 4)) as world:
        world.reset(0)
        print(*[process.popen.pid for process in world._shard._processes], flush=True)
        while True:
            world.step(torch.zeros(4, 3, dtype=torch.int64))
"""


def world(count: int, worlds: int = 5, make: str = MAKE, **arguments: Any) -> ParallelWorld:
    return ParallelWorld(ParallelWorldConfig(make=make, arguments=arguments, max_steps=9, processes=count), worlds)


@pytest.fixture(autouse=True)
def _leaves_nothing() -> Iterator[None]:
    """No process, no open file and no shared memory, beside those of other tests, such as a Ray that several share."""
    before, children = set(os.listdir("/proc/self/fd")), set(psutil.Process().children())
    yield
    gc.collect()
    assert set(psutil.Process().children()) <= children
    assert "memfd:agentcomm" not in Path("/proc/self/maps").read_text()
    assert len(set(os.listdir("/proc/self/fd")) - before) <= 1, "the folder that is listed is open itself"


@pytest.mark.parametrize("make", ["mpe2.simple_world_comm_v3:parallel_env", MAKE])
def test_results_do_not_depend_on_the_number_of_processes(make: str) -> None:
    made = [world(count, make=make) for count in (1, 3)]
    generator, shape = torch.Generator().manual_seed(1), (5, made[0].num_agents)
    assert torch.equal(*(each.reset(seed=3) for each in made))
    ended = 0
    for _ in range(25):
        actions = made[0].actions.draw(shape, generator, torch.device("cpu"))
        one, other = (each.step(actions) for each in made)
        assert [f.name for f in fields(Step) if not torch.equal(getattr(one, f.name), getattr(other, f.name))] == []
        ended += len(one.finished)
    assert ended >= 10
    for each in made:
        each.close()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("raise", r"failed in step 2 of world 3: ConnectionError: licence server .*pettingzoo_zoo.py, line \d+"),
        ("leave", r"step 2 of world 3: agent 'b' observes 99.0 in entry 0 of 1, outside its space \(0.0 to 9.0\)"),
        ("forget", "step 2 of world 3: agent 'b' acted, but is missing in rewards"),
    ],
)
def test_errors_name_step_and_world_from_any_process(fault: str, message: str) -> None:
    with closing(world(2, fault=fault, seed=SEEDS[3])) as made:
        made.reset(0)
        made.step(torch.zeros(5, 3, dtype=torch.int64))
        with pytest.raises(HookError, match=message):
            made.step(torch.zeros(5, 3, dtype=torch.int64))


@pytest.mark.parametrize(("fault", "how"), [("exit", "ended with exit code 3"), ("kill", "was ended by SIGKILL")])
def test_a_process_that_dies_is_named_with_its_worlds(fault: str, how: str) -> None:
    with closing(world(2, 4, fault=fault, seed=SEEDS[3])) as made:
        made.reset(0)
        made.step(torch.zeros(4, 3, dtype=torch.int64))
        with pytest.raises(HookError, match=rf"{MAKE}': the process of worlds 2 to 3 {how}.* in step"):
            made.step(torch.zeros(4, 3, dtype=torch.int64))


def test_errors_of_constructors_arrive_and_end_all_processes() -> None:
    with pytest.raises(HookError, match="failed in its constructor: TypeError"):
        world(2, 2, nonsense=1)
    with pytest.raises(ConfigError, match="with processes=2, arguments must be plain values"):
        world(2, fault=lambda: None)


def test_an_environment_that_does_not_close_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "PATIENCE", 0.2)
    made = world(2, 2, fault="hang")
    made.reset(0)
    began = time.monotonic()
    made.close()
    made.close()
    assert time.monotonic() - began < 20, "it sleeps for a minute"


def test_errors_of_close_are_told() -> None:
    with pytest.raises(HookError, match="failed in close: RuntimeError: cannot close"):
        world(2, 2, fault="close").close()


def test_a_world_that_is_forgotten_ends_its_processes() -> None:
    made = world(2)
    made.reset(0)
    del made


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_processes_end_with_the_one_that_started_them(number: signal.Signals) -> None:
    path = os.pathsep.join(path for path in sys.path if path)
    command = [sys.executable, "-c", STEPPING]
    pipe: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": path}, start_new_session=True, **pipe) as parent:
        assert parent.stdout is not None
        workers = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
        assert len(workers) == 2
        time.sleep(0.3)
        os.killpg(parent.pid, number)
        _, said = parent.communicate(timeout=60)
        assert psutil.wait_procs(workers, timeout=60)[1] == []
    if number == signal.SIGINT:
        assert said.count("Traceback") == 1, "that of the parent"
        assert said.rstrip().endswith("KeyboardInterrupt")
