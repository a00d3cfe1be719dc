"""Charts, graphs, tables and recordings of a report."""

import base64
import json
import re
import zlib
from pathlib import Path

import synthetic

from agentcomm.report import build_report
from agentcomm.report.budgets import curves
from agentcomm.report.charts import Line, chart, learning_charts, ticks
from agentcomm.report.costs import conditions
from agentcomm.report.defenses import fronts
from agentcomm.report.detectors import detections, table
from agentcomm.report.graphs import pictures
from agentcomm.report.load import load_run
from agentcomm.report.recordings import player
from agentcomm.report.results import Results
from agentcomm.report.text import fixed, signed
from agentcomm.runs.conditions import Conditions

Rows = list[dict]  # type: ignore[type-arg]


def test_learning_shows_the_score_of_the_cells(tmp_path: Path) -> None:
    learned = load_run(synthetic.write_run(tmp_path / "demo")).curves
    usual = ["Episode length in steps", "Success rate", "Share of open gates"]
    assert [c.title for c in learning_charts(learned, "mean_steps")] == usual
    assert [c.title for c in learning_charts(learned, "mean_return")] == ["Episode return", *usual]
    rows = synthetic.exact()
    for row in rows:
        row["score"] = {"metric": "mean_return", "unit": "return", "better": "higher"}
    page = build_report(synthetic.write_run(tmp_path / "own", rows=rows)).read_text()
    assert "Episode return" in page


def test_recordings_say_what_became_of_messages() -> None:
    data = json.loads(zlib.decompress(base64.b64decode(player(synthetic.episodes(1)))))
    by_label = {episode["label"]: episode["steps"][0] for episode in data["episodes"]}
    assert by_label["clean"]["messages"][0] == [2, 0, ["delivered", "accepted"], None, 0, 0]
    assert by_label["replay + authenticate"]["messages"][1][2:4] == [["forged", "refused"], "authenticate"]
    assert by_label["clean"]["observations"]
    late = {"sender": 0, "receiver": 1, "fate": "delivered", "accepted": True, "age": 2}
    one = {"agents": ["a", "b"], "episodes": [{"label": "x\u202e", "steps": [{"messages": [late]}]}]}
    data = json.loads(zlib.decompress(base64.b64decode(player(one))))
    assert data["episodes"][0]["steps"][0]["messages"] == [[0, 1, ["late", "accepted"], None, 2, 0]]
    assert "\u202e" not in data["episodes"][0]["label"]


def test_curves_join_forms_that_differ_in_one_number() -> None:
    rows = []
    for seed in (0, 1, 2):
        rows.append(synthetic.cell(synthetic.np.random.default_rng(0), "team", seed, None, "none", 6.0))
        for n, (epsilon, norm) in enumerate([(1, "a"), (2, "a"), (4, "a"), (1, "b"), (2, "b")]):
            label = f"noise({epsilon},{norm})"
            row = synthetic.cell(synthetic.np.random.default_rng(0), "team", seed, label, "none", 7.0 + n)
            row["attack"] |= {"name": "noise", "arguments": {"epsilon": epsilon, "norm": norm}}
            rows.append(row)
    (drawn,) = curves(Results(rows))
    assert (drawn.title, drawn.x_label) == ("Damage of noise in steps (norm a)", "epsilon")
    assert "no defense ends at 3.0" in drawn.summary


def test_damage_is_drawn_over_the_obedience_of_victims() -> None:
    rows = []
    for level, steps in ((0.0, 6.0), (0.5, 9.0), (1.0, 12.0)):
        under = Conditions(obedience=level)
        for attack, extra in ((None, 0.0), ("directive", steps - 6.0)):
            row = synthetic.cell(synthetic.np.random.default_rng(0), "team", 0, attack, "none", 6.0 + extra)
            rows.append(row | {"conditions": under.model_dump(mode="json"), "conditions_label": under.label()})
    (drawn,) = curves(Results(rows))
    assert drawn.x_label == "obedience of the victims"
    assert "no defense ends at 6.0" in drawn.summary


def test_fronts_and_detectors() -> None:
    results = Results(synthetic.cells([0, 1, 2]))
    first = fronts(results)[0]
    on = {name for point in first.points if point.front for name in point.name.split(", ")}
    assert "authenticate" in on
    assert "clip" not in on
    header, rows = table(results, detections(results))
    assert header[:4] == ["detector", "attack", "together with", "AUROC"]
    assert {row[1]: row[3] for row in rows}["noise(scale=2.0)"] == "0.97"


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
    rows = synthetic.exact()
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
    own, environment, gates = conditions(after)
    assert [group.title for group in (own, environment, gates)] == ["The run's own", "Environment", "Gates"]
    assert [(label, entries[0], entries[2]) for label, _, _, entries in environment.rows] == [
        ("failure=0.05", "11.5", "11.5")
    ]
    page = build_report(run).read_text()
    assert 'id="changed"' in page
    assert "--env failure=0.05 --gates open" in page
    plain = synthetic.write_run(tmp_path / "plain", rows=rows)
    assert 'id="changed"' not in build_report(plain).read_text()
