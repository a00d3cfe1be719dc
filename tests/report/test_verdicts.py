"""Verdicts follow the score that the task declares, stand by themselves, and are given to teams that have learned."""

from __future__ import annotations

import re
from typing import Any

import pytest
import synthetic

from agentcomm.report.narrative import answer
from agentcomm.report.results import RETURN, STEPS, Results
from agentcomm.report.views import threats

Rows = list[dict[str, Any]]
RETURNS = {"metric": "mean_return", "unit": "reward", "better": "higher"}
SEEDS = (0, 1, 2)


def said(rows: Rows) -> str:
    """The answer to some cells as plain text."""
    found = answer(Results(rows))
    html = " ".join([found.headline, *found.paragraphs])
    return re.sub(r"<[^>]+>", "", html).replace("&nbsp;", " ")


def cell(variant: str, seed: int, attack: str | None, steps: float, earned: float, **more: Any) -> dict[str, Any]:
    made = synthetic.cell(synthetic.np.random.default_rng(0), variant, seed, attack, "none", steps)
    made["metrics"] |= {"mean_steps": steps, "mean_return": earned}
    return made | {"score": RETURNS} | more


def survival() -> Rows:
    """A task in which every step pays: with messages 20 steps, without them 4."""
    rows = []
    for seed in SEEDS:
        rows.append(cell("team", seed, None, 20.0, 20.0 + seed / 10))
        rows.append(cell("team", seed, "drop(probability=0.5)", 12.0, 12.0 + seed / 10))
        rows.append(cell("control", seed, None, 4.0, 4.0 + seed / 10))
    return rows


def test_longer_is_better_where_each_step_pays() -> None:
    results = Results(survival())
    assert results.primary is not STEPS
    text = said(survival())
    assert "Communication is worth 16.00 return to this team. drop takes 50% of that" in text
    assert "measurable" not in text


def test_fewer_steps_are_better_where_the_task_says_so() -> None:
    rows = synthetic.cells([0, 1, 2])
    assert Results(rows).primary is STEPS
    for row in rows:
        row["metrics"]["mean_steps"] = 20.0
    assert Results(rows).primary is STEPS, "also if all episodes have one length"


def test_a_score_of_ones_own_keeps_its_direction_and_unit() -> None:
    rows = survival()
    for row in rows:
        row["score"] = {"metric": "fuel", "unit": "liters", "better": "lower"}
        row["metrics"]["fuel"] = 100 - row["metrics"]["mean_return"]
    assert "Communication is worth 16.00 liters to this team. drop takes 50% of that" in said(rows)


@pytest.mark.parametrize("steps", [19.9, 3.0, 20.0])
def test_one_more_attack_changes_no_other_verdict(steps: float) -> None:
    """Once an attack that ended episodes sooner changed the measure of all others."""
    alone = survival()
    noise = [cell("team", seed, "noise(scale=2.0)", steps, 7.9) for seed in SEEDS]
    for first, second in ((alone, alone + noise), (alone, noise + alone)):
        ours, theirs = (Results(rows).cell("drop(probability=0.5)", "none") for rows in (first, second))
        assert ours == theirs
    assert Results(alone).value_of_communication() == Results(alone + noise).value_of_communication()


def referenced(learned: tuple[bool, ...] = (True, True, True), **scores: float) -> Rows:
    """Cells with references: by default, team and control act alike greedy and sampled."""
    shown = {"greedy": 20.0, "sampled": 20.0, "untrained": 2.0, "silent": 5.0} | scores
    rows = survival()
    for row in rows:
        if row["attack"] is None:
            mine = row["variant"] == "team"
            values = shown if mine else {"greedy": shown.get("control", 4.0), "sampled": shown.get("resampled", 4.0)}
            row["references"] = {name: {"mean_return": value} for name, value in values.items()}
            row["references"]["learned"] = {"learned": learned[row["seed"]], "gain": 1.0, "standard_error": 0.1}
    return rows


def test_whether_the_team_has_learned_comes_first() -> None:
    found = answer(Results(referenced()))
    assert "The team has learned:" in found.paragraphs[0]
    text = said(referenced((True, False, True)))
    assert "1 of 3 teams have not learned (seed 1)" in text
    assert "drop" in text


def test_a_team_that_has_not_learned_gets_no_verdicts() -> None:
    text = said(referenced((False, False, False)))
    assert text.startswith("The team has not learned its task, so nothing can be said about its messages.")
    assert "No verdicts are given." in text
    assert "drop" not in text


def test_messages_whose_loss_does_not_hurt_are_worth_nothing() -> None:
    text = said(referenced(silent=20.0))
    assert text.startswith("The team does as well when all of its messages are dropped.")
    assert "Dropping all of its messages does not measurably hurt" in text
    assert "retained," not in text
    assert "Communication is worth" not in text


def test_teams_with_and_without_messages_are_decoded_alike() -> None:
    """The greedy control runs in circles and earns 4; sampled, it earns 15, and the team 18."""
    results = Results(referenced(sampled=18.0, resampled=15.0))
    assert results.value_of_communication().value == pytest.approx(3.0), "not 20 - 15, and not 20 - 4"
    assert results.reference("sampled", "control") == dict.fromkeys(SEEDS, 15.0)
    text = said(referenced(sampled=18.0, resampled=15.0))
    assert "Communication is worth 3.00 return to this team. drop costs 8.00 return." in text
    assert "The difference is 16.00 return. With sampled decisions of both it is 3.00 return" in text
    assert "the difference, 3.00" not in text


def test_success_of_attacks_stands_beside_that_of_their_controls() -> None:
    rows = survival()
    for row in rows:
        if row["attack"]:
            row["metrics"] |= {"attack_success": 0.5 + row["seed"] / 10, "control_success": 0.25}
    ((label, shown),) = threats(Results(rows))
    assert label == "drop(probability=0.5)"
    assert shown[-3].startswith("0.60 (0.50")
    assert shown[-2].startswith("0.25")


def test_rows_without_a_score_are_compared_by_their_return() -> None:
    rows = survival()
    for row in rows:
        del row["score"]
    assert Results(rows).primary is RETURN
