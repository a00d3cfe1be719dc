"""The command certify: a table, and rows in the run's folder that replace earlier ones about the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small import as_initialized, small

from agentcomm import api
from agentcomm.base.errors import ConfigError, RequirementError
from agentcomm.runs.folder import create

TEAM: dict[str, Any] = {
    "environment": {"name": "agreement", "members": 5, "max_steps": 3},
    "policy": {"name": "commformer", "width": 8, "blocks": 0, "topology": {"name": "full"}},
    "seeds": [0, 1],
    "control": False,
}


def test_certificates_are_printed_and_kept(tmp_path: Path, command: Callable[..., Any]) -> None:
    run = as_initialized(create(small(**TEAM), tmp_path))
    words = ("certify", str(run.path), "--attack-links", "1", "--attack-links", "2", "--episodes", "4")
    said = command(*words, "--defense", "ensemble:k=1", cwd=tmp_path)
    assert "r = 3" in said.stdout
    path = run.path / "certificates.jsonl"
    first = [json.loads(line) for line in path.read_text().splitlines()]
    assert {row["seed"] for row in first} == {0, 1}
    assert [row["certificate"] for row in first if row["seed"] == 0] == ["reach", "reach", "robustness", "vote", "vote"]
    for row in first:
        assert row.get("certified", 0) <= row.get("decisions", 0)
    admissible = [row["admissible"] for row in first if row["certificate"] == "vote" and row["seed"] == 0]
    assert admissible == [True, False]
    api.certify(run.path, (1,), defense="ensemble:k=1", episodes=4)
    assert sorted(path.read_text().splitlines()) == sorted(map(json.dumps, first))
    rows = api.certify(run.path, (), (1,), episodes=2)
    assert [row["attacker"] for row in rows if row["certificate"] == "reach"] == ["nodes", "nodes"]
    smooth = api.certify(run.path, (), defense="smoothing:samples=8", episodes=2)
    assert {row["certificate"] for row in smooth} == {"robustness", "smoothing"}
    assert all(row["radius_least"] <= row["radius_most_possible"] for row in smooth if "radius_least" in row)


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    run = as_initialized(create(small(**TEAM | {"seeds": [0]}), tmp_path))
    for arguments in ({"attack_links": (0,)}, {"attack_nodes": (1.5,)}, {"episodes": 0}, {"decisions": "often"}):
        with pytest.raises(ConfigError, match=next(iter(arguments))):
            api.certify(run.path, **arguments)  # type: ignore[arg-type]
    with pytest.raises(RequirementError, match="smaller k"):
        api.certify(run.path, defense="ensemble:k=4", episodes=2)
