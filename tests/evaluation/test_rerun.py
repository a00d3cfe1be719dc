"""A cell is run again from its row alone, and every number is compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small import untrained
from typer.testing import CliRunner

import agentcomm
from agentcomm import api
from agentcomm.base.errors import ConfigError, RunError
from agentcomm.cli.main import app
from agentcomm.evaluation import identity
from agentcomm.evaluation.rerun import Difference
from agentcomm.runs.folder import Run


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, str]:
    run = untrained(tmp_path_factory.mktemp("rerun"), "control=false")
    api.evaluate(run, ["drop:probability=0.5"], ["clip"], {"gates": ["random"]})
    return run, run.cells.read_text()


@pytest.fixture
def run(evaluated: tuple[Run, str]) -> Run:
    run, text = evaluated
    run.cells.write_text(text)
    return run


def test_cells_are_equal_bit_for_bit(run: Run) -> None:
    found = agentcomm.rerun(run.path, everything=True)
    assert [one.differences for one in found] == [()] * 5
    assert min(one.compared for one in found) > 50


def test_every_changed_number_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [json.loads(line) for line in run.cells.read_text().splitlines()]
    changed = next(row for row in rows if row["attack"])
    changed["metrics"]["success"] += 2**-50
    changed["gate_by_step"][0] = 7.0
    changed["seconds"], changed["time"] = 99.0, "yesterday"
    run.cells.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (found,) = api.rerun(run, changed["id"])
    assert [(d.field, d.recorded) for d in found.differences] == [
        ("metrics.success", changed["metrics"]["success"]),
        ("gate_by_step[0]", 7.0),
    ]
    done = CliRunner().invoke(app, ["rerun", str(run.path), changed["id"]])
    assert done.exit_code == 1
    assert "metrics.success: recorded" in done.output


def test_last_digits_are_told_from_other_numbers(run: Run) -> None:
    """A processor of another kind adds in another order; a count or a word is the same everywhere."""
    rows = [json.loads(line) for line in run.cells.read_text().splitlines()]
    row = next(row for row in rows if row["attack"])
    row["metrics"]["mean_steps"] *= 1 + 1e-9
    run.cells.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (found,) = api.rerun(run, row["id"])
    assert found.differences
    assert found.close
    done = CliRunner().invoke(app, ["rerun", str(run.path), row["id"]])
    assert (done.exit_code, "1 of 1 cells differ in the last digits of floats only" in done.output) == (1, True)
    assert not Difference("metrics.success", 0.5, 0.5001).slight
    assert not Difference("violations", 1, 2).slight
    assert not Difference("status", "ok", "failed").slight


def test_a_part_of_an_id_or_a_sample_will_do(run: Run) -> None:
    done = CliRunner().invoke(app, ["rerun", str(run.path), "gates random"])
    assert done.exit_code == 0, done.output
    assert "1 of 1 cells are equal bit for bit" in done.output
    chosen = [[one.id for one in api.rerun(run, sample=1, seed=seed)] for seed in (0, 0)]
    assert chosen[0] == chosen[1]


@pytest.mark.parametrize(("own", "jobs", "changed"), [("stale", 1, False), ("stale", 1, True), ("missing", 2, False)])
def test_random_gates_need_no_row_of_another_cell(run: Run, own: str, jobs: int, changed: bool) -> None:
    """The frequency of the team's own gates is found by running the cell without gate control."""
    rows = [json.loads(line) for line in run.cells.read_text().splitlines()]
    random = next(row for row in rows if row["conditions"]["gates"] == "random")
    for row in rows:
        row["stale"] = None if row is random else "agentcomm changed"
    kept = [row for row in rows if row is random or own == "stale"]
    run.cells.write_text("".join(json.dumps(row) + "\n" for row in kept))
    (found,) = api.rerun(run, random["id"], changed=changed, jobs=jobs)
    assert (found.id, found.differences) == (random["id"], ())


def test_stale_cells_are_refused_and_say_what_changed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "core_hash", lambda: "another")
    with pytest.raises(RunError, match=r"5 of 5 cells cannot be run again.*stale.*\n.*: agentcomm changed"):
        api.rerun(run, everything=True)


def test_mistakes_say_which_cells_there_are(run: Run) -> None:
    with pytest.raises(ConfigError, match=r"no cell has 'nois' in its id; cells are:\n  team-0\|none"):
        api.rerun(run, "nois")
    with pytest.raises(ConfigError, match=r"'drop' is a part of 2 ids; name one of them whole"):
        api.rerun(run, "drop")
    with pytest.raises(ConfigError, match="name one cell"):
        api.rerun(run)
    with pytest.raises(ConfigError, match="sample: must be from 1 to 5"):
        api.rerun(run, sample=9)


def test_nothing_was_evaluated(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="evaluate it first"):
        api.rerun(untrained(tmp_path), everything=True)
