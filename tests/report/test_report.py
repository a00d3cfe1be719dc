import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import synthetic

from agentcomm.base.errors import FileError, RunError
from agentcomm.report import build_report
from agentcomm.report.answer import answer, team
from agentcomm.report.attacks import attacks
from agentcomm.report.claims import Claims
from agentcomm.report.defenses import defenses
from agentcomm.report.heat import Heatmap
from agentcomm.report.load import load_run
from agentcomm.report.reproduce import commands
from agentcomm.report.results import Results

Rows = list[dict]  # type: ignore[type-arg]


def said(rows: Rows) -> str:
    """The answer to some cells and the sentences of the sections as plain text."""
    results = Results(rows)
    claims = Claims(results)
    found = answer(results, claims)
    sections = [*team(results, claims), *attacks(results, claims), *defenses(results, claims)]
    html = " ".join([found.headline, found.second, found.evidence, *sections, "CAVEATS", *found.caveats])
    return re.sub(r"<[^>]+>", "", html).replace("&nbsp;", " ")


TEN = tuple(range(10))


def test_words_follow_from_the_numbers_of_ten_seeds() -> None:
    text = said(synthetic.exact(TEN))
    assert "Messages are worth 8.0 steps to this team" in text
    assert (
        "Of 2 attacks, replay was chosen as the worst on half of the seeds; on the other 5, it costs 4.0 steps" in text
    )
    assert "and 0.5 steps with authenticate, the defense chosen against it" in text
    assert "retrained without messages needs 14.0 steps" in text
    assert "2 of 2 attacks cost the undefended team something: replay and drop" in text
    assert "authenticate helps: it averts 2.0 steps" in text
    assert "authenticate 1 better, 0 worse" in text
    assert "authenticate costs +0.50 steps (all 10 seeds alike), 12% more bytes" in text
    assert "10 trained teams (seeds 0 to 9); 10 teams retrained without messages" in text
    assert "5 of 5 possible claims supported" in text


CLAIMS = re.compile(r"\b(measurabl[ey]|costs?|helps?|backfires?|harms?|worth [\d.]+)\b")


@pytest.mark.parametrize(("seeds", "words"), [((0,), "1 training seed"), ((4, 9), "2 training seeds"), (TEN[:9], "9")])
def test_too_few_seeds_give_numbers_and_no_claims(seeds: tuple[int, ...], words: str) -> None:
    text = said(synthetic.exact(seeds))
    claims = [word for word in CLAIMS.findall(text) if word != "cost"]  # "Clean cost" names a number
    assert claims == []
    assert (
        "needs 6.0 steps with messages and 14.0 steps when retrained without them (both with greedy actions)." in text
    )
    assert words in text
    assert "too few to call an attack the worst or a defense the best" in text
    assert ("seeds: 6.0, 6.0" in text) == (len(seeds) == 2)
    assert "0 of 5 possible claims supported" in text


def test_ten_seeds_without_a_difference_give_no_claims() -> None:
    rows = synthetic.exact(TEN)
    rng = synthetic.np.random.default_rng(1)
    for row in rows:
        row["metrics"]["mean_steps"] = 10.0 + float(rng.normal())
    text = said(rows)
    assert "no difference is supported" in text
    assert CLAIMS.findall(text.replace("Clean cost", "")) == []
    assert Heatmap(Results(rows), Claims(Results(rows))).measures[-1][0] != "retained"


def test_damage_stands_beside_that_of_its_control() -> None:
    rows = synthetic.with_effects(synthetic.exact(TEN))
    text = said(rows)
    assert "it costs 4.0 steps (its matched control: 0.4)" in text
    assert "replay: 1.3 silence and 2.7 lie" in text
    assert "the attacks succeed in 20 of 20 undefended cells: replay in 10 and drop in 10." in text
    heat = Heatmap(Results(rows), Claims(Results(rows)))
    assert heat.rows()[1].cells[0].faces[0].notes == ["damage 4.0, control 0.4"]
    face = heat.rows()[1].cells[0].faces[1]
    assert (face.measure, face.number, face.notes) == ("damage", "4.0", ["control 0.4", "silence 1.3 + lie 2.7"])
    assert ("edits spent", "76,000, control 76,000") in _rounded(heat.rows()[1].cells[0].facts)


def _rounded(facts: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, re.sub(r"\d+,\d{3}", "76,000", value)) for name, value in facts]


def test_an_assumption_stands_in_every_label_and_shows_no_risk() -> None:
    rows = synthetic.exact(TEN)
    for row in rows:
        if row["attack"] and row["attack"]["name"] == "replay":
            row["attack"]["assumes"] = {"obedience": 1.0}
    results = Results(rows)
    text = said(rows)
    assert results.shown == ["drop(probability=0.5)"]
    assert results.over_attacks("none", "worst") == dict.fromkeys(TEN, 8.0)
    assert "Of 1 attack, drop was chosen as the worst" in text
    assert "replay (assuming obedience 1.0)" in text
    assert "shows no risk by itself" in text
    row = next(row for row in Heatmap(results, Claims(results)).rows() if row.label.startswith("replay"))
    assert row.assumes == "obedience 1.0"


def test_intervals_keep_the_bounds() -> None:
    rows = synthetic.exact(TEN[:5])
    for row, success, steps in zip(rows, [1.0, 0.2] * 20, [20.0, 19.0, 2.0, 20.0] * 10, strict=False):
        row["metrics"] |= {"success": success, "mean_steps": steps}
    results = Results(rows)
    for defense in results.defenses:
        for attack in (None, *results.attacks):
            for key, high in (("success", 1.0), ("mean_steps", 20.0)):
                found = results.estimate(results.scores(attack, defense, key), key)
                assert found.interval is None or 0 <= found.interval[0] <= found.interval[1] <= high


