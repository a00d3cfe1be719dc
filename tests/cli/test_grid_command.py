"""``agentcomm grid``: it trains the teams that are missing, and a broken plug-in costs its own cells only."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from small import BASE, untrained

from agentcomm.base import registry
from agentcomm.base.plugin import Plugin
from agentcomm.conformance import quick
from agentcomm.contracts.attack import Attack
from agentcomm.contracts.channel import Channel, ChannelEffect, ChannelInput
from agentcomm.contracts.defense import Defense
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.threat_model import Position, ThreatModel
from agentcomm.contracts.verdicts import Verdicts
from agentcomm.contracts.views import MessageView
from agentcomm.runs.folder import Run

Command = Callable[..., Any]


class Overreaches(Attack):
    """Drops messages without the power to."""

    name = "overreaches"

    def threat_model(self) -> ThreatModel:
        return ThreatModel(Position(kind="edge"), frozenset({"read"}), budget=self.config.budget)

    def on_messages(self, view: MessageView) -> MessageEdits:
        return MessageEdits(drop=view.reach)


class Silent(Defense):
    """Gives no verdicts."""

    name, order = "silent", "content"

    def screen(self, delivered: Any, memory: Any) -> Verdicts:
        return None  # type: ignore[return-value]


class Unreachable(Channel):
    """Fails whenever it is used."""

    name = "unreachable"

    def carry(self, entering: ChannelInput, memory: Any) -> ChannelEffect:
        raise ConnectionError("no carrier")


def rows_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "cells.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.ray
def test_a_grid_trains_its_teams_and_evaluates_them(tmp_path: Path, command: Command, ray_running: Path) -> None:
    environment = BASE["environment"] | {"max_steps": 4}
    grid = {
        "name": "mine",
        "environments": [environment],
        "policies": [{"name": "commformer", "width": 8}, {"name": "ic3net", "width": 8}],
        "training": BASE["training"] | {"env_steps": 128},
        "control": False,
        "attacks": ["drop"],
        "defenses": ["clip"],
        "episodes": 4,
    }
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(grid), encoding="utf-8")
    said = command("grid", "grid.yaml", cwd=tmp_path).stdout
    runs = [tmp_path / "runs" / "mine" / f"predator_capture_prey-{policy}" for policy in ("commformer", "ic3net")]
    for run in runs:
        assert (run / "teams" / "team-0" / "policy" / "policy.safetensors").exists()
        rows = rows_of(run)
        assert len(rows) == 4, "no attack and drop, each with no defense and clip"
        assert {row["status"] for row in rows} == {"ok"}
        assert f"agentcomm report runs/mine/{run.name}" in said.replace("\n", " ")
    assert "already holds a run" in command("grid", "grid.yaml", cwd=tmp_path, code=2).stderr
    before = [(run / "cells.jsonl").read_bytes() for run in runs]
    command("grid", "grid.yaml", "--resume", cwd=tmp_path)
    assert [(run / "cells.jsonl").read_bytes() for run in runs] == before, "nothing is evaluated twice"


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registers an attack, a defense and a channel that break their contracts."""
    plugins: list[tuple[Any, type[Plugin]]] = [
        ("attack", Overreaches),
        ("defense", Silent),
        ("channel", Unreachable),
    ]
    for axis, plugin in plugins:
        monkeypatch.setitem(registry._registered, (axis, plugin.name), plugin)
    monkeypatch.setattr(quick, "_passed", set())


@pytest.mark.usefixtures("broken")
def test_a_broken_plug_in_costs_its_own_cells_only(tmp_path: Path, command: Command) -> None:
    run: Run = untrained(tmp_path, "control=false")
    grid = {
        "name": "mine",
        "runs": [str(run.path)],
        "attacks": ["drop", "overreaches"],
        "defenses": ["clip", "silent"],
        "conditions": {"transports": [{"channels": ["unreachable"]}]},
        "episodes": 4,
    }
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(grid), encoding="utf-8")
    said = command("grid", "grid.yaml", cwd=tmp_path, code=1)
    rows = rows_of(run.path)
    assert len(rows) == 18, "three attacks, three defenses, two transports"
    for row in rows:
        attack = row["attack"] and row["attack"]["name"]
        channels = row["conditions"]["transport"]["channels"]
        names = {attack, *(told["name"] for told in [*row["defenses"], *channels])}
        bad = names & {"overreaches", "silent", "unreachable"}
        assert (row["status"] == "failed") == bool(bad), (names, row.get("error"))
        assert not bad or any(name in row["error"] for name in bad), row["error"]
    assert "14 failed" in said.stderr
    assert "more than its threat model allows" in said.stderr
