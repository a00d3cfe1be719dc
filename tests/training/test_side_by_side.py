"""Teams trained side by side learn what each learns alone; what stops, breaks or kills one leaves all resumable."""

from __future__ import annotations

import json
import os
import signal
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import ray
import torch
import yaml
from ray import exceptions
from safetensors.torch import load_file
from small import small, small_data, untrained

from agentcomm import api
from agentcomm.base.errors import ConfigError, HookError, RayError
from agentcomm.runs.folder import Run, team_name, teams
from agentcomm.training import checkpoint
from agentcomm.training.lost import why_lost
from agentcomm.training.placement import Placement
from agentcomm.training.shipping import TrainingIdentity, check_node
from agentcomm.training.side_by_side import MOST_LOST, SideBySide
from agentcomm.training.trainer import Stopped

LONG = ("training.env_steps=768", "training.checkpoint_every=4", "training.threads=1", "control=false")
TIMED = ("seconds", "env_steps_per_second", "runner_restarts")
BROKEN = """
import os
from pathlib import Path
from agentcomm.base.registry import register
from envs.gridworld.predator_capture_prey import PredatorCapturePrey

@register("environment", "fragile")
class Fragile(PredatorCapturePrey):
    steps = 0
    def advance(self, actions, generator):
        self.steps += self.num_worlds == 16  # those of training
        if self.steps == 20:
            try:
                os.unlink(Path(__file__).with_name("once"))  # for one of the teams, whichever is first
            except FileNotFoundError:
                return super().advance(actions, generator)
            raise ConnectionError("licence server does not answer")
        return super().advance(actions, generator)
"""


class Telling:
    """A watcher that does something after iterations."""

    def __init__(self, do: Callable[[str, dict[str, Any]], None]) -> None:
        self.do, self.started, self.all, self.lost_ones = do, [], {}, []

    def begin(self, done: Mapping[str, int], total: int) -> None:
        self.all = dict(done)

    def team(self, name: str, done: int, total: int) -> None:
        self.started.append((name, done))

    def iteration(self, name: str, row: dict[str, Any]) -> None:
        self.do(name, row)

    def lost(self, name: str, text: str) -> None:
        self.lost_ones.append((name, text))


def progress(run: Run, name: str) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (run.path / "teams" / name / "progress.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in TIMED} for row in rows]


def events(run: Run, event: str) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in run.events.read_text().splitlines()]
    return [row for row in rows if row["event"] == event]


def assert_same(first: Run, second: Run) -> None:
    for variant, seed in teams(second.config):
        name = team_name(variant, seed)
        assert progress(first, name) == progress(second, name)
        assert_same_files(first.policy(variant, seed), second.policy(variant, seed), "policy.safetensors")
        newest = [checkpoint.latest(run.team(variant, seed)) for run in (first, second)]
        assert None not in newest
        checkpoint.check(newest[1])
        assert newest[0].name == newest[1].name
        assert_same_files(*newest, "state.safetensors")


def assert_same_files(first: Path, second: Path, name: str) -> None:
    one, other = load_file(first / name), load_file(second / name)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, ray_running: Path) -> Run:
    """Three seeds, trained one after the other."""
    return api.train(small(*LONG, "seeds=[0,1,2]"), root=tmp_path_factory.mktemp("alone"))


@pytest.mark.ray
@pytest.mark.usefixtures("ray_running")
def test_teams_learn_what_each_learns_alone(alone: Run, tmp_path: Path) -> None:
    at_once: set[frozenset[str]] = set()
    working: set[str] = set()

    def do(name: str, row: dict[str, Any]) -> None:
        working.add(name) if row["env_steps"] < 768 else working.discard(name)
        at_once.add(frozenset(working))

    told = Telling(do)
    run = api.train(small(*LONG, "seeds=[0,1,2]"), root=tmp_path, watcher=told, jobs=2)
    assert_same(alone, run)
    assert told.all == {"team-0": 0, "team-1": 0, "team-2": 0}
    assert sorted(told.started) == sorted(told.all.items())
    assert max(map(len, at_once)) == 2
    assert [row["path"] for row in events(run, "checkpoint") if row["team"] == "team-1"] == [
        "iteration-000004",
        "iteration-000006",
    ]
    assert len(events(run, "trained")) == 3
    for team in (run.path / "teams").iterdir():
        assert sorted(path.name for path in team.iterdir()) == [
            "checkpoints",
            "policy",
            "progress.jsonl",
            "tensorboard",
        ]
        assert list((team / "tensorboard").glob("events.out.tfevents.*"))
    assert not list(run.path.rglob(".tmp-*"))
    assert not list(Path(ray._private.worker._global_node.get_session_dir_path()).glob("agentcomm-team-*"))


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.usefixtures("ray_running")
def test_runners_work_beside_jobs(tmp_path: Path) -> None:
    config = small("training.runners=1", "training.threads=1", "training.env_steps=128")
    one, two = (api.train(config, root=tmp_path / str(jobs), jobs=jobs) for jobs in (1, 2))
    assert_same(one, two)
    assert progress(two, "team-0")[-1]["env_steps"] == 128


