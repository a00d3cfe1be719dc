"""A run records what it was made with, can be moved with its inputs, and is refused where its format is another."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from damage import write_run
from small import small, small_data

from agentcomm import api
from agentcomm.base.errors import ConfigError, RunError
from agentcomm.base.inputs import find_input, located, portable
from agentcomm.base.modules import import_modules
from agentcomm.base.registry import AXES, Axis, forms
from agentcomm.base.versions import FORMAT
from agentcomm.runs.choices import Choice, build
from agentcomm.runs.config import load, parse
from agentcomm.runs.folder import create, open_run
from agentcomm.runs.settle import written_out

TRACE = "seconds,latency_ms,loss\n0,10,0.1\n1,20,0.2\n"


@pytest.mark.parametrize("axis", [axis for axis in AXES if axis not in ("metric", "topology")])
def test_written_out_choices_are_the_same_choices(axis: Axis) -> None:
    for form, (name, arguments) in forms(axis).items():
        choice = Choice.model_validate({"name": name} | arguments)
        whole = written_out(axis, choice)
        assert written_out(axis, whole) == whole, form
        assert whole.arguments.keys() >= build(axis, choice).model_dump().keys(), form


def test_a_run_keeps_the_defaults_that_it_was_trained_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = create(small(), tmp_path)
    config = yaml.safe_load((run.path / "config.yaml").read_text())
    assert config["written"]["format"] == FORMAT
    assert config["environment"]["size"] == 5
    assert config["policy"]["topology"] == {"name": "learned", "density": 0.4} | config["policy"]["topology"]
    assert config["policy"]["gate"]["cost"] == 0.01
    assert config["policy"]["gate"].keys() > {"cost"}
    assert open_run(run.path).config == run.config
    assert create(small(), tmp_path, resume=True).config == run.config
    assert parse(small_data(), "it") != run.config, "defaults were written out"


@pytest.mark.parametrize(("found", "says"), [(None, "an older"), (1, "an older"), (99, "a newer"), ("x", "an older")])
def test_runs_of_other_formats_are_refused_by_name(tmp_path: Path, found: Any, says: str) -> None:
    path = create(small(), tmp_path).path / "config.yaml"
    config = yaml.safe_load(path.read_text())
    if found is None:
        del config["written"]
    else:
        config["written"]["format"] = found
    path.write_text(yaml.safe_dump(config))
    for command in (api.evaluate, api.messages):
        with pytest.raises(RunError, match=f"was written by {says} version of agentcomm"):
            command(path.parent)


def test_paths_are_recorded_relative_to_a_run_where_it_can_take_them_along(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    assert portable(str(root / "other" / "x"), root / "mine") == "../other/x"
    assert portable(str(root / "mine" / "x"), root / "mine") == "x"
    assert portable("/data/x", root / "mine") == "/data/x"
    assert located("x", [tmp_path / "a", tmp_path / "b"]) == str(tmp_path / "a" / "x")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x").touch()
    assert located("x", [tmp_path / "a", tmp_path / "b"]) == str(tmp_path / "b" / "x")
    assert find_input("no such file") == Path("no such file")


def test_a_run_is_used_from_any_folder_and_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a file beside it that its config names, relative to the folder in which it was made."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "trace.csv").write_text(TRACE)
    monkeypatch.chdir(tmp_path)
    transport = {"channels": [{"name": "trace", "file": "runs/trace.csv"}]}
    write_run(Path("runs"), transport=transport)
    recorded = (tmp_path / "runs" / "small" / "config.yaml").read_text()
    assert "file: ../trace.csv" in recorded
    monkeypatch.chdir("/")
    moved = tmp_path / "elsewhere"
    os.rename(tmp_path / "runs", moved)
    run, cells = moved / "small", (moved / "small" / "cells.jsonl").read_text()
    api.evaluate(run)
    assert (run / "cells.jsonl").read_text() == cells, "nothing is evaluated again"
    api.messages(run)
    api.report(run)
    api.train(run / "config.yaml", root=moved, resume=True)
    assert load(run / "config.yaml").transport.channels[0].arguments["file"] == str(moved / "trace.csv")


def test_a_run_that_was_moved_alone_finds_what_it_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "trace.csv").write_text(TRACE)
    monkeypatch.chdir(tmp_path)
    write_run(Path("runs"), transport={"channels": [{"name": "trace", "file": "runs/trace.csv"}]})
    (tmp_path / "elsewhere").mkdir()
    os.rename("runs/small", "elsewhere/small")
    api.messages(tmp_path / "elsewhere" / "small")


def test_a_page_can_be_written_elsewhere(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    assert api.report(run, tmp_path / "pages" / "mine.html").read_text().startswith("<!doctype html>")
    assert not run.report.exists()


def test_a_module_of_ones_own_is_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it was when the run was made, and where it is once it was moved along with the run."""
    (tmp_path / "module_of_mine.py").write_text("")
    monkeypatch.chdir(tmp_path)
    run = write_run(tmp_path / "runs", plugins=["module_of_mine"])
    assert run.config.plugin_folders == (str(tmp_path),)
    monkeypatch.chdir("/")
    sys.modules.pop("module_of_mine")
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if folder != str(tmp_path)])
    api.messages(run.path)
    assert sys.modules.pop("module_of_mine").__file__ == str(tmp_path / "module_of_mine.py")
    (tmp_path / "module_of_mine.py").rename(run.path / "module_of_mine.py")
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if folder != str(tmp_path)])
    with pytest.raises(ConfigError, match="plugins: cannot import 'module_of_mine'"):
        api.messages(run.path)
    api.report(run.path)


def test_folders_with_modules_hide_nothing_of_python(tmp_path: Path) -> None:
    """A module of a plug-in with the name of another one on the path is found, and the path is as before."""
    (tmp_path / "json.py").write_text("raise SystemExit")
    (tmp_path / "module_beside.py").write_text("import json\njson.dumps(1)")
    before = list(sys.path)
    import_modules(["module_beside"], [str(tmp_path)])
    assert [folder for folder in sys.path if folder not in before] == [str(tmp_path)]
    sys.modules.pop("module_beside")
    sys.path[:] = before
