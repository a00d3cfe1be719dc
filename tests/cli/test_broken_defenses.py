"""A cell in which a defense fails: the error names the defense, in the terminal, too, and the other cells go on."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small import untrained

from agentcomm import api
from agentcomm.base import registry
from agentcomm.contracts.defense import Defense
from agentcomm.contracts.verdicts import Verdicts


class Broken(Defense):
    """Breaks its contract."""

    name = "broken"
    order = "content"

    def screen(self, delivered: Any, memory: Any) -> Verdicts:
        return Verdicts(scale=torch.full(delivered.present.shape, math.nan))


class Silent(Broken):
    name = "silent"

    def screen(self, delivered: Any, memory: Any) -> Any:
        return None


class Crashing(Broken):
    name = "crashing"

    def screen(self, delivered: Any, memory: Any) -> Verdicts:
        raise ZeroDivisionError("inside the defense")


BLAMED: list[tuple[type[Defense], str]] = [
    (Broken, r"NumberError: defense 'broken': scale (screen), round 0, of agent "),
    (
        Silent,
        "HookError: defense 'silent': screen must return Verdicts(...), but returned None (",
    ),
    (Crashing, "HookError: defense 'crashing' failed in screen: ZeroDivisionError: inside the defense ("),
]


@pytest.mark.parametrize(("plugin", "text"), BLAMED)
def test_a_defense_that_breaks_its_contract(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Callable[..., Any], plugin: type[Defense], text: str
) -> None:
    run = untrained(tmp_path)
    monkeypatch.setattr(api, "check_used", lambda *_: None)  # which finds them before any cell is evaluated
    monkeypatch.setitem(registry._registered, ("defense", plugin.name), plugin)
    said = command("evaluate", str(run.path), "--attack", "drop", "--defense", plugin.name, cwd=run.path, code=1)
    assert f"no attack / {plugin.name}: {text}" in said.stderr
    assert f"drop / {plugin.name}: {text}" in said.stderr
    rows = [json.loads(line) for line in run.cells.read_text().splitlines()]
    spoiled = [row for row in rows if row["defenses"]]
    assert len(spoiled) == 2
    assert all(row["status"] == "failed" and row["error"].startswith(text) and "metrics" not in row for row in spoiled)
    assert all(row["status"] == "ok" for row in rows if row not in spoiled)
