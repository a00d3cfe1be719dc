"""Progress in CSV, Weights & Biases and MLflow, offline, with their own libraries where they are installed."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from small import small, small_data, untrained

from agentcomm import api
from agentcomm.base import loggers as names
from agentcomm.base.errors import ConfigError, PluginError
from agentcomm.base.files import append_line
from agentcomm.contracts.logger import LoggedTeam, Logger, Numbers
from agentcomm.runs.folder import Run
from agentcomm.training.csv_logger import CSVLogger
from agentcomm.training.loggers import Loggers, parameters


def row(iteration: int, **more: float) -> dict[str, Any]:
    about = {"format": 2, "iteration": iteration, "env_steps": 128 * iteration, "seconds": 0.5 * iteration}
    return about | {"graph_entropy_rows": [0.5, 0.5]} | more


def log(run: Run, rows: list[dict[str, Any]]) -> None:
    """One process trains a team for some iterations."""
    logs = Loggers(run, "team", 0)
    for one in rows:
        append_line(run.team("team", 0) / "progress.jsonl", one)
        logs.write(one)
    logs.close()


def set_back(run: Run, lines: int) -> None:
    """As resuming from a checkpoint does."""
    progress = run.team("team", 0) / "progress.jsonl"
    progress.write_text("".join(progress.read_text().splitlines(keepends=True)[:lines]))


def run_with(tmp_path: Path, *loggers: str) -> Run:
    return untrained(tmp_path, "control=false", f"training.loggers=[{','.join(loggers)}]")


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_table_has_a_line_per_iteration_and_a_column_per_number(tmp_path: Path) -> None:
    run = run_with(tmp_path, "csv")
    log(run, [row(1), row(2, success=0.25), row(3)])
    found = table(run.team("team", 0) / "progress.csv")
    assert [one["env_steps"] for one in found] == ["128", "256", "384"]
    assert [one["success"] for one in found] == ["", "0.25", ""]
    assert set(found[0]) == {"iteration", "env_steps", "seconds", "success"}


def test_the_table_follows_a_resumed_run(tmp_path: Path) -> None:
    """What the killed process logged after its last checkpoint is there once."""
    run = run_with(tmp_path, "csv")
    log(run, [row(1), row(2), row(3)])
    set_back(run, 1)
    log(run, [row(2, success=1.0)])
    found = table(run.team("team", 0) / "progress.csv")
    assert [(one["env_steps"], one["success"]) for one in found] == [("128", ""), ("256", "1.0")]


def test_every_line_is_in_the_file_at_once(tmp_path: Path) -> None:
    team = LoggedTeam("small", "team-0", tmp_path, tmp_path, "a", False, {})
    logger = CSVLogger(team)
    for iteration in (1, 2, 3):
        logger.write({"iteration": iteration, "env_steps": iteration})
        text = (tmp_path / "progress.csv").read_text()
        assert text.endswith("\n")
        assert len(text.splitlines()) == 1 + iteration


def test_a_logger_of_another_package_gets_all_rows_and_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []

    class Memory(Logger):
        def __init__(self, team: LoggedTeam) -> None:
            told.append((team.name, team.identity, team.resumed))

        def write(self, row: Numbers) -> None:
            told.append(row["env_steps"])

        def close(self, finished: bool) -> None:
            told.append(finished)

    monkeypatch.setattr(names, "names", lambda: ("memory",))
    monkeypatch.setattr(names, "find", lambda name: Memory)
    run = run_with(tmp_path, "memory")
    log(run, [row(1)])
    log(run, [row(2)])
    (_, identity, _), *_ = told
    assert told == [("team-0", identity, False), 128, False, ("team-0", identity, True), 128, 256, True]
    set_back(run, 0)
    log(run, [row(1)])
    assert told[7][1] != identity, "training that starts again is another log"


def test_parameters_name_config_hashes_and_seed(tmp_path: Path) -> None:
    found = parameters(run_with(tmp_path, "csv"), "team", 0)
    assert found["seed"] == 0
    assert found["training.ppo.epochs"] == 2
    assert found["environment.name"] == "predator_capture_prey"
    assert all(len(str(found[f"hash.{key}"])) == 16 for key in ("agentcomm", "config", "environment", "policy"))
    assert not any(isinstance(value, list | dict) for value in found.values())


def test_an_unknown_logger_is_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'wandb'"):
        small("training.loggers=wandv")


def test_missing_libraries_are_named_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the field, its value, and an extra that there is."""
    extras = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for name in ("mlflow", "wandb"):
        assert any(wanted.startswith(name) for wanted in extras[name])
        monkeypatch.delitem(sys.modules, f"agentcomm.training.{name}_logger", raising=False)
    for missing in ("wandb", "alembic"):  # the first that the logger of MLflow imports
        monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ConfigError) as raised:
        api.train(small("training.loggers=[csv,mlflow,wandb]"), root=tmp_path)
    assert str(raised.value).splitlines() == [
        f"training.loggers: logger {name!r} needs the package {package!r}, which is not installed; install it with:"
        f" pip install 'agentcomm[{name}]', or leave {name!r} out of training.loggers"
        for name, package in (("mlflow", "alembic"), ("wandb", "wandb"))
    ]
    with pytest.raises(PluginError, match=r"^training\.loggers: logger 'wandb' needs"):
        api.train(small("training.loggers=wandb"), root=tmp_path)
    assert not list(tmp_path.rglob("ray.log"))


