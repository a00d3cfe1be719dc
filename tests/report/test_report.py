import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import synthetic

from agentcomm.base.errors import FileError, RunError
from agentcomm.report import build_report
from agentcomm.report.build import embed
from agentcomm.report.charts import Line, chart, learning_charts, ticks
from agentcomm.report.graphs import pictures
from agentcomm.report.load import load_run
from agentcomm.report.narrative import answer
from agentcomm.report.results import Results
from agentcomm.report.text import fixed, signed
from agentcomm.runs.conditions import Conditions

Rows = list[dict]  # type: ignore[type-arg]


def said(rows: Rows) -> str:
    """The answer to some cells as plain text."""
    found = answer(Results(rows))
    html = " ".join([found.headline, *found.paragraphs, "CAVEATS", *found.caveats])
    return re.sub(r"<[^>]+>", "", html).replace("&nbsp;", " ")


def exact(seeds: tuple[int, ...] = (0, 1, 2), floor: float = 14.0) -> Rows:
    """Cells with round numbers: clean 6, replay 10 alone and 7 with authenticate, drop 8 whatever one does."""
    rows = []
    rng = synthetic.np.random.default_rng(0)
    for seed in seeds:
        rows.append(synthetic.cell(rng, "control", seed, None, "none", floor))
        for attack, defense, steps in (
            (None, "none", 6.0),
            (None, "authenticate", 6.5),
            ("replay(rate=1.0)", "none", 10.0),
            ("replay(rate=1.0)", "authenticate", 7.0),
            ("drop(probability=0.5)", "none", 8.0),
            ("drop(probability=0.5)", "authenticate", 8.0),
        ):
            rows.append(synthetic.cell(rng, "team", seed, attack, defense, steps))
    return rows


def test_words_follow_from_the_numbers() -> None:
    text = said(exact())
    assert "Communication is worth 8.0 steps to this team. replay takes 50% of that; authenticate recovers 75%." in text
    assert "finishes an episode in 6.0 steps" in text
    assert "retrained without messages needs 14.0 steps" in text
    assert "drop costs 25%" in text
    assert "In the worst case over 2 attacks, authenticate is best with 8.0 steps" in text
    assert (
        "Not countered by any evaluated defense: replay (at best 88% retained, with authenticate), drop (75% retained"
        in text
    )
    assert "authenticate costs 0.50 steps and 12% more bytes" in text
    assert "covers the true value in about 75% of experiments" in text


def test_worse_than_no_messages_is_said() -> None:
    rows = exact()
    for row in rows:
        if row["attack"] and row["attack"]["name"] == "replay" and row["defense_label"] == "none":
            row["metrics"]["mean_steps"] = 16.0
    text = said(rows)
    assert "replay takes more than all of that" in text
    assert "worse than without any messages" in text


def test_defense_that_makes_it_worse_is_named() -> None:
    rows = exact()
    for row in rows:
        if row["attack"] and row["attack"]["name"] == "drop" and row["defense_label"] == "authenticate":
            row["metrics"]["mean_steps"] = 11.0
    text = said(rows)
    assert "Some defenses backfire: authenticate under drop (11.0 instead of 8.0)." in text
    assert "In the worst case over 2 attacks, no defense is measurably better than none: 10.0 steps" in text


@pytest.mark.parametrize(("seeds", "words"), [((0,), "One training seed"), ((4, 9), "Two training seeds")])
def test_few_seeds_give_values_instead_of_intervals(seeds: tuple[int, ...], words: str) -> None:
    text = said(exact(seeds))
    assert f"{words}: intervals over seeds are not meaningful" in text
    assert "95% interval" not in text
    assert ("seeds: 6.0, 6.0" in text) == (len(seeds) == 2)


def test_messages_without_value_are_flagged() -> None:
    text = said(exact(floor=6.05))
    assert "no better than the same team retrained without messages" in text
    assert "so this run has no retained fractions" in text
    assert "retained," not in text


def test_without_control_nothing_is_said_about_worth() -> None:
    text = said([row for row in exact() if row["variant"] == "team"])
    assert "the value of its messages was not measured" in text
    assert "there is no floor" in text


def test_failed_cells_are_never_scored() -> None:
    rows = exact()
    bad = next(r for r in rows if r["attack"] and r["attack"]["name"] == "replay" and r["defense_label"] == "none")
    bad |= {"status": "failed", "error": "ValueError: no", "metrics": {"mean_steps": 0.0}}
    cell = Results(rows).cell("replay(rate=1.0)", "none")
    assert (cell.scores["mean_steps"].value, cell.failed, cell.status) == (10.0, 1, "ok")
    assert cell.scores["mean_steps"].interval is None
    assert Results(rows).summary("none", "worst").scores["mean_steps"].seeds == 2
    assert "1 cell failed: it is excluded, not scored as zero." in said(rows)


