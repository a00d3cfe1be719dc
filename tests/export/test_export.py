"""Exported cells read back as what they were."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import agentcomm
from agentcomm.base.errors import ConfigError, RunError
from agentcomm.export.latex import escaped

METRICS = ("mean_steps", "success")


def cell(variant: str, seed: int, attack: str | None, defense: str, **more: Any) -> dict[str, Any]:
    """A line of ``cells.jsonl`` whose numbers tell the place of the cell."""
    steps = 5 + 0.1 + seed / 3 + len(attack or "") + len(defense) / 7
    return {
        "format": 2,
        "id": f"{variant}-{seed}|{attack}|{defense}",
        "variant": variant,
        "seed": seed,
        "environment": {"name": "Predator_Prey", "arguments": {"size": 5}},
        "conditions_label": "",
        "attack": attack and {"name": attack, "label": attack, "arguments": {"p": 0.5}, "assumes": {}},
        "defense_label": defense,
        "training": {"env_steps": 400_000, "seconds": 1.5},
        "status": "ok",
        "score": {"metric": "mean_steps", "unit": "steps", "better": "lower"},
        "metrics": {"mean_steps": steps, "success": 1 / (3 + steps), "gate_open": 1.0},
        "ledger": {"sent": 2**40 + seed, "refused_by.clip": 3},
        "graph": [[0, 1], [1, 0]],
        "seconds": 0.1,
    } | more


def run(root: Path, name: str, cells: list[dict[str, Any]]) -> Path:
    """A run folder with these cells."""
    folder = root / "runs" / name
    folder.mkdir(parents=True)
    config = {"name": name, "environment": {"name": "predator_prey"}, "policy": {"name": "mat"}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "cells.jsonl").write_text("".join(json.dumps(row) + "\n" for row in cells))
    return folder


def grid(
    seeds: int = 6, attacks: tuple[str, ...] = ("drop", "noise"), defenses: tuple[str, ...] = ("clip",)
) -> list[dict[str, Any]]:
    """Every attack by every defense, and the team without messages."""
    places = [(a, d) for a in (None, *attacks) for d in ("none", *defenses)]
    cells = [cell("team", seed, a, d) for seed in range(seeds) for a, d in places]
    return cells + [cell("control", seed, None, "none") for seed in range(seeds)]


def whole(layout: dict[str, Any]) -> None:
    """What marl-eval's DiagnoseData asks for: equal algorithms, runs, steps and metrics within an environment."""
    for environment, tasks in layout.items():
        assert environment == environment.lower()
        runs = [algorithm for task in tasks.values() for algorithm in task.values()]
        steps = [step for seeds in runs for step in seeds.values()]
        assert len({tuple(sorted(task)) for task in tasks.values()}) == 1
        assert len({tuple(seeds) for seeds in runs}) == 1
        assert {tuple(step) for step in steps} == {("step_1", "absolute_metrics")}
        metrics = [set(part) - {"step_count"} for step in steps for part in step.values()]
        assert all(part == metrics[0] for part in metrics)
        numbers = [value for step in steps for value in step["absolute_metrics"].values()]
        assert all(isinstance(value, list) and np.isfinite(value).all() for value in numbers)


def test_marl_eval_reads_attacks_as_tasks_and_defenses_as_algorithms(tmp_path: Path) -> None:
    folders = [run(tmp_path, "one", grid()), run(tmp_path, "two", grid(attacks=("noise", "drop", "replay")))]
    made = agentcomm.export(folders, "marl-eval", tmp_path / "cells.json")
    layout = json.loads(made.path.read_text())
    whole(layout)
    tasks = layout["predator_prey"]
    assert list(tasks) == ["no attack", "drop", "noise"]
    assert list(tasks["drop"]) == ["one", "one + clip", "two", "two + clip"]
    for seed in range(6):
        found = tasks["drop"]["two + clip"][f"seed_{seed}"]
        truth = cell("team", seed, "drop", "clip")["metrics"]
        assert found["step_1"] == {"step_count": 400_000} | {name: [value] for name, value in truth.items()}
        assert found["absolute_metrics"] == {name: [value] for name, value in truth.items()}
    left_out = " ".join(made.notes)
    assert "tasks" in left_out
    assert "replay" in left_out
    assert "one without messages, two without messages" in left_out


def test_marl_eval_leaves_out_what_is_not_everywhere_and_says_so(tmp_path: Path) -> None:
    cells = grid(seeds=3)
    cells[1] |= {"status": "failed", "metrics": {}, "error": "broke"}
    cells[-4]["metrics"]["harm"] = 1.0
    made = agentcomm.export(run(tmp_path, "mine", cells), "marl-eval", tmp_path / "cells.json")
    layout = json.loads(made.path.read_text())
    whole(layout)
    assert list(layout["predator_prey"]["noise"]["mine"]) == ["seed_1", "seed_2"]
    assert any("seeds" in note and note.endswith(": 0") for note in made.notes)
    assert any("metrics" in note and note.endswith(": harm") for note in made.notes)
    clean = [row for row in grid(2, ()) if row["defense_label"] == "none"]
    agentcomm.export(run(tmp_path, "clean", clean), "marl-eval", tmp_path / "clean.json")
    assert list(json.loads((tmp_path / "clean.json").read_text())["predator_prey"]["no attack"]) == [
        "clean",
        "clean without messages",
    ]


