"""Cells in several processes: the file is the same, whatever their number, and whatever was interrupted."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from small import untrained

from agentcomm import api
from agentcomm.base import registry, source
from agentcomm.base.errors import ConfigError
from agentcomm.contracts.attack import Attack, AttackConfig
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.threat_model import Position, ThreatModel
from agentcomm.contracts.views import MessageView
from agentcomm.evaluation.cells import plan
from agentcomm.evaluation.schedule import batches
from agentcomm.runs.choices import Choice
from agentcomm.runs.folder import Run

TIMED = {"seconds", "time"}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return untrained(tmp_path)


def rows_of(run: Run) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in run.cells.read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in TIMED} for row in rows]


def test_the_file_does_not_depend_on_processes_nor_on_interruptions(run: Run) -> None:
    grid: Any = (run, ["drop", "noise"], ["clip"], {"gates": ["random"]})
    seen: list[float] = []
    api.evaluate(*grid, jobs=2, watch=lambda cell, done, total: seen.append(done))
    parallel, lines = rows_of(run), run.cells.read_text().splitlines(keepends=True)
    assert [row["status"] for row in parallel] == ["ok"] * 8
    assert 0 == seen[0] < seen[-1] < 8
    run.cells.unlink()
    api.evaluate(*grid)
    assert rows_of(run) == parallel
    # kill -9: some cells are there, in the order in which they finished, and the last line is torn
    some = random.Random(0).sample(lines, 5)
    run.cells.write_text("".join(some)[:-40])
    api.evaluate(*grid)
    assert rows_of(run) == parallel
    assert torch.get_num_threads() >= 1
    before = run.cells.read_bytes()
    api.evaluate(*grid, jobs=2)
    assert run.cells.read_bytes() == before, "all cells are known, and no process is started"


def test_batches_share_their_clean_episodes_and_frequencies_of_gates(run: Run) -> None:
    settings = run.config.evaluation.changed({"gates": ["open", "random"]})
    attacks = [Choice(name="drop"), Choice(name="noise")]
    cells = plan(run, attacks, [(Choice(name="clip"),)], settings.expand(run.config.transport))
    found = [[(c.variant, c.attack_label, c.defense_label, c.conditions.gates) for c in b] for b in batches(cells)]
    team = [("team", attack, "none", None) for attack in ("none", "drop", "noise")]
    assert [*team, ("team", "none", "none", "random")] in found
    assert [("team", attack, "clip", None) for attack in ("none", "drop", "noise")] in found
    assert sum(map(len, found)) == len(cells)


class _Moody(Attack[AttackConfig]):
    Config = AttackConfig
    name = "moody"
    calls, fails = 0, True

    def threat_model(self) -> ThreatModel:
        return ThreatModel(Position(kind="edge"), frozenset({"drop"}), budget=self.config.budget)

    def on_messages(self, view: MessageView) -> MessageEdits:
        type(self).calls += 1
        if self.fails:
            raise ZeroDivisionError("not today")
        return MessageEdits(drop=view.reach.clone())


def test_failed_cells_are_kept_until_they_are_asked_for(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._registered, ("attack", "moody"), _Moody)
    monkeypatch.setattr(api, "check_used", lambda *given: None)
    first = api.evaluate(run, ["moody", "drop"], [])
    calls = _Moody.calls
    assert api.evaluate(run, ["moody", "drop"], []) == first
    assert _Moody.calls == calls, "a failed cell is not evaluated again without a word"
    monkeypatch.setattr(_Moody, "fails", False)
    again = api.evaluate(run, ["moody", "drop"], [], retry_failed=True)
    moody = [place for place, row in enumerate(again) if row["attack"] and row["attack"]["name"] == "moody"]
    assert [first[i]["status"] for i in moody] == ["failed"]
    assert [again[i]["status"] for i in moody] == ["ok"]
    assert rows_of(run) == [{key: value for key, value in row.items() if key not in TIMED} for row in again]


def test_a_failed_cell_whose_code_changed_is_evaluated_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from agentcomm.evaluation import identity

    monkeypatch.setitem(registry._registered, ("attack", "moody"), _Moody)
    monkeypatch.setattr(api, "check_used", lambda *given: None)
    api.evaluate(run, ["moody"], [])
    monkeypatch.setattr(_Moody, "fails", False)
    monkeypatch.setattr(identity, "code_hash", lambda plugin: "another")
    again = api.evaluate(run, ["moody"], [])
    assert {row["status"] for row in again} == {"ok"}
    assert [row.get("stale") is None for row in rows_of(run)].count(True) == len(again)


def test_rows_name_their_provenance(run: Run) -> None:
    found = api.evaluate(run, [], [])[0]["provenance"]
    commit, dirty = source.revision()
    assert (found["commit"], found["dirty"]) == (commit, dirty)
    assert (found["threads"], found["device"], found["torch"]) == (1, "cpu", torch.__version__)
    assert len(found["config"]) == 16
    assert found["cpu"]
    assert found["cores"] >= 1


def test_code_outside_of_a_repository_has_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "PACKAGE", tmp_path / "agentcomm")
    assert source.revision.__wrapped__() == (None, None)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"jobs": 0}, r"jobs: must be a whole number from 1 \(got 0\)"),
        ({"address": "there"}, "address: must be auto, or HOST:PORT"),
        ({"address": "auto", "jobs": 2}, "leave out jobs"),
    ],
)
def test_mistakes_name_their_argument(run: Run, given: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        api.evaluate(run, [], [], **given)
