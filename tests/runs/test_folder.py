"""One process at a time writes to a run; a refused one changes nothing, and one without results is used again."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small import small

from agentcomm.base.errors import RunError
from agentcomm.runs.folder import claim, create, open_run, run_folder

# Starts at an agreed time, so that several processes do so at once; the winner holds the run until its input ends.
STARTER = """
import sys, time
from pathlib import Path
from small import small
from agentcomm.base.errors import RunError
from agentcomm.runs.folder import claim
number, at, resume = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3] == "resume"
config = small(f"seeds=[0, {number}]")
time.sleep(max(at - time.time(), 0))
try:
    with claim(config, Path("runs"), resume) as run:
        run.write_config()
        print("won", flush=True)
        sys.stdin.read()
except RunError as error:
    print(error, flush=True)
"""


def begun(folder: Path) -> None:
    """A run in which something has been completed, so that it can be resumed only."""
    (create(small(), folder).path / "cells.jsonl").touch()


def race(folder: Path, mode: str) -> list[str]:
    """What four processes say that start the same run at once, with other seeds each."""
    at = time.time() + 8
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", STARTER, str(number), str(at), mode],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(1, 5)
    ]
    said = [process.stdout.readline() for process in processes if process.stdout is not None]
    for process in processes:
        process.communicate()
    return said


@pytest.mark.parametrize("mode", ["start", "resume"])
def test_of_simultaneous_starts_one_wins(tmp_path: Path, mode: str) -> None:
    if mode == "resume":
        begun(tmp_path / "runs")
    said = race(tmp_path, mode)
    winner = said.index("won\n") + 1
    others = [text for text in said if text != "won\n"]
    assert len(others) == 3
    assert all("is writing to runs/small; wait for it" in text or "already holds a run" in text for text in others)
    assert open_run(tmp_path / "runs" / "small").config.seeds == (0, winner)


def test_a_locked_run_is_not_changed(tmp_path: Path) -> None:
    config, path = small(), tmp_path / "small"
    with claim(config, tmp_path) as run:
        run.write_config()
        before = {file.name: file.read_bytes() for file in path.iterdir()}
        with (
            pytest.raises(RunError, match=rf"another process \(process {os.getpid()}\)"),
            claim(small("seeds=[0, 5]"), tmp_path, resume=True),
        ):
            pass
        with run.lock():  # the owner may lock it again
            pass
        assert {file.name: file.read_bytes() for file in path.iterdir()} == before
    assert open_run(path).config == run.config
    create(small("seeds=[0, 5]", "training.env_steps=512", "training.threads=2"), tmp_path, resume=True)
    assert open_run(path).config.seeds == (0, 5)


def test_the_config_is_written_once_nothing_can_refuse_the_run(tmp_path: Path) -> None:
    begun(tmp_path)
    before = (tmp_path / "small" / "config.yaml").read_bytes()
    with claim(small("seeds=[0, 5]"), tmp_path, resume=True) as run:
        assert (tmp_path / "small" / "config.yaml").read_bytes() == before
        assert run.config_before.seeds == (0,)
    assert (tmp_path / "small" / "config.yaml").read_bytes() == before
    left = {file.name for file in (tmp_path / "small").iterdir()}
    assert left <= {"config.yaml", ".signature", ".lock", "cells.jsonl"}


@pytest.mark.parametrize("resume", [False, True])
def test_a_run_that_never_began_is_started_again_with_another_config(tmp_path: Path, resume: bool) -> None:
    first = create(small(), tmp_path)
    stray = first.team("team", 0) / "tensorboard" / "events"
    stray.parent.mkdir(parents=True)
    stray.touch()
    again = create(small("policy.width=8"), tmp_path, resume)
    assert open_run(again.path).config.policy.arguments["width"] == 8
    assert not stray.exists()


@pytest.mark.parametrize(
    "result",
    ["teams/team-0/progress.jsonl", "teams/team-0/checkpoints/iteration-1", "teams/team-0/policy", "cells.jsonl"],
)
def test_a_run_with_results_is_not_overwritten(tmp_path: Path, result: str) -> None:
    run = create(small(), tmp_path)
    kept = run.path / result
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.touch()
    with pytest.raises(RunError, match="already holds a run"):
        create(small("policy.width=8"), tmp_path)
    with pytest.raises(RunError, match="differs in policy"):
        create(small("policy.width=8"), tmp_path, resume=True)
    (run.path / "config.yaml").unlink()
    create(small(), tmp_path)
    assert kept.exists()


def test_a_run_that_another_process_begins_is_not_started_again(tmp_path: Path) -> None:
    run = create(small(), tmp_path)
    with run.lock(), pytest.raises(RunError, match="is writing to"):
        create(small("policy.width=8"), tmp_path)


def test_a_config_in_place_of_a_run_leads_to_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("lantern.yaml").write_text("name: small\n")
    with pytest.raises(RunError, match=r"lantern.yaml is a config, not a run; train it first .agentcomm train lantern"):
        run_folder("lantern.yaml")
    create(small(), Path("runs"))
    for given in ("lantern.yaml", "runs/small/config.yaml"):
        with pytest.raises(RunError, match=f"{given} is a config, not a run; its run is runs/small$"):
            run_folder(given)
    Path("notes.txt").write_bytes(b"\0\xff")
    with pytest.raises(RunError, match=r"notes.txt is a file, not the folder of a run"):
        run_folder("notes.txt")


def test_a_folder_of_runs_names_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match=r"no run at runs; train one first: agentcomm train CONFIG"):
        run_folder("runs")
    for name in ("b", "a"):
        create(small(f"name={name}"), Path("runs"))
    with pytest.raises(RunError, match=r"^runs holds the runs a, b; name one of them, such as runs/a$"):
        run_folder("runs")
    with pytest.raises(RunError, match="no run at runs/c; known: a, b"):
        run_folder("runs/c")


def test_a_run_shows_where_it_is(tmp_path: Path) -> None:
    assert repr(create(small(), tmp_path)) == f"Run({str(tmp_path / 'small')!r})"
