"""Verdicts follow the score that the task declares, stand by themselves, and are given to teams that have learned."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
import synthetic

from agentcomm.report.answer import answer, team
from agentcomm.report.attacks import tables
from agentcomm.report.claims import Claims
from agentcomm.report.effects import effect
from agentcomm.report.measures import RETURN, STEPS
from agentcomm.report.results import Results
from agentcomm.statistics import Scale

Rows = list[dict[str, Any]]
RETURNS = {"metric": "mean_return", "unit": "reward", "better": "higher"}
SEEDS = tuple(range(10))


def said(rows: Rows) -> str:
    """The answer to some cells and what is said about the team, as plain text."""
    results = Results(rows)
    claims = Claims(results)
    found = answer(results, claims)
    html = " ".join([found.headline, found.second, *team(results, claims)])
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
    assert "Messages are worth 16.00 return to this team" in text
    assert "it costs 8.00 return" in text


def test_fewer_steps_are_better_where_the_task_says_so() -> None:
    rows = synthetic.cells([0, 1, 2])
    assert Results(rows).primary == replace(STEPS, scale=Scale(0.0, 20.0))
    for row in rows:
        row["metrics"]["mean_steps"] = 20.0
    assert Results(rows).primary.key == STEPS.key, "also if all episodes have one length"


def test_a_score_of_ones_own_keeps_its_direction_and_unit() -> None:
    rows = survival()
    for row in rows:
        row["score"] = {"metric": "fuel", "unit": "liters", "better": "lower"}
        row["metrics"]["fuel"] = 100 - row["metrics"]["mean_return"]
    assert "Messages are worth 16.00 liters to this team" in said(rows)
    assert "it costs 8.00 liters" in said(rows)


@pytest.mark.parametrize("steps", [19.9, 3.0, 20.0])
def test_one_more_attack_changes_no_other_verdict(steps: float) -> None:
    """Once an attack that ended episodes sooner changed the measure of all others."""
    alone = survival()
    noise = [cell("team", seed, "noise(scale=2.0)", steps, 7.9) for seed in SEEDS]
    for first, second in ((alone, alone + noise), (alone, noise + alone)):
        ours, theirs = (effect(Results(rows), "drop(probability=0.5)")["damage"] for rows in (first, second))
        assert ours.estimate == theirs.estimate
    assert Results(alone).worth() == Results(alone + noise).worth()


def referenced(learned: tuple[bool, ...] = (True,) * 10, **scores: float) -> Rows:
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
    results = Results(referenced())
    assert "The team has learned:" in team(results, Claims(results))[0]
    text = said(referenced((True, False) * 5))
    assert "5 of 10 teams have not learned (seed 1, 3, 5, 7, 9)" in text
    assert "drop" in text


def test_a_team_that_has_not_learned_gets_no_verdicts() -> None:
    text = said(referenced((False,) * 10))
    assert text.startswith("The team has not learned its task, so nothing can be said about its messages.")
    assert "No conclusions are drawn" in text
    assert "it costs" not in text
    assert "damage" not in text


def test_the_score_without_any_message_is_shown() -> None:
    text = said(referenced(silent=20.0))
    assert "With all of its messages dropped, the team reaches 20.00 return" in text


def test_teams_with_and_without_messages_are_decoded_alike() -> None:
    """The greedy control runs in circles and earns 4; sampled, it earns 15, and the team 18."""
    rows = referenced(sampled=18.0, resampled=15.0)
    results = Results(rows)
    assert results.compare(*results.worth()[:2]).difference.value == pytest.approx(3.0), "not 20 - 15, and not 20 - 4"
    assert results.reference("sampled", "control") == dict.fromkeys(SEEDS, 15.0)
    text = said(rows)
    assert "Messages are worth 3.00 return to this team" in text
    assert "With sampled actions, the two reach 18.00 return" in text


def test_success_of_attacks_stands_beside_that_of_their_controls() -> None:
    rows = survival()
    for row in rows:
        if row["attack"]:
            rate = 0.5 + row["seed"] / 100
            row["effect"] = {"damage": 8.0, "rate": rate, "control_rate": 0.25, "success": rate - 0.25}
    shown, _ = tables(Results(rows))
    assert shown.header == ["damage", "success", "own rate", "its control", "cells by outcome"]
    ((label, _, entries),) = shown.rows
    assert label == "drop(probability=0.5)"
    assert entries[2].startswith("0.55 (0.5")
    assert entries[3].startswith("0.25")


def test_rows_without_a_score_are_compared_by_their_return() -> None:
    rows = survival()
    for row in rows:
        del row["score"]
    assert Results(rows).primary is RETURN