def test_csv_has_a_row_per_cell_in_full_precision(tmp_path: Path) -> None:
    cells = grid(2)
    odd = {"label": 'drop "half", n=1\nor 2', "name": "drop", "arguments": {"p": 0.5}}
    found = {"clip": {"auroc": 0.75, "curve": [[0, 0.5]]}}
    cells.append(cell("team", 0, "x", "none", detection=found) | {"attack": odd})
    made = agentcomm.export(run(tmp_path, "mine", cells), "csv", tmp_path / "cells.csv")
    with made.path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(cells)
    assert list(rows[0])[:4] == ["run", "variant", "seed", "policy"]
    for row, truth in zip(rows, cells, strict=True):
        assert float(row["metrics.success"]) == truth["metrics"]["success"]
        assert int(row["ledger.sent"]) == truth["ledger"]["sent"]
        assert int(row["ledger.refused_by.clip"]) == 3
        assert json.loads(row["graph"]) == truth["graph"]
        assert row["attack.label"] == (truth["attack"] or {"label": ""})["label"]
    assert json.loads(rows[-1]["attack.arguments"]) == {"p": 0.5}
    assert rows[-1]["detection.clip.auroc"] == "0.75"
    assert rows[0]["detection.clip.auroc"] == ""


def test_parquet_has_typed_columns(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    cells = [*grid(2), cell("team", 3, None, "none", status="failed", metrics={}, seconds=0)]
    cells[0]["metrics"]["gate_open"] = 1  # an int among floats
    made = agentcomm.export(run(tmp_path, "mine", cells), "parquet", tmp_path / "cells.parquet")
    table = parquet.read_table(made.path)
    types = {name: str(table.schema.field(name).type) for name in table.column_names}
    assert (types["seed"], types["metrics.gate_open"], types["attack.label"]) == ("int64", "double", "string")
    rows = table.to_pylist()
    assert [row["metrics.success"] for row in rows] == [row["metrics"].get("success") for row in cells]
    assert rows[-1]["attack.label"] is None


def test_parquet_without_pyarrow_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=r"needs pyarrow.*pip install pyarrow.*csv"):
        agentcomm.export(run(tmp_path, "mine", grid(1)), "parquet", tmp_path / "cells.parquet")


def test_latex_has_attacks_by_defenses_with_intervals(tmp_path: Path) -> None:
    cells = [*grid(6), cell("team", 0, "a_b&c", "none", metrics={}, status="failed")]
    text = agentcomm.export(run(tmp_path, "my_run", cells), "latex", tmp_path / "t.tex").path.read_text()
    lines = text.splitlines()
    assert r"my\_run: mean steps in steps, mean over 6 seeds with 95\% intervals." in text
    assert r"attack & no defense & clip \\" in lines
    values = [cell("team", seed, "drop", "clip")["metrics"]["mean_steps"] for seed in range(6)]
    found = agentcomm.statistics.estimate(values, agentcomm.statistics.POSITIVE)
    low, high = found.interval
    row = next(line for line in lines if line.startswith("drop &"))
    assert row.endswith(rf"{found.value:.2f} {{\footnotesize [{low:.2f}, {high:.2f}]}} \\")
    assert r"a\_b\&c & failed &  \\" in lines
    assert text.count("{") == text.count("}")
    few = agentcomm.export(run(tmp_path, "few", grid(4)), "latex", tmp_path / "few.tex").path.read_text()
    assert "footnotesize" not in few
    assert "intervals" not in few


def test_text_for_latex_cannot_be_commands() -> None:
    assert escaped("50% of \\input{x}_$^~#&\n") == (
        r"50\% of \textbackslash{}input\{x\}\_\$\textasciicircum{}\textasciitilde{}\#\& "
    )


def test_runs_that_cannot_be_exported(tmp_path: Path) -> None:
    folder = run(tmp_path, "mine", grid(1))
    with pytest.raises(ConfigError, match="several runs are called mine"):
        agentcomm.export([folder, folder], "csv", tmp_path / "x.csv")
    with pytest.raises(RunError, match="no run at"):
        agentcomm.export(tmp_path / "nothing", "csv", tmp_path / "x.csv")
    with pytest.raises(RunError, match="no evaluated cell"):
        agentcomm.export(run(tmp_path, "empty", []), "csv", tmp_path / "x.csv")
