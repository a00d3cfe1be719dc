"""A run folder of somebody else: nothing in it is executed, and nothing outside of it is read, without consent."""

from __future__ import annotations

import os
import pickle
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from damage import write_run

from agentcomm import api
from agentcomm.base.errors import AgentcommError, FileError, RunError
from agentcomm.base.files import append_line
from agentcomm.cli.listing import list_

EVIL = """
from pathlib import Path
Path(r"{marker}").touch()
"""
COMMANDS: dict[str, Callable[..., object]] = {
    "evaluate": api.evaluate,
    "messages": api.messages,
    "train another": lambda run, trust=False: api.train(
        run / "config.yaml", ["name=another", "training.env_steps=1"], root=run.parent / str(trust), trust=trust
    ),
    "list": lambda run, trust=False: list_(config=run / "config.yaml", trust=trust),
    "resume": lambda run, trust=False: api.train(run / "config.yaml", root=run.parent, resume=True, trust=trust),
}


class Trap:
    """Touches a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., object], tuple[Path]]:
        return Path.touch, (self.marker,)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("whole")).path


@pytest.fixture
def foreign(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same run in the hands of a user with another key."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    return Path(shutil.copytree(whole, tmp_path / "small"))


@pytest.fixture
def marker(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "executed"
    sys.modules.pop("evil_module", None)


def change(run: Path, **fields: object) -> None:
    path = run / "config.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | fields, sort_keys=False))


@pytest.mark.parametrize("command", COMMANDS)
def test_modules_are_imported_by_consent_only(foreign: Path, marker: Path, command: str) -> None:
    (foreign / "evil_module.py").write_text(EVIL.format(marker=marker))
    change(foreign, plugins=["evil_module"], plugin_folders=["."])
    for _ in range(2):
        with pytest.raises(RunError, match=r"evil_module: .*evil_module\.py \(sha256 [0-9a-f]{16}\)\n.*--trust"):
            COMMANDS[command](foreign)
    api.report(foreign)
    assert not marker.exists()
    COMMANDS[command](foreign, trust=True)
    assert marker.exists()
    COMMANDS[command](foreign)  # it is remembered
    with (foreign / "evil_module.py").open("a") as file:
        file.write("# other code\n")
    with pytest.raises(RunError, match="--trust"):
        COMMANDS[command](foreign)


@pytest.mark.parametrize("name", ["os", "antigravity", "this", "no_such_module", "..", "", "a/b", "json.tool"])
def test_installed_modules_need_consent_too(foreign: Path, name: str) -> None:
    change(foreign, plugins=[name])
    with pytest.raises(AgentcommError):
        api.evaluate(foreign)
    assert "antigravity" not in sys.modules
    assert "this" not in sys.modules


def test_an_own_run_with_a_module_that_somebody_else_changed(
    tmp_path: Path, marker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module in the run's folder travels with it; one outside of it is the user's own to change."""
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / "evil_module.py").write_text("")
    run = write_run(tmp_path, plugins=["evil_module"], plugin_folders=[str(folder)]).path
    assert yaml.safe_load((run / "config.yaml").read_text())["plugin_folders"] == ["."]
    api.messages(run)
    sys.modules.pop("evil_module")
    (folder / "evil_module.py").write_text(EVIL.format(marker=marker))
    with pytest.raises(RunError, match="--trust"):
        api.messages(run)
    assert not marker.exists()


@pytest.mark.parametrize("path", ["../outside", "{outside}", "/etc", "link", "../small/../outside", "../" * 30 + "etc"])
def test_files_outside_are_read_by_consent_only(foreign: Path, tmp_path: Path, path: str) -> None:
    outside = tmp_path / "outside"
    shutil.copytree(foreign / "teams/team-0/policy", outside)
    (foreign / "link").symlink_to(outside)
    path = path.format(outside=outside)
    evaluation = yaml.safe_load((foreign / "config.yaml").read_text())["evaluation"]
    change(foreign, evaluation=evaluation | {"attacks": [{"name": "learned", "policy": path}]})
    with pytest.raises(FileError, match="outside of its folder; repeat the command with --trust"):
        api.evaluate(foreign)


def test_paths_that_the_user_gives_may_be_anywhere(foreign: Path, tmp_path: Path) -> None:
    shutil.copytree(foreign / "teams/team-0/policy", tmp_path / "outside")
    with pytest.raises(AgentcommError, match="trained in environment"):  # it was read
        api.evaluate(foreign, [f"learned:policy={tmp_path / 'outside'}"])


def test_pickles_in_every_place_are_not_loaded(foreign: Path, marker: Path) -> None:
    trap = pickle.dumps(Trap(marker))
    files = [path for path in foreign.rglob("*") if path.is_file() and path.name != "config.yaml"]
    np.savez(foreign / "book.npz", codebook=np.array([Trap(marker)], object))
    (foreign / "checkpoints").mkdir()
    for path in [*files, foreign / "trace.csv", foreign / "samplers.pkl", foreign / "checkpoints" / "state.pkl"]:
        before = path.read_bytes() if path.exists() else None
        path.write_bytes(trap)
        for command in (api.report, api.evaluate, api.messages):
            try:
                command(foreign)
            except AgentcommError:
                continue
        if before is not None:
            path.write_bytes(before)
    for choice in (
        {"codec": {"name": "vq", "codebook": "book.npz"}},
        {"channels": [{"name": "trace", "file": "trace.csv"}]},
    ):
        with pytest.raises(AgentcommError):
            api.evaluate(foreign, conditions={"transports": [choice]})
    assert not marker.exists()
    pickle.loads(trap)
    assert marker.exists(), "the trap works"


def test_rows_of_other_names_write_nothing_outside(foreign: Path, tmp_path: Path) -> None:
    change(foreign, name="../../escaped")
    row = {"id": "../../x", "variant": "team", "seed": 0, "attack": {"label": "../../x"}, "status": "ok"}
    append_line(foreign / "cells.jsonl", row)
    before = sorted(tmp_path.parent.rglob("*"))
    api.report(foreign)
    with pytest.raises(AgentcommError):
        api.evaluate(foreign)
    assert {path.name for path in {*tmp_path.parent.rglob("*")} - {*before}} == {"report.html"}


def test_links_in_a_run_lead_nowhere_else(foreign: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text('{"secret": "do not show this"}\n')
    for name in ("config.yaml", "cells.jsonl", "episodes.json", "teams/team-0/progress.jsonl"):
        run = Path(shutil.copytree(foreign, tmp_path / name.replace("/", "-"), symlinks=True))
        (run / name).unlink()
        os.symlink(tmp_path / "secret", run / name)
        try:
            page = api.report(run).read_text()
        except AgentcommError as error:
            page = str(error)
        assert "do not show this" not in page


def test_the_key_is_readable_by_its_user_only(whole: Path) -> None:
    key = Path(os.environ["XDG_CONFIG_HOME"]) / "agentcomm" / "key"
    assert key.stat().st_mode & 0o777 == 0o600


def test_a_key_that_others_can_read_is_not_used(foreign: Path, tmp_path: Path) -> None:
    key = tmp_path / "settings" / "agentcomm" / "key"
    key.parent.mkdir(parents=True)
    key.write_text("00" * 32)
    key.chmod(0o644)
    (foreign / "other_module.py").write_text("")
    change(foreign, plugins=["other_module"], plugin_folders=["."])
    api.messages(foreign, trust=True)
    with pytest.raises(RunError, match="--trust"):
        api.messages(foreign)
