"""The commands that train nothing: what they list, say of themselves, and say of mistakes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from small import small, small_data

from agentcomm.base.risks import RISKS
from agentcomm.cli.main import app
from agentcomm.runs.folder import create

Command = Callable[..., Any]


def test_a_report_before_any_cell_is_refused(tmp_path: Path, command: Command) -> None:
    create(small(), tmp_path / "runs")
    assert "agentcomm evaluate" in command("report", "runs/small", cwd=tmp_path, code=2).stderr
    assert "did you mean 'small'" in command("report", "runs/smal", cwd=tmp_path, code=2).stderr


def test_mistakes_on_the_command_line_are_one_clear_line(tmp_path: Path, command: Command) -> None:
    data = small_data("environment.name=predator_pray")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    said = command("train", "config.yaml", cwd=tmp_path, code=2)
    assert said.stderr.startswith("error: unknown environment 'predator_pray'; did you mean 'predator_prey'")
    assert len(said.stderr.splitlines()) == 1
    assert not (tmp_path / "runs").exists()
    assert "did you mean 'attacks'" in command("list", "atacks", cwd=tmp_path, code=2).stderr


def test_risks_are_listed_with_the_attacks_that_carry_them_out(tmp_path: Path, command: Command) -> None:
    listed = json.loads(command("list", "risks", "--json", cwd=tmp_path).stdout)
    assert len(listed) == 30
    assert all(bool(risk["attacks"]) != bool(risk["absent"]) for risk in listed), (
        "each is carried out, or it is said why not"
    )
    assert "sybil" in command("list", "risks", cwd=tmp_path).stdout


def test_countermeasures_are_listed_with_the_defenses_that_carry_them_out(tmp_path: Path, command: Command) -> None:
    listed = json.loads(command("list", "countermeasures", "--json", cwd=tmp_path).stdout)
    assert len(listed) == 30
    assert all(bool(measure["defenses"]) != bool(measure["absent"]) for measure in listed), (
        "each is carried out, or it is said why not"
    )
    assert {risk for measure in listed for risk in measure["against"]} == RISKS.keys()
    assert (
        "quarantine"
        in command("list", "countermeasures", "aa.l2.behavior_auditing_and_responsibility_tracing", cwd=tmp_path).stdout
    )


def test_list_shows_every_axis_and_json(tmp_path: Path, command: Command) -> None:
    said = command("list", cwd=tmp_path).stdout
    for word in ("predator_capture_prey", "commformer", "impersonate", "authenticate"):
        assert word in said
    attacks = json.loads(command("list", "attacks", "--json", cwd=tmp_path).stdout)
    drop = next(a for a in attacks if a["name"] == "drop")
    assert drop["risks"]
    assert all(argument["description"] for argument in drop["arguments"])
    defenses = {d["name"]: d for d in json.loads(command("list", "defenses", "--json", cwd=tmp_path).stdout)}
    assert defenses["authenticate"]["needs_seal"]
    assert (defenses["median"]["hooks"], defenses["median"]["lossless"]) == (["aggregate", "screen"], False)


def test_every_command_explains_itself(tmp_path: Path, command: Command) -> None:
    names = [c.name or c.callback.__name__ for c in app.registered_commands if c.callback]
    assert sorted(names) == [
        "audit",
        "certify",
        "check",
        "compare",
        "demo",
        "evaluate",
        "export",
        "grid",
        "init",
        "list",
        "messages",
        "new",
        "play",
        "proxy",
        "report",
        "rerun",
        "train",
    ]
    for name in names:
        assert "Usage" in command(name, "--help", cwd=tmp_path).stdout
