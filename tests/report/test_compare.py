"""Comparisons of runs: numbers by hand, what is refused, and what is said with few seeds."""

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import synthetic
import yaml

import agentcomm
from agentcomm.base.errors import ConfigError, FileError, RunError
from agentcomm.cli.main import app
from agentcomm.report.compare import RunComparison, Value, compare_runs
from agentcomm.report.compare_page import headline, page
from agentcomm.report.compare_tables import reading, tables

ATTACK = "drop(probability=0.5)"


def write(folder: Path, scores: dict[int, tuple[float, float]], floor: float = 14.0, **changes: Any) -> Path:
    """A run with a clean and an attacked score of each seed, and a team without messages."""
    rng = synthetic.np.random.default_rng(0)
    rows = []
    for seed, (clean, attacked) in scores.items():
        rows.append(synthetic.cell(rng, "control", seed, None, "none", floor))
        rows.append(synthetic.cell(rng, "team", seed, None, "none", clean))
        rows.append(synthetic.cell(rng, "team", seed, ATTACK, "none", attacked))
        rows[-1]["effect"] = {"damage": attacked - clean, "success": 0.4 + 0.01 * seed, "predicate": "fewer steps"}
    for row in rows:
        row |= changes.get("row", {})
    folder.mkdir(parents=True)
    config = synthetic.config(folder.name, list(scores)) | changes.get("config", {})
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    synthetic.write_cells(folder, rows)
    return folder


def ten(clean: float, attacked: float, shift: int = 0) -> dict[int, tuple[float, float]]:
    """Ten seeds around two scores, the differences of which vary a little."""
    return {shift + s: (clean + 0.1 * s, attacked + 0.1 * s + 0.01 * (s % 3)) for s in range(10)}


def value(made: RunComparison, quantity: str, run: str, attack: str | None = ATTACK) -> Value:
    found = [
        x for x in made.lines if x.quantity.key == quantity and x.attack == (attack if x.quantity.attacked else None)
    ]
    return found[0].values[run]


def test_differences_are_paired_by_seed_and_adjusted_together(tmp_path: Path) -> None:
    one, other = write(tmp_path / "one", ten(6, 9)), write(tmp_path / "other", ten(6.5, 11))
    made = compare_runs([one, other])
    score, damage = value(made, "score", "other"), value(made, "damage", "other")
    assert (score.comparison, damage.comparison) != (None, None)
    assert score.comparison is not None
    assert damage.comparison is not None
    assert score.comparison.difference.value == pytest.approx(0.5)
    assert damage.comparison.difference.value == pytest.approx(1.5)
    assert damage.comparison.p == pytest.approx(2 / 2**10)
    compared = [v.comparison for line in made.lines for v in line.values.values() if v.comparison]
    smallest = sorted(c.p for c in compared)
    assert damage.comparison.adjusted == pytest.approx(len(compared) * smallest[0])
    assert damage.comparison.supported
    same = value(made, "attack_success", "other").comparison
    assert same is not None
    assert (same.difference.value, same.supported) == (0, False)
    assert value(made, "worth", "one").estimate.value == pytest.approx(14 - 6.45)
    assert value(made, "score", "one").comparison is None


def test_runs_without_common_seeds_are_compared_as_groups(tmp_path: Path) -> None:
    made = compare_runs([write(tmp_path / "one", ten(6, 9)), write(tmp_path / "other", ten(8, 9, shift=5))])
    comparison = value(made, "score", "other").comparison
    assert comparison is not None
    assert comparison.difference.method == "Welch's t"
    assert comparison.difference.value == pytest.approx(2.0)
    assert comparison.p < 1e-4
    fewer = compare_runs([tmp_path / "one", write(tmp_path / "part", {s: (7.0 + s, 9.0) for s in (0, 3, 5)})])
    part = value(fewer, "score", "part").comparison
    assert part is not None
    assert (part.seeds, part.difference.interval) == (3, None)  # paired with the three that the first has, too


def test_few_seeds_are_shown_without_claims(tmp_path: Path) -> None:
    scores = {s: (6.0 + 0.1 * s, 9.0) for s in range(3)}
    made = compare_runs([write(tmp_path / "one", scores), write(tmp_path / "other", dict.fromkeys(scores, (60, 90)))])
    assert not any(v.comparison.supported for line in made.lines for v in line.values.values() if v.comparison)
    text = page(made)
    assert "seeds 6.00, 6.10, 6.20" in text
    assert "too few seeds for claims" in headline(made)
    assert "The smallest run has 3 seeds. Claims need 10" in text
    assert not re.search(r"\bp [0<]|told from chance|stands", text.partition("<main>")[2])


def test_what_differs_is_named_first(tmp_path: Path) -> None:
    policy = {"name": "ic3net", "topology": {"name": "full"}}
    one = write(tmp_path / "one", ten(6, 9), row={"provenance": {"commit": "a" * 40, "dirty": True}})
    other = write(tmp_path / "other", ten(6, 9), config={"policy": policy}, row={"episodes": 512})
    made = compare_runs([one, other])
    differs = {row.what: list(row.values.values()) for row in made.differs}
    assert differs["policy.name"] == ["commformer", "ic3net"]
    assert differs["policy.topology.degree"] == ["1", "\N{EM DASH}"]
    assert differs["episodes per cell"] == ["2048", "512"]
    assert differs["commit of the code"] == ["aaaaaaaaaaaa with changes", "\N{EM DASH}"]
    assert "name" not in differs
    text = page(made)
    assert text.index("policy.topology.degree") < text.index('id="clean"')


