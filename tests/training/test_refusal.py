"""A training that is refused leaves no folder, unless there is something in it to look at."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import pytest
import ray
from small import small

from agentcomm import api
from agentcomm.base.errors import AgentcommError, ConfigError, HookError, PluginError, RayError
from agentcomm.runs.folder import claim
from agentcomm.training.refusal import removed_if_refused

NO_CLUSTER = "127.0.0.1:1"


def refused(root: Path, error: AgentcommError, wrote: str = "") -> bool:
    """Whether the folder of a new run is removed after an error, and something that was written."""
    config = small(f"name=run-{len(list(root.iterdir()))}")
    with suppress(AgentcommError), claim(config, root) as run, removed_if_refused(run):
        run.write_config()
        (run.path / "teams" / "team-0").mkdir(parents=True)
        if wrote:
            (run.path / wrote).touch()
        raise error
    return not (root / config.name).exists()


def test_an_address_without_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)  # other tests may have one
    with pytest.raises(RayError, match="no Ray cluster answers"):
        api.train(small(), root=tmp_path, address=NO_CLUSTER)
    assert not list(tmp_path.iterdir())


def test_a_logger_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.delitem(sys.modules, "agentcomm.training.wandb_logger", raising=False)
    with pytest.raises(PluginError):
        api.train(small("training.loggers=wandb"), root=tmp_path)
    assert not list(tmp_path.iterdir())


def test_far_more_runners_than_cores(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"training\.runners 999: this machine has \d+ cores, .*; lower it"):
        api.train(small("training.runners=999"), root=tmp_path)
    with pytest.raises(ConfigError, match=r"training\.runners 999 for each of 2 teams at a time"):
        api.train(small("training.runners=999"), root=tmp_path, jobs=2)
    assert not list(tmp_path.iterdir())


def test_what_is_worth_a_look_is_kept(tmp_path: Path) -> None:
    assert refused(tmp_path, ConfigError("training.device is a GPU"))
    assert not refused(tmp_path, ConfigError("cannot go on"), wrote="teams/team-0/progress.jsonl")
    assert not refused(tmp_path, HookError("a plug-in raised"))
    assert not refused(tmp_path, RayError(f"Ray did not start. Details: {tmp_path / 'run-2' / 'ray.log'}"))


def test_what_was_there_before_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "notes.txt").touch()
    with pytest.raises(RayError):
        api.train(small(), root=tmp_path, address=NO_CLUSTER)
    assert (tmp_path / "small" / "notes.txt").exists()