def test_an_attack_that_never_acted_says_nothing() -> None:
    rows = exact()
    for row in rows:
        if row["attack"] and row["attack"]["name"] == "replay":
            row["status"] = "inconclusive"
    results = Results(rows)
    assert results.cell("replay(rate=1.0)", "none").status == "inconclusive"
    assert results.summary("none", "worst").scores["mean_steps"].value == 8.0
    text = said(rows)
    assert "In 6 cells, the attack had no effect on any message (replay(rate=1.0))" in text
    assert "drop takes 25%" in text


class Outline(HTMLParser):
    """Collects what the page would load, and its elements."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.handlers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "srcset", "action", "data") and value and not value.startswith(("#", "data:")):
                self.loads.append(value)
            if name.startswith("on"):
                self.handlers.append(name)


def outline(page: str) -> Outline:
    parser = Outline()
    parser.feed(page)
    return parser


def test_page_is_one_file_with_every_section(tmp_path: Path) -> None:
    run = synthetic.write_run(tmp_path / "demo")
    target = build_report(run)
    page = target.read_text()
    found = outline(page)
    assert target == run / "report.html"
    assert found.loads == []
    assert "url(" not in page
    assert len(page) < 400_000
    for section in ("answer", "grid", "learning", "graph", "gate", "player", "cost", "made"):
        assert f'id="{section}"' in page
    assert "perception_1 hears perception_0 in 3 of 3 seeds" in page
    assert "agentcomm 0.1.0" in page
    assert [p.name for p in run.iterdir() if p.name.startswith(".")] == []


def test_page_is_the_same_every_time(tmp_path: Path) -> None:
    run = synthetic.write_run(tmp_path / "demo")
    first = build_report(run).read_text()
    assert build_report(run).read_text() == first


def test_untrusted_names_stay_text(tmp_path: Path) -> None:
    evil = "x</script><img src=x onerror=alert(1)>"
    rows = exact()
    for row in rows:
        if row["attack"]:
            row["attack"]["label"] = row["attack"]["label"].replace("replay", evil)
            row["attack"]["name"] = row["attack"]["name"].replace("replay", evil)
        row["agents"] = [evil, "b", "c"]
    rows[-1] |= {"status": "failed", "error": evil}
    run = synthetic.write_run(tmp_path / "demo", rows=rows)
    recorded = synthetic.episodes(1)
    recorded["episodes"][0]["label"] = evil
    recorded["agents"] = [evil, "b", "c"]
    (run / "episodes.json").write_text(json.dumps(recorded))
    found = outline(build_report(run).read_text())
    assert "img" not in found.tags
    assert found.handlers == []
    assert found.tags.count("script") == 2


def test_learning_shows_the_score_of_the_cells(tmp_path: Path) -> None:
    curves = load_run(synthetic.write_run(tmp_path / "demo")).curves
    usual = ["Episode length in steps", "Success rate", "Share of open gates"]
    assert [c.title for c in learning_charts(curves, "mean_steps")] == usual
    assert [c.title for c in learning_charts(curves, "mean_return")] == ["Episode return", *usual]
    rows = exact()
    for row in rows:
        row["score"] = {"metric": "mean_return", "unit": "return", "better": "higher"}
    page = build_report(synthetic.write_run(tmp_path / "own", rows=rows)).read_text()
    assert "Episode return" in page


def test_embedded_json_cannot_leave_its_element() -> None:
    text = embed({"a": "</script><!--", "b": [float("nan"), 1.5]})
    assert "<" not in text
    assert json.loads(text) == {"a": "</script><!--", "b": [None, 1.5]}


def test_without_cells_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="run `agentcomm evaluate` first"):
        build_report(tmp_path)
    (tmp_path / "cells.jsonl").write_text('{"id": "a"}\n{"variant": "te')
    with pytest.raises(RunError, match="2 unreadable lines"):
        build_report(tmp_path)


def test_truncated_line_is_counted_and_duplicates_resolved(tmp_path: Path) -> None:
    rows = exact()
    again = json.loads(json.dumps(rows[1]))
    again["metrics"]["mean_steps"] = 6.3
    run = synthetic.write_run(tmp_path / "demo", rows=[*rows, again])
    with (run / "cells.jsonl").open("a") as file:
        file.write('{"id": "half", "variant": "te')
    loaded = load_run(run)
    assert len(loaded.cells) == len(rows)
    assert Results(loaded.cells).clean[0] == 6.3
    assert "1 line of cells.jsonl could not be read and is skipped." in build_report(run).read_text()


def test_cells_alone_are_enough(tmp_path: Path) -> None:
    synthetic.write_cells(tmp_path, [synthetic.cell(synthetic.np.random.default_rng(0), "team", 0, None, "none", 6.0)])
    page = build_report(tmp_path).read_text()
    assert "config.yaml is missing" in page
    assert 'id="player"' not in page
    assert "No attack was evaluated." in page


def test_sparse_cells_do_not_break_the_page(tmp_path: Path) -> None:
    rows = exact()
    for row in rows:
        for key in ("ledger", "graph", "gate_by_step", "agents", "versions", "seconds", "time", "episodes"):
            row.pop(key)
    for row in rows[:3]:
        row.pop("metrics")
        row["status"] = "failed"
    synthetic.write_cells(tmp_path, rows)
    (tmp_path / "episodes.json").write_text("[]")
    assert "episodes.json is damaged" in build_report(tmp_path).read_text()


def test_old_page_survives_a_failed_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = synthetic.write_run(tmp_path / "demo")
    before = build_report(run).read_text()
    synthetic.write_cells(run, exact())

    def fail(*_: object) -> None:
        raise OSError("disk")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(FileError, match=r"report\.html: disk; the file there is unchanged"):
        build_report(run)
    assert (run / "report.html").read_text() == before


def test_graph_runs_from_sender_to_receiver() -> None:
    first, *single = pictures({0: [[0, 1], [0, 0]], 1: [[0, 1], [1, 0]]}, ["a_0", "b_0"])
    assert len(single) == 2
    assert {(e.title, e.share) for e in first.edges} == {
        ("a_0 hears b_0 in 2 of 2 seeds", 1.0),
        ("b_0 hears a_0 in 1 of 2 seeds", 0.5),
    }
    sender = first.nodes[1]
    x, y = map(float, re.findall(r"-?[\d.]+", first.edges[-1].path)[:2])
    assert abs(x - sender.x) + abs(y - sender.y) < 20
    assert pictures({0: [[0, 1]]}, ["a", "b"]) == []


def test_charts_have_round_ticks_and_gaps() -> None:
    assert ticks(0, 18.7) == [0, 5, 10, 15]
    assert ticks(0.0, 1.0) == [0, 0.5, 1.0]
    assert ticks(3, 3) == [3]
    drawn = chart("t", "x", [Line("a", "team", [0, 1, 2, 3], [1.0, float("nan"), 1.0, 0.0])], (0, 1))
    assert drawn is not None
    assert drawn.lines[0].path == "M0 0h0M66.67 0L100 100"
    assert chart("t", "x", [Line("a", "team", [0.0], [float("nan")])]) is None


def test_numbers_as_text() -> None:
    assert fixed(-0.001, 2) == "0.00"
    assert fixed(-1.5, 1) == "\u22121.5"
    assert fixed(float("nan"), 1) == "\u2014"
    assert [signed(x, 1) for x in (0.0, 0.04, 0.2, -0.2)] == ["0.0", "0.0", "+0.2", "\u22120.2"]


def test_other_conditions_have_a_table_of_their_own(tmp_path: Path) -> None:
    rows = exact()
    before = Results(rows)
    extra = []
    for row in rows:
        if row["attack"] is None and row["defense_label"] == "none":
            for under in (Conditions(environment={"failure": 0.05}), Conditions(gates="open")):
                copy = json.loads(json.dumps(row))
                copy |= {"conditions": under.model_dump(mode="json"), "conditions_label": under.label()}
                copy["id"] += under.label()
                copy["metrics"]["mean_steps"] = 11.5
                extra.append(copy)
    run = synthetic.write_run(tmp_path / "demo", rows=[*rows, *extra])
    loaded = load_run(run)
    after = Results(loaded.cells)
    assert after.clean == before.clean, "they are no part of the grid"
    assert after.floor == before.floor
    assert set(after.changed) >= {"failure=0.05", "failure=0.05, retrained without messages", "gates open"}
    page = build_report(run).read_text()
    assert 'id="changed"' in page
    assert "11.5" in page
    assert "--env failure=0.05 --gates open" in page
    plain = synthetic.write_run(tmp_path / "plain", rows=rows)
    assert 'id="changed"' not in build_report(plain).read_text()
