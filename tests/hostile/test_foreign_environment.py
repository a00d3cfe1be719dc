"""A run of somebody else that names what makes its environment: it is called by consent only, wherever it stands."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from damage import write_run

from agentcomm import api
from agentcomm.base import manifest
from agentcomm.base.documents import read_rows
from agentcomm.base.errors import AgentcommError, RunError
from agentcomm.runs.policy_file import ABOUT, POLICY


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("whole")).path


@pytest.fixture
def foreign(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same run in the hands of a user with another key."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    return Path(shutil.copytree(whole, tmp_path / "small"))


def calling(marker: Path) -> dict[str, Any]:
    """An environment whose creation makes a folder."""
    return {"name": "pettingzoo", "make": "os:makedirs", "arguments": {"name": str(marker)}}


def test_the_config_needs_consent(foreign: Path, tmp_path: Path) -> None:
    path, marker = foreign / "config.yaml", tmp_path / "executed"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"environment": calling(marker)}))
    for command in (api.evaluate, api.messages, lambda run: api.train(run / "config.yaml", ["name=b"], root=tmp_path)):
        with pytest.raises(RunError, match=r"imports modules.*\n  os: .*os\.py \(sha256 [0-9a-f]{16}\)\n.*--trust"):
            command(foreign)
    assert not marker.exists()


def test_policy_files_cannot_name_another_module(foreign: Path, tmp_path: Path) -> None:
    folder, marker = foreign / "teams/team-0/policy", tmp_path / "executed"
    about = json.loads((folder / ABOUT).read_text())
    (folder / ABOUT).write_text(json.dumps(about | {"environment": calling(marker)}))
    (folder / manifest.MANIFEST).unlink()
    manifest.seal(folder, POLICY)
    for command in (api.messages, api.evaluate):
        with pytest.raises(AgentcommError, match="it would import 'os', but no config in use"):
            command(foreign)
    assert not marker.exists()


def test_rows_cannot_name_another_module(foreign: Path, tmp_path: Path) -> None:
    cells, marker = foreign / "cells.jsonl", tmp_path / "executed"
    rows, _ = read_rows(cells, None, "cells")
    for row in rows:
        row["conditions"]["environment"] = calling(marker)
    cells.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    with pytest.raises(AgentcommError):
        api.rerun(foreign)
    api.evaluate(foreign)
    assert not marker.exists()


def test_an_evaluation_keeps_the_module_of_the_environment(tmp_path: Path) -> None:
    environment = {"name": "pettingzoo", "make": "envs.gridworld.predator_prey:parallel_env", "max_steps": 5}
    run = write_run(tmp_path, environment=environment)
    assert yaml.safe_load((run.path / "config.yaml").read_text())["written"]["modules"].keys() == {
        "envs.gridworld.predator_prey"
    }
    api.evaluate(run, conditions={"environments": ["arguments.max_steps=4"]})
    with pytest.raises(AgentcommError, match="but not the module that it comes from"):
        api.evaluate(run, conditions={"environments": ["make=os:makedirs"]})
