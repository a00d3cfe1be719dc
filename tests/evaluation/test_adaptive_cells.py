"""Each defense is also evaluated under the attacks that are aimed at it, and without them it is not tested."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from small import untrained

from agentcomm import api
from agentcomm.cli import tables
from agentcomm.evaluation.metrics import measure_suites
from agentcomm.report.claims import Claims
from agentcomm.report.defenses import defenses
from agentcomm.report.results import Results
from agentcomm.runs.folder import Run
from agentcomm.runs.grid_config import parse_grid


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return untrained(tmp_path, "seeds=[0]", "evaluation.episodes=8", "evaluation.recordings=0")


def shown(rows: list[dict[str, Any]]) -> str:
    console = Console(width=200, file=StringIO())
    console.print(tables.adaptive(rows))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_grid_adds_the_attacks_that_are_aimed_at_a_defense(run: Run) -> None:
    rows = api.evaluate(run, ["drop"], ["clip", "authenticate"], adaptive=True)
    added = {(row["attack"]["name"], row["defense_label"]) for row in rows if row["adaptive"]}
    assert added == {("rewrite", "clip"), ("noise", "clip"), ("sleeper", "authenticate"), ("late", "authenticate")}
    assert all(row["status"] != "failed" for row in rows)
    assert {row["defense_label"] for row in rows if row["attack"] and row["attack"]["name"] == "drop"} == {
        "none",
        "clip",
        "authenticate",
    }
    results = Results(rows)
    assert results.attacks == ["drop"]
    assert {len(results.aimed[name]) for name in ("clip", "authenticate")} == {2}
    said = " ".join(map(str, defenses(results, Claims(results))))
    assert "aims at its weakness" in said
    assert "Not tested" not in said
    assert "not tested" not in shown(rows)
    assert "authenticate" in shown(rows)


def test_a_defense_without_them_is_not_tested(run: Run) -> None:
    rows = api.evaluate(run, ["drop"], ["clip"])
    assert not any(row["adaptive"] for row in rows)
    results = Results(rows)
    assert "Not tested" in " ".join(map(str, defenses(results, Claims(results))))
    assert "not tested" in shown(rows)


def test_attacks_that_do_not_fit_the_team_are_left_out(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from agentcomm.defenses.clip import Clip

    monkeypatch.setattr(Clip, "adaptive", ("poisoned_cache", "late"))  # no directory here
    rows = api.evaluate(run, [], ["clip"], adaptive=True)
    assert [row["attack"]["name"] for row in rows if row["adaptive"]] == ["late"]


def test_a_grid_can_ask_for_them() -> None:
    grid = {"name": "mine", "environments": ["predator_prey"], "policies": ["ic3net"], "defenses": ["clip"]}
    assert not parse_grid(grid).adaptive
    assert parse_grid(grid | {"adaptive": True}).adaptive


def test_they_do_not_count_in_the_average_over_attacks() -> None:
    def row(
        score: float, attack: str | None, defense: str, variant: str = "team", aimed: bool = False
    ) -> dict[str, Any]:
        about = None if attack is None else {"label": attack, "threat": {"knowledge": "none"}}
        fields = {"variant": variant, "seed": 0, "defense_label": defense, "conditions_label": "", "status": "ok"}
        fields |= {"decisions": "greedy", "environment": {}, "attack": about, "metrics": {"mean_steps": score}}
        return fields | {"score": {"metric": "mean_steps", "better": "lower"}, "adaptive": aimed}

    rows = [row(5, None, "none"), row(15, None, "none", "control"), row(10, "noise", "none")]
    rows += [row(5, None, "clip"), row(8, "noise", "clip"), row(13, "rewrite", "clip", aimed=True)]
    clip = measure_suites(rows)[1]
    assert clip.over["retained_fraction"] == pytest.approx(0.7)
    assert clip.over["worst_retained_fraction"] == pytest.approx(0.2)
    assert clip.over["adaptive_gain"] == pytest.approx(5)