# Half a minute, as long as no other takes the processor. That a signal stops teams with a checkpoint each is also
# tested in tests/cli/test_training.py, that a team goes on from one below.
@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.usefixtures("ray_running")
def test_a_signal_stops_all_with_checkpoints_and_they_resume(tmp_path: Path) -> None:
    seen: dict[str, int] = {}
    iterations = 40  # on a busy machine, one process may train for seconds before the other begins

    def do(name: str, row: dict[str, Any]) -> None:
        seen[name] = row["iteration"]
        if len(seen) == 2 and max(seen.values()) < iterations and not asked:
            asked.append(name)
            os.kill(os.getpid(), signal.SIGINT)

    asked: list[str] = []
    config = small(*LONG, f"training.env_steps={128 * iterations}", "training.checkpoint_every=100", "seeds=[0,1]")
    alone = api.train(config, root=tmp_path / "alone")
    with pytest.raises(Stopped, match=r"team-0 after \d+ env steps.*; resume") as stopped:
        api.train(config, root=tmp_path, watcher=Telling(do), jobs=2)
    assert stopped.value.number == signal.SIGINT
    run = Run(tmp_path / "small", config)
    for name, iteration in seen.items():
        newest = checkpoint.latest(run.path / "teams" / name)
        assert newest is not None
        assert checkpoint.check(newest).iteration == iteration
        assert len(progress(run, name)) == iteration
    assert {row["team"] for row in events(run, "stopped")} == set(seen)

    told = Telling(lambda name, row: None)
    again = api.train(config, root=tmp_path, resume=True, watcher=told, jobs=2)
    assert dict(told.started) == told.all
    assert {name for name, done in told.started if done} == set(seen)
    for variant, seed in teams(config):
        name = team_name(variant, seed)
        assert progress(alone, name) == progress(again, name)
        assert_same_files(alone.policy(variant, seed), again.policy(variant, seed), "policy.safetensors")


@pytest.mark.ray
@pytest.mark.usefixtures("ray_running")
def test_a_killed_process_is_replaced(alone: Run, tmp_path: Path) -> None:
    killed: list[int] = []

    def do(name: str, row: dict[str, Any]) -> None:
        if name == "team-0" and row["iteration"] == 5 and not killed:
            processes = psutil.Process().children(recursive=True)
            one = next(p for p in processes if "ray::TeamProcess" in " ".join(p.cmdline()))
            killed.append(one.pid)
            one.kill()

    told = Telling(do)
    run = api.train(small(*LONG, "seeds=[0,1]"), root=tmp_path, watcher=told, jobs=2)
    assert_same(alone, run)
    (lost,) = events(run, "process_lost")
    assert lost["times"] == len(killed) == 1
    ((name, said),) = told.lost_ones
    assert name == lost["team"]
    assert said.startswith(f"{lost['error']}. It is taken up again (time 1 of 3 at most) from ")
    assert said.startswith(f"its process ({killed[0]} on 127.0.0.1) was killed, as by kill -9 or ")
    assert len(told.started) == 3
    assert told.started[-1][0] == lost["team"]
    assert told.started[-1][1] in (0, 512), "it was taken up again from its last checkpoint"


@pytest.mark.ray
@pytest.mark.usefixtures("ray_running")
def test_what_a_plugin_raises_names_its_team_and_stops_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fragile.py").write_text(BROKEN)
    (tmp_path / "once").touch()
    environment = {"name": "fragile", "max_steps": 8}
    longer = ("training.env_steps=12800", "training.checkpoint_every=100", "control=true")
    data = small_data(*LONG, *longer, plugins=["fragile"], environment=environment)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HookError) as raised:
        api.train("config.yaml", jobs=2)
    text = str(raised.value)
    name = text.partition(",")[0]
    assert name in ("team-0", "control-0")
    assert text.startswith(f"{name}, iteration 3: ")
    assert "licence server does not answer" in text
    assert "fragile.py, line 17" in text
    assert text.endswith("There is no checkpoint yet.")
    other = ({"team-0", "control-0"} - {name}).pop()
    assert [row["team"] for row in events(Run(Path("runs/small"), small()), "stopped")] in ([other], [])
    begun = Path("runs/small/teams", other, "progress.jsonl").exists()
    assert bool(checkpoint.latest(Path("runs/small/teams", other))) == begun


