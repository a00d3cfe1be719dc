"""The command ``export``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from agentcomm.cli.export import FORMATS as OFFERED
from agentcomm.export import FORMATS

CELL = {"format": 2, "id": "a", "variant": "team", "seed": 0, "status": "ok", "metrics": {"mean_return": 0.5}}


def test_the_command_writes_every_format(tmp_path: Path, command: Callable[..., Any]) -> None:
    folder = tmp_path / "runs" / "mine"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({"name": "mine"}))
    (folder / "cells.jsonl").write_text(json.dumps(CELL) + "\n")
    assert set(OFFERED) == set(FORMATS)
    for name in FORMATS:
        said = command("export", "runs/mine", "--format", name, "--output", f"out.{name}", cwd=tmp_path)
        assert f"The cells are in out.{name}" in said.stdout
        assert (tmp_path / f"out.{name}").stat().st_size > 50
    wrong = command("export", "runs/mine", "--format", "xml", "--output", "x", cwd=tmp_path, code=2)
    assert "there is no format 'xml'" in wrong.stderr
    nowhere = command("export", "runs/mine", "--format", "csv", "--output", "no/such/x.csv", cwd=tmp_path, code=2)
    assert "cannot write to no/such" in nowhere.stderr
