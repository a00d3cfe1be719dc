"""Cells whose attack or defenses can do nothing are inconclusive and say why; a defense that refuses all has failed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small import small
from torch import Tensor

from agentcomm import api
from agentcomm.base import registry
from agentcomm.base.errors import RequirementError
from agentcomm.cli import tables
from agentcomm.contracts.attack import Attack
from agentcomm.contracts.defense import Defense
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.threat_model import Position, ThreatModel
from agentcomm.contracts.verdicts import Delivered, Verdicts
from agentcomm.contracts.views import MessageView, RewardView
from agentcomm.runs import policy_file
from agentcomm.runs.assembly import make_policy, make_world
from agentcomm.runs.folder import Run, create

FULL = {"name": "commnet", "width": 16, "topology": {"name": "full"}}


def run_with(folder: Path, policy: dict[str, Any], **fields: Any) -> Run:
    config = small("control=false", policy=policy, **fields)
    run = create(config, folder)
    made = make_policy(config.policy, make_world(config.environment, 1))
    policy_file.save(run.policy("team", 0), made, config.environment, config.policy, "team", 0, {})
    return run


def the_row(run: Run, attack: str | None, defense: str | None = None, **more: Any) -> dict[str, Any]:
    rows = api.evaluate(run, [] if attack is None else [attack], [] if defense is None else [defense], **more)
    assert run.cells.read_text().count("\n") == len(rows), "inconclusive cells are kept"
    return rows[-1]


class RewardsOnly(Attack):
    def threat_model(self) -> ThreatModel:
        return ThreatModel(Position(kind="node", node=0), frozenset({"reward"}))

    def on_rewards(self, view: RewardView) -> Tensor | None:
        return -view.reward


class Overreaches(Attack):
    def threat_model(self) -> ThreatModel:
        return ThreatModel(Position(kind="edge"), frozenset({"delay"}))

    def on_messages(self, view: MessageView) -> MessageEdits:
        return MessageEdits(drop=view.reach)


@pytest.mark.parametrize(
    ("attack", "words"),
    [
        ("drop:budget.per_step=0", "its budget permits no edit: per_step=0"),
        ("drop:budget.per_episode=0", "its budget permits no edit: per_episode=0"),
        ("drop:budget.start_step=99", "begins at start_step=99, but the longest episode has 8 steps"),
        ("drop:probability=0", "it made no edit in 16 episodes"),
        ("drop:links=[]", r"its position names no links \(links: \[\]\)"),
        ("covert:node=1", "greedy actions, which can hide nothing: add `--decisions sampled`"),
        ("backdoor", "this team was not trained under backdoor"),
        ("force_gate", "this team has no gates"),
        ("force_gate:guess=true", "this team has no gates"),
        ("rewards", "rewards are attacked in training only"),
        ("overreaches", r"broke its threat model, and were undone: drop without the power to \(\d+\)"),
    ],
)
def test_attacks_that_can_do_nothing_say_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attack: str, words: str
) -> None:
    for name, plugin in (("rewards", RewardsOnly), ("overreaches", Overreaches)):
        monkeypatch.setitem(registry._registered, ("attack", name), plugin)
        monkeypatch.setattr(plugin, "name", name)
    monkeypatch.setattr("agentcomm.api.check_used", lambda *given: None)
    row = the_row(run_with(tmp_path, FULL), attack)
    assert row["status"] == "inconclusive", row["error"]
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(row["reason"])
    assert tables.reasons([row]) == [f"inconclusive: {row['attack']['label']} / no defense: {row['reason']}"]


@pytest.mark.parametrize("attack", ["drop", "eavesdrop", "infer:node=1", "noise"])
def test_a_silent_team_gives_attacks_on_messages_nothing(tmp_path: Path, attack: str) -> None:
    row = the_row(run_with(tmp_path, {"name": "ippo"}), attack)
    assert (row["status"], row["reason"]) == ("inconclusive", "this team sends no messages")


def test_links_and_nodes_without_messages_are_named(tmp_path: Path) -> None:
    run = run_with(tmp_path, FULL | {"topology": {"name": "random", "density": 0.4, "seed": 0}})
    graph = the_row(run, None)["graph"]
    receiver, sender = next((i, j) for i in range(3) for j in range(3) if i != j and not graph[i][j])
    rows = api.evaluate(run, [{"name": "noise", "links": [[sender, receiver]]}], [])
    assert f"no messages pass its links: of [{sender}, {receiver}]" in rows[-1]["reason"]


def test_a_backdoor_with_another_trigger_is_named(tmp_path: Path) -> None:
    run = run_with(tmp_path, FULL, attacks=[{"name": "backdoor", "pattern": 2}])
    assert the_row(run, "backdoor:pattern=2")["status"] == "ok"
    other = api.evaluate(run, ["backdoor"], [])[-1]
    assert other["reason"] == "this team was trained with the trigger pattern=2, not pattern=0"


def test_defenses_of_a_silent_team_are_inconclusive(tmp_path: Path) -> None:
    row = the_row(run_with(tmp_path, {"name": "ippo"}), None, "clip")
    assert row["reason"] == "this team sends no messages, so clip has nothing to act on"


class RefusesAll(Defense):
    order = "content"
    lossless = False

    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        return Verdicts(refuse=torch.ones_like(delivered.present))


def test_a_defense_that_refuses_every_clean_message_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._registered, ("defense", "refuses_all"), RefusesAll)
    monkeypatch.setattr(RefusesAll, "name", "refuses_all")
    row = the_row(run_with(tmp_path, FULL), None, "refuses_all")
    assert row["status"] == "failed"
    assert "defense 'refuses_all' refused all 1,536 messages that arrived, although nothing attacked" in row["error"]
    assert tables.failures([row]) == [f"no attack / refuses_all: {row['error']}"]


def test_a_defense_is_evaluated_where_it_can_work(tmp_path: Path) -> None:
    run = run_with(tmp_path, FULL)
    with pytest.raises(RequirementError, match="codeword"):
        api.evaluate(run, [], ["codeword"])
    assert not run.cells.exists()
    rows = api.evaluate(run, [], ["codeword"], conditions={"transports": [{"codec": {"name": "vq"}}]})
    assert [row["conditions_label"] for row in rows if row["defense_label"] == "codeword"] == ["vq"]
    assert "cell_skipped" in run.events.read_text()


def test_violations_are_shown_by_attack_and_rule(tmp_path: Path) -> None:
    rows = api.evaluate(run_with(tmp_path, FULL), ["drop:budget.per_step=1"], [])
    table = tables.violations(rows)
    assert table is not None
    assert [list(column.cells) for column in table.columns][:3] == [
        ["drop(budget={per_step: 1})"],
        ["none"],
        ["beyond the budget"],
    ]
    assert tables.violations([row for row in rows if row["attack"] is None]) is None