@pytest.mark.ray
@pytest.mark.usefixtures("ray_running")
def test_a_node_with_other_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = TrainingIdentity.of_run
    monkeypatch.setattr(TrainingIdentity, "of_run", lambda self: ours(self) | {"torch": "1.0"})
    says = r"node [\d.]+ has other code or files than this machine \(torch changed\)"
    with pytest.raises(RayError, match=says):
        api.train(small(*LONG, "seeds=[0,1]"), root=tmp_path, jobs=2)
    check_node("10.0.0.1", {"torch": "1"}, {"torch": "1"})


@pytest.mark.ray
@pytest.mark.usefixtures("ray_running")
def test_a_team_that_finds_no_room_is_refused(tmp_path: Path) -> None:
    says = r"a team needs 1 CPUs of one node .* and 9 more .*training\.runners.*the nodes of Ray have 4"
    with pytest.raises(RayError, match=says):
        Placement(2, 1, 1, 9, None).check()
    with pytest.raises(RayError, match=r"training\.runners=4 needs 5; set training\.runners=3"):
        api.train(small(*LONG, "seeds=[0,1]", "training.runners=4"), root=tmp_path, jobs=2)


def test_a_team_is_given_up_when_it_was_lost_too_often(tmp_path: Path) -> None:
    run = untrained(tmp_path, "control=false")
    watcher = Telling(lambda n, r: None)
    made = SideBySide(run, Placement(2, 1, 1, 0, None), watcher, lambda: 0, None)
    told: list[int] = []
    log = SimpleNamespace(warning=lambda event, times, error: told.append(times))
    team = SimpleNamespace(name="team-0", folder=run.team("team", 0), lost=0, node="", log=log, kill=lambda: None)
    error = exceptions.OutOfMemoryError("Task was killed due to the node running low on memory.")
    for _ in range(MOST_LOST):
        made._lose(team, error)  # type: ignore[arg-type]
        assert made._waiting == deque([team])
        made._waiting.clear()
    assert made._failed is None
    why = "Ray ended its process, because its machine ran out of memory"
    again = "It is taken up again (time {} of 3 at most) from the start, as it has no checkpoint yet"
    assert watcher.lost_ones == [("team-0", f"{why}. {again.format(time)}") for time in (1, 2, 3)]
    made._lose(team, error)  # type: ignore[arg-type]
    assert (told, made._waiting) == ([1, 2, 3, 4], deque())
    assert str(made._failed) == (
        f"team-0: its process was lost 4 times. The last time, {why}. There is no checkpoint yet. If memory runs out,"
        " train fewer teams at a time (--jobs). Resume with --resume, in Python resume=True. Ray's log is"
        f" {run.path / 'ray.log'}"
    )


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (exceptions.NodeDiedError("gone"), "the node of its process (on 10.0.0.3) was lost"),
        (
            exceptions.RayActorError(None, "The actor died.\n\tpid: 7\n\tip: 10.0.0.2\nbecause its node has died."),
            "the node of its process (7 on 10.0.0.2) was lost",
        ),
        (
            exceptions.ActorUnavailableError("RPC error: Socket closed", None),  # at first, a node that is killed
            "its process (on 10.0.0.3) cannot be reached any more: its node was lost, or it was killed",
        ),
        (
            exceptions.WorkerCrashedError(),
            "its process (on 10.0.0.3) was killed, as by kill -9 or by the system for want of memory,",
        ),
        (exceptions.RayActorError(None, "never heard of. And more"), "its process was lost: never heard of"),
    ],
)
def test_what_ray_knows_of_a_lost_process_is_said_plainly(error: Exception, says: str) -> None:
    assert why_lost(error, "10.0.0.3").startswith(says)


def test_threads_do_not_depend_on_what_is_left(tmp_path: Path) -> None:
    run = untrained(tmp_path, "seeds=[0,1]")
    todo = teams(run.config)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(8)
        for left in (todo, todo[:1]):
            assert Placement.of(run, left, 2) == Placement(min(2, len(left)), 4, 1, 0, None)
        assert Placement.of(run, todo, 99) == Placement(4, 2, 1, 0, None), "there are four teams"
        assert Placement.of(run, todo, 1) is None
        assert Placement.of(run, todo, 1, "auto") == Placement(4, 1, 1, 0, "auto")
        run.config = small("seeds=[0,1]", "training.threads=3", "training.runners=2")
        assert Placement.of(run, todo, 2) == Placement(2, 3, 1, 2, None)
        assert Placement.of(run, todo, 1, "auto") == Placement(4, 3, 3, 2, "auto")
    finally:
        torch.set_num_threads(before)


def test_options_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="jobs: must be a whole number from 1"):
        api.train(small(), root=tmp_path, jobs=0)
    with pytest.raises(ConfigError, match=r"decides how many teams are trained at once; leave out jobs$"):
        api.train(small(), root=tmp_path, jobs=2, address="auto")
    with pytest.raises(ConfigError, match="address: must be auto, or HOST:PORT"):
        api.train(small(), root=tmp_path, address="here")
    assert not list(tmp_path.iterdir())
