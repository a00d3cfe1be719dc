"""The commands as a user types them: each in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from small import small_data

from agentcomm.cli.main import app

COMMAND = [sys.executable, "-c", "from agentcomm.cli.main import main; main()"]


def agentcomm(*words: object, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"COLUMNS": "160", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*COMMAND, *map(str, words)], cwd=cwd, capture_output=True, text=True, timeout=200, env=environment
    )
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    assert "WARNING" not in done.stderr + done.stdout
    return done


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with config.yaml and a trained run ``small`` of one team and its control."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "config.yaml").write_text(yaml.safe_dump(small_data("training.evaluate_every=1")), encoding="utf-8")
    said = agentcomm("train", "config.yaml", cwd=folder)
    assert "agentcomm evaluate runs/small" in said.stdout
    assert said.stderr == ""
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "teams" / "team-0" / "policy" / "policy.safetensors")


def rows(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.ray
def test_training_leaves_what_is_promised(trained: Path) -> None:
    run = trained / "runs" / "small"
    progress = rows(run / "teams" / "team-0" / "progress.jsonl")
    assert [r["env_steps"] for r in progress] == [128, 256]
    assert all(r["first_ratio_error"] < 1e-5 and "eval_mean_steps" in r for r in progress)
    assert list((run / "teams" / "team-0" / "tensorboard").glob("events.out.tfevents.*"))
    events = [row["event"] for row in rows(run / "events.jsonl")]
    assert events[0] == "training_started"
    assert events[-1] == "training_finished"
    assert not list(run.rglob(".tmp-*"))


@pytest.mark.ray
def test_evaluate_and_report(trained: Path) -> None:
    said = agentcomm("evaluate", "runs/small", "--attack", "drop", "--defense", "clip", cwd=trained)
    assert "no messages (control" in said.stdout
    assert "drop" in said.stdout
    said = agentcomm("report", "runs/small", cwd=trained)
    assert "runs/small/report.html" in said.stdout.replace("\n", "")
    assert (trained / "runs" / "small" / "report.html").stat().st_size > 10_000


@pytest.mark.ray
def test_a_second_run_into_the_same_folder_is_refused(trained: Path) -> None:
    said = agentcomm("train", "config.yaml", cwd=trained, code=2)
    assert "already holds a run" in said.stderr
    assert "--resume" in said.stderr
    said = agentcomm("train", "config.yaml", "training.worlds=32", "--resume", cwd=trained, code=2)
    assert "differs in training" in said.stderr
    agentcomm("train", "config.yaml", "--resume", cwd=trained)


@pytest.mark.ray
def test_a_run_can_be_given_more_seeds(trained: Path) -> None:
    teams = trained / "runs" / "small" / "teams"
    before = (teams / "team-0" / "policy" / "policy.safetensors").read_bytes()
    agentcomm("train", "config.yaml", "seeds=[0, 5]", "control=false", "--resume", cwd=trained)
    assert (teams / "team-5" / "policy" / "policy.json").exists()
    assert (teams / "team-0" / "policy" / "policy.safetensors").read_bytes() == before
    assert "seeds: [0, 5]" in (trained / "runs" / "small" / "config.yaml").read_text(encoding="utf-8")
    agentcomm("train", "config.yaml", "--resume", cwd=trained)


def test_a_report_before_any_cell_is_refused(tmp_path: Path) -> None:
    from small import small

    from agentcomm.runs.folder import create

    create(small(), tmp_path / "runs")
    assert "agentcomm evaluate" in agentcomm("report", "runs/small", cwd=tmp_path, code=2).stderr
    assert "did you mean 'small'" in agentcomm("report", "runs/smal", cwd=tmp_path, code=2).stderr


def test_mistakes_on_the_command_line_are_one_clear_line(tmp_path: Path) -> None:
    data = small_data("environment.name=predator_pray")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    said = agentcomm("train", "config.yaml", cwd=tmp_path, code=2)
    assert said.stderr.startswith("error: unknown environment 'predator_pray'; did you mean 'predator_prey'")
    assert len(said.stderr.splitlines()) == 1
    assert not (tmp_path / "runs").exists()
    assert "did you mean 'attacks'" in agentcomm("list", "atacks", cwd=tmp_path, code=2).stderr


def test_risks_are_listed_with_the_attacks_that_carry_them_out(tmp_path: Path) -> None:
    listed = json.loads(agentcomm("list", "risks", "--json", cwd=tmp_path).stdout)
    assert len(listed) == 30
    assert all(bool(risk["attacks"]) != bool(risk["absent"]) for risk in listed), (
        "each is carried out, or it is said why not"
    )
    assert "sybil" in agentcomm("list", "risks", cwd=tmp_path).stdout


PLUGIN = """
from agentcomm.base.registry import register
from attacks.external.drop import Drop, DropConfig