def test_too_many_claims_for_the_seeds_are_said() -> None:
    rows = synthetic.exact(TEN)
    for seed in TEN:
        for n in range(30):
            rows.append(synthetic.cell(synthetic.np.random.default_rng(0), "team", seed, f"a{n}", "none", 9.0))
    text = said(rows)
    assert "34 possible claims about attacks and defenses are too many for 10 seeds" in text


def test_without_control_nothing_is_said_about_worth() -> None:
    text = said([row for row in synthetic.exact() if row["variant"] == "team"])
    assert "what its messages are worth was not measured" in text
    assert "there is no floor" in text


def test_failed_cells_are_never_scored() -> None:
    rows = synthetic.exact()
    bad = next(r for r in rows if r["attack"] and r["attack"]["name"] == "replay" and r["defense_label"] == "none")
    bad |= {"status": "failed", "error": "ValueError: no", "metrics": {"mean_steps": 0.0}}
    results = Results(rows)
    cell = Heatmap(results, Claims(results)).rows()[1].cells[0]
    assert (cell.faces[0].number, cell.status, cell.partial) == ("10.0", "ok", "2 of 3 seeds")
    assert cell.reasons == ["ValueError: no"]
    assert results.estimate(results.over_attacks("none", "worst")).seeds == 2
    assert "1 cell failed: it is excluded, not scored as zero." in said(rows)


def test_an_attack_that_never_acted_says_nothing() -> None:
    rows = synthetic.exact(TEN)
    for row in rows:
        if row["attack"] and row["attack"]["name"] == "replay":
            row |= {"status": "inconclusive", "reason": "no messages pass its links", "metrics": {"mean_steps": 0.0}}
    results = Results(rows)
    cell = Heatmap(results, Claims(results)).rows()[1].cells[0]
    assert (cell.status, cell.reasons) == ("inconclusive", ["no messages pass its links"])
    assert results.over_attacks("none", "worst") == dict.fromkeys(TEN, 8.0)
    text = said(rows)
    assert "20 cells of replay(rate=1.0) are inconclusive and not scored: no messages pass its links." in text
    assert "drop was chosen as the worst" in text


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
    order = [
        "answer",
        "grid",
        "attacks",
        "defenses",
        "detectors",
        "graph",
        "gate",
        "player",
        "learning",
        "cost",
        "made",
    ]
    found_at = [page.index(f'id="{section}"') for section in [*order, "reproduce"]]
    assert found_at == sorted(found_at)
    assert "perception_1 hears perception_0 in 3 of 3 seeds" in page
    assert "accepts 0.70 messages per step from" in page
    assert "agentcomm rerun runs/demo" in page
    assert "0a1b2c3d" in page
    assert "agentcomm 0.1.0" in page
    assert [p.name for p in run.iterdir() if p.name.startswith(".")] == []


def test_page_is_the_same_every_time(tmp_path: Path) -> None:
    run = synthetic.write_run(tmp_path / "demo")
    first = build_report(run).read_text()
    assert build_report(run).read_text() == first


def test_untrusted_names_stay_text(tmp_path: Path) -> None:
    evil = "x</script><img src=x onerror=alert(1)>"
    rows = synthetic.exact()
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


def test_without_cells_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="run `agentcomm evaluate` first"):
        build_report(tmp_path)
    (tmp_path / "cells.jsonl").write_text('{"id": "a"}\n{"variant": "te')
    with pytest.raises(RunError, match="2 unreadable lines"):
        build_report(tmp_path)


def test_truncated_line_is_counted_and_duplicates_resolved(tmp_path: Path) -> None:
    rows = synthetic.exact()
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
    assert "agentcomm rerun" in page


def test_sparse_cells_do_not_break_the_page(tmp_path: Path) -> None:
    rows = synthetic.exact()
    for row in rows:
        for key in ("ledger", "graph", "gate_by_step", "agents", "versions", "seconds", "time", "episodes"):
            row.pop(key)
    for row in rows[:3]:
        row.pop("metrics")
        row["status"] = "failed"
    synthetic.write_cells(tmp_path, rows)
    (tmp_path / "episodes.json").write_text("[]")
    assert "episodes.json is damaged" in build_report(tmp_path).read_text()


def test_stale_cells_are_left_out_in_one_line(tmp_path: Path) -> None:
    rows = synthetic.exact()
    reasons = ["agentcomm changed", "attack 'drop', agentcomm changed", "it was evaluated by an older version"]
    for row, reason in zip(rows[2:5], reasons, strict=True):
        row["stale"] = reason
    run = synthetic.write_run(tmp_path / "demo", rows=rows)
    assert load_run(run).notes == [
        "3 cells are left out as stale, since agentcomm, attack 'drop' changed; it was evaluated by an older version;"
        " evaluate them again."
    ]


def test_commands_say_what_they_leave_out(tmp_path: Path) -> None:
    rows = synthetic.exact()
    rows[1]["conditions"] = {"weather": "rain"}
    run = synthetic.write_run(tmp_path / "demo", rows=rows)
    (run / "config.yaml").write_text("name: demo\nenvironment: 3\n")
    notes = commands(load_run(run)).notes
    assert len(notes) == 2
    assert "config.yaml does not fit this version" in notes[0]
    assert "conditions of another version are left out" in notes[1]


def test_old_page_survives_a_failed_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = synthetic.write_run(tmp_path / "demo")
    before = build_report(run).read_text()
    synthetic.write_cells(run, synthetic.exact())

    def fail(*_: object) -> None:
        raise OSError("disk")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(FileError, match=r"report\.html: disk; the file there is unchanged"):
        build_report(run)
    assert (run / "report.html").read_text() == before