@pytest.mark.filterwarnings("ignore:The ``noload``")  # MLflow's own use of SQLAlchemy
def test_mlflow_has_parameters_and_every_iteration_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("mlflow", "sqlalchemy", "alembic"):
        pytest.importorskip(module)
    from mlflow.tracking import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    run = run_with(tmp_path, "mlflow")
    log(run, [row(1), row(2, success=0.5)])
    set_back(run, 1)
    longer = Run(run.path, small("control=false", "training.loggers=mlflow", "training.env_steps=384"))
    log(longer, [row(2, success=0.5), row(3, success=0.75)])
    client = MlflowClient(f"sqlite:///{run.path / 'mlflow.db'}")
    (found,) = client.search_runs([client.get_experiment_by_name("small").experiment_id])
    points = client.get_metric_history(found.info.run_id, "success")
    assert [(point.step, point.value) for point in points] == [(256, 0.5), (384, 0.75)]
    assert found.info.status == "FINISHED"
    assert found.data.params["training.ppo.epochs"] == "2"
    assert found.data.params["training.env_steps"] == "256"
    assert found.data.tags["resumed.training.env_steps"] == "384"


def test_wandb_is_offline_and_keeps_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = run_with(tmp_path, "wandb")
    log(run, [row(1), row(2, success=0.5)])
    log(run, [row(3)])
    files = sorted((run.team("team", 0) / "wandb").glob("offline-run-*/run-*.wandb"))
    identity = json.loads((run.team("team", 0) / "loggers.json").read_text())["wandb"]
    assert {file.name for file in files} == {f"run-{identity}.wandb"}
    content = b"".join(file.read_bytes() for file in files)
    assert all(text in content for text in (b"success", b"env_steps", b"hash.config", b"384"))


@pytest.mark.ray
def test_training_logs_and_says_nothing_more(tmp_path: Path) -> None:
    chosen = ["csv", *(name for name in ("mlflow", "wandb") if _installed(name))]
    data = small_data("control=false", f"training.loggers=[{','.join(chosen)}]")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB_", "MLFLOW_"))}
    command = [sys.executable, "-m", "agentcomm", "train", "config.yaml"]
    said = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert said.stderr == ""
    assert "wandb" not in said.stdout
    team = tmp_path / "runs" / "small" / "teams" / "team-0"
    assert [one["env_steps"] for one in table(team / "progress.csv")] == ["128", "256"]
    assert set(json.loads((team / "loggers.json").read_text())) == set(chosen)


def _installed(name: str) -> bool:
    try:
        names.find(name)
    except PluginError:
        return False
    return True