def test_other_environments_compare_only_what_means_the_same(tmp_path: Path) -> None:
    environment = {"environment": {"name": "reactor"}}
    one = write(tmp_path / "one", ten(6, 9))
    other = write(tmp_path / "other", ten(60, 90), floor=140.0, config=environment)
    made = compare_runs([one, other])
    for quantity in ("score", "worth", "damage"):
        found = value(made, quantity, "other")
        assert (found.comparison, found.refused) == (None, "the environments differ"), quantity
    kept = value(made, "retained", "one")
    assert kept.estimate.value == pytest.approx((14 - 9.459) / (14 - 6.45), abs=1e-4)
    assert synthetic.np.nanmean(list(kept.by_seed.values())) == pytest.approx(kept.estimate.value)
    assert value(made, "retained", "other").comparison is not None
    assert value(made, "attack_success", "other").comparison is not None
    assert "Damage of other is not compared with that of one: the environments differ." in made.notes


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"decisions": "sampled"}, "decisions differ (greedy, sampled)"),
        ({"score": {"metric": "mean_return", "unit": "return", "better": "higher"}}, "the scores differ"),
    ],
)
def test_numbers_that_mean_different_things_are_not_subtracted(tmp_path: Path, row: dict[str, Any], why: str) -> None:
    made = compare_runs([write(tmp_path / "one", ten(6, 9)), write(tmp_path / "other", ten(6, 9), row=row)])
    assert why in value(made, "score", "other").refused
    assert (value(made, "success", "other").comparison is None) == ("decisions" in row)


def test_attacks_that_only_share_their_label_are_not_compared(tmp_path: Path) -> None:
    one, other = write(tmp_path / "one", ten(6, 9)), write(tmp_path / "other", ten(6, 9))
    rows = [json.loads(line) for line in (other / "cells.jsonl").read_text().splitlines()]
    for row in rows:
        if row["attack"]:
            row["effect"]["predicate"] = "something else"
    synthetic.write_cells(other, rows)
    made = compare_runs([one, other])
    assert "defined in another way" in value(made, "attack_success", "other").refused
    assert value(made, "damage", "other").comparison is not None
    for row in rows:
        if row["attack"]:
            row["attack"]["assumes"] = {"obedience": 1.0}
    synthetic.write_cells(other, rows)
    assert "assumes other things" in value(compare_runs([one, other]), "damage", "other").refused


def test_failed_seeds_are_excluded_and_counted(tmp_path: Path) -> None:
    one, other = write(tmp_path / "one", ten(6, 9)), write(tmp_path / "other", ten(6, 9))
    rows = [json.loads(line) for line in (other / "cells.jsonl").read_text().splitlines()]
    bad = next(row for row in rows if row["attack"])
    bad |= {"status": "failed", "error": "no", "effect": {"damage": 1e6}}
    synthetic.write_cells(other, rows)
    made = compare_runs([one, other])
    damage = value(made, "damage", "other")
    assert (damage.estimate.seeds, damage.estimate.excluded) == (9, 1)
    assert math.isnan(damage.by_seed[0])
    assert "1 of 10 seeds without a score" in page(made)
    assert damage.comparison is not None
    assert not damage.comparison.supported  # nine pairs


def test_folders_of_runs(tmp_path: Path) -> None:
    grid = tmp_path / "grid"
    write(grid / "a", ten(6, 9))
    write(grid / "b", ten(6, 9))
    (grid / "grid.yaml").write_text("x: 1")
    young = write(grid / "young", ten(6, 9))
    (young / "cells.jsonl").unlink()
    made = compare_runs([grid])
    assert made.names == ["a", "b"]
    assert any("young contains no evaluated cell" in note for note in made.notes)
    made = compare_runs([*sorted(grid.iterdir()), grid / "a"])
    assert made.names == ["a", "b"]
    assert any("grid.yaml is left out: it is not the folder of a run" in note for note in made.notes)
    write(tmp_path / "other" / "a", ten(6, 9))
    assert compare_runs([grid / "a", tmp_path / "other" / "a"]).names == ["grid/a", "other/a"]
    with pytest.raises(RunError, match="needs two runs with evaluated cells"):
        compare_runs([grid / "a", young])
    with pytest.raises(RunError, match="no run at"):
        compare_runs([grid / "a", tmp_path / "nothing"])


def test_rows_page_and_terminal_agree(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    one, other = write(tmp_path / "one", ten(6, 9)), write(tmp_path / "other", ten(6.5, 11))
    made = agentcomm.compare([one, other], tmp_path / "compare.html")
    row = next(r for r in made.rows() if r["quantity"] == "damage" and r["run"] == "other")
    assert row["difference"] == pytest.approx(1.5)
    assert row["supported"]
    text = (tmp_path / "compare.html").read_text()
    app(["compare", str(one), str(other)], standalone_mode=False)
    said = capsys.readouterr().out
    for shown in ("+1.50*", "+0.50*", "p 0.0"):
        assert shown in text, shown
        assert shown in said, shown
    assert "* marks p at most 0.05" in said
    assert said.index("What differs") < said.index("Without attacks") < said.index("Under attack")
    assert {table.key for table in tables(made)} == {"clean", "worth", "attacked"}
    assert reading(made) in text.replace("&#39;", "'")
    with pytest.raises(ConfigError, match="a run is what train"):
        agentcomm.compare([one, 3])  # type: ignore[list-item]
    with pytest.raises(FileError, match="--output FILE"):
        agentcomm.compare([one, other], one / "config.yaml" / "x.html")


def test_labels_of_others_cannot_do_anything(tmp_path: Path) -> None:
    bad = "<script>alert(1)</script>\x1b[31m"
    one = write(tmp_path / "one", ten(6, 9))
    other = write(tmp_path / "other", ten(6, 9), config={"policy": {bad: bad}})
    text = page(compare_runs([one, other]))
    assert "<script" not in text
    assert "\x1b" not in text
