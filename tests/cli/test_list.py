"""What ``agentcomm list`` shows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from small import small_data

from agentcomm.base import registry
from agentcomm.cli import catalog
from agentcomm.cli.screen import console

Command = Callable[..., Any]
PLUGIN = '''
"""gentle_{0}: drop few messages."""
from agentcomm.base.registry import register
from attacks.external.drop import Drop, DropConfig

class GentleConfig(DropConfig):
    probability: float = 0.1

@register("attack", "gentle_{0}")
class Gentle(Drop):
    Config = GentleConfig
'''


def test_the_overview_fits_a_screen(tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "width", 80)
    lines = command("list", cwd=tmp_path).stdout.splitlines()
    monkeypatch.setattr(console, "width", 80)
    assert len(lines) <= 40
    words = set(" ".join(lines).split())
    assert [name for axis in registry.AXES for name in registry.names(axis) if name not in words] == []


@pytest.mark.parametrize("axis", registry.AXES)
def test_an_axis_is_a_line_per_plug_in(axis: registry.Axis, tmp_path: Path, command: Command) -> None:
    lines = command("list", registry.PLURAL[axis], cwd=tmp_path).stdout.splitlines()
    found = [line.split()[0] for line in lines[2:] if line.strip() and line[0] != " "]
    assert found[: len(registry.names(axis))] == registry.names(axis)


@pytest.mark.parametrize("axis", registry.AXES)
def test_everything_about_one_plug_in_is_shown(axis: registry.Axis, tmp_path: Path, command: Command) -> None:
    for name in registry.names(axis):
        said = command("list", axis, name, cwd=tmp_path).stdout
        flat = " ".join(said.split())
        about = catalog.describe(axis, name)
        assert about["summary"]
        assert flat.startswith(f"{name} ({axis}, version ")
        assert "example: agentcomm " in said
        for argument in about["arguments"]:
            assert f"{argument['name']}: {argument['accepts']}" in flat
            assert argument["description"]


def test_a_threat_model_is_shown(tmp_path: Path, command: Command) -> None:
    said = command("list", "attacks", "gradient", cwd=tmp_path).stdout
    for text in ("position: edge", "powers: modify, read; knows: policy", "epsilon: a number of at least 0; default 1"):
        assert text in said
    assert (
        json.loads(command("list", "attack", "gradient", "--json", cwd=tmp_path).stdout)["threat"]["knowledge"]
        == "policy"
    )


def test_plug_ins_of_ones_own_are_listed(tmp_path: Path, command: Command) -> None:
    for word in ("a", "b"):
        (tmp_path / f"gentle_module_{word}.py").write_text(PLUGIN.format(word))
    data = small_data(plugins=["gentle_module_a"])
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    assert "gentle_a" in command("list", "--config", "c.yaml", "attacks", cwd=tmp_path).stdout
    assert "gentle_b" in command("list", "attacks", "--plugins", "gentle_module_b", cwd=tmp_path).stdout
    assert "probability: a number" in command("list", "attacks", "gentle_b", cwd=tmp_path).stdout