class GentleConfig(DropConfig):
    probability: float = 0.1

@register("attack", "gentle")
class Gentle(Drop):
    Config = GentleConfig
    name = "gentle"
"""


@pytest.mark.ray
def test_a_module_of_ones_own_is_found_beside_the_config(tmp_path: Path) -> None:
    (tmp_path / "my_attacks.py").write_text(PLUGIN)
    data = small_data(
        "training.runners=1",
        "training.env_steps=128",
        control=False,
        plugins=["my_attacks"],
        attacks=[{"name": "gentle"}],
    )
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    agentcomm("train", "config.yaml", cwd=tmp_path)
    progress = rows(tmp_path / "runs" / "small" / "teams" / "team-0" / "progress.jsonl")
    assert 0 < progress[0]["messages_dropped"] < progress[0]["messages_sent"]
    said = agentcomm("evaluate", "runs/small", "--attack", "gentle:probability=1", cwd=tmp_path)
    assert "gentle(probability=1)" in said.stdout


def test_list_shows_every_axis_and_json(tmp_path: Path) -> None:
    said = agentcomm("list", cwd=tmp_path).stdout
    for word in ("predator_capture_prey", "commformer", "impersonate", "authenticate"):
        assert word in said
    attacks = json.loads(agentcomm("list", "attacks", "--json", cwd=tmp_path).stdout)
    drop = next(a for a in attacks if a["name"] == "drop")
    assert drop["risks"]
    assert all(argument["description"] for argument in drop["arguments"])


def test_every_command_explains_itself(tmp_path: Path) -> None:
    names = [c.name or c.callback.__name__ for c in app.registered_commands if c.callback]
    assert sorted(names) == ["demo", "evaluate", "list", "messages", "report", "train"]
    for name in names:
        assert "Usage" in agentcomm(name, "--help", cwd=tmp_path).stdout


def _start(folder: Path) -> tuple[subprocess.Popen[str], Path]:
    """Train a longer run in the background until it has a checkpoint and is past it."""
    data = small_data("training.env_steps=2560", "training.checkpoint_every=4", control=False)
    (folder / "config.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    process = subprocess.Popen(
        [*COMMAND, "train", "config.yaml"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    team = folder / "runs" / "small" / "teams" / "team-0"
    progress, waited = team / "progress.jsonl", time.monotonic() + 120
    while not (progress.exists() and len(progress.read_text().splitlines()) >= 6):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < waited
        time.sleep(0.005)
    return process, team


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    data = small_data("training.env_steps=2560", "training.checkpoint_every=4", control=False)
    (folder / "config.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    agentcomm("train", "config.yaml", cwd=folder)
    return folder / "runs" / "small"


def _assert_equal_runs(folder: Path, whole: Path) -> None:
    expected, found = weights(whole), weights(folder / "runs" / "small")
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    for name in ("env_steps", "loss", "entropy", "episode_length"):
        ours, theirs = (
            [row.get(name) for row in rows(run / "teams" / "team-0" / "progress.jsonl")]
            for run in (folder / "runs" / "small", whole)
        )
        assert ours == theirs, name


@pytest.mark.ray
def test_ctrl_c_keeps_what_was_done_and_resume_goes_on(tmp_path: Path, uninterrupted: Path) -> None:
    process, team = _start(tmp_path)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process of the group
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, (out, err)
    assert "--resume" in out
    done = len(rows(team / "progress.jsonl"))
    assert [p.name for p in sorted((team / "checkpoints").iterdir())][-1] == f"iteration-{done:06d}"
    agentcomm("train", "config.yaml", "--resume", cwd=tmp_path)
    _assert_equal_runs(tmp_path, uninterrupted)


@pytest.mark.ray
def test_a_killed_run_resumes_from_its_last_checkpoint(tmp_path: Path, uninterrupted: Path) -> None:
    process, team = _start(tmp_path)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    (team / "checkpoints" / ".tmp-half").mkdir()
    with (team / "progress.jsonl").open("a") as file:
        file.write('{"iteration": 99, "env_st')
    agentcomm("train", "config.yaml", "--resume", cwd=tmp_path)
    assert not list(team.rglob(".tmp-*"))
    _assert_equal_runs(tmp_path, uninterrupted)
