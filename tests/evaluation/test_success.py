"""The effect of attacks against their counterparts: what is no effect is near zero, and assumptions are recorded."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small import small

from agentcomm import api
from agentcomm.evaluation.success import Held, outcome
from agentcomm.runs import policy_file
from agentcomm.runs.assembly import make_policy, make_world
from agentcomm.runs.folder import create
from agentcomm.runs.rows import CellRow

ATTACKS = ["noise", "directive:action=1", "pollute:node=1", "covert:messages=8", "drop:probability=0.5", "stall"]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Cells of an untrained team whose actions depend on what it hears, by attack."""
    environment = {"name": "oracle_hint", "members": 4, "symbols": 3, "max_steps": 4, "observation": "indices"}
    overrides = ("control=false", "evaluation.episodes=300", "evaluation.recordings=0")
    run = create(small(*overrides, environment=environment), tmp_path_factory.mktemp("success"))
    config = run.config
    policy = make_policy(config.policy, make_world(config.environment, 1), "team", 0)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in policy.get_submodule("actor").parameters():
            parameter += 0.5 * torch.randn(parameter.shape)
    policy_file.save(run.policy("team", 0), policy, config.environment, config.policy, "team", 0, {})
    found = api.evaluate(run, ATTACKS, [], {"decisions": "sampled", "obedience": 0.5})
    assert {row["status"] for row in found} == {"ok"}, [row["error"] or row.get("reason") for row in found]
    return {row["attack"]["name"]: row for row in found if row["attack"]}


def test_an_attack_that_only_changes_random_draws_has_no_success(rows: dict[str, dict[str, Any]]) -> None:
    """Noise against noise of the same norm: episodes differ in both directions, and as many in each."""
    effect = rows["noise"]["effect"]
    assert min(effect["worse"], effect["better"]) > 0.1
    assert abs(effect["success"]) < 3 * ((effect["worse"] + effect["better"]) / 300) ** 0.5, "standard errors"
    assert rows["noise"]["outcome"] == "resisted"
    norms = rows["noise"]["spent"]["norm"], rows["noise"]["counterparts"]["control"]["spent"]["norm"]
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)


def test_assumptions_and_spending_are_in_the_row(rows: dict[str, dict[str, Any]]) -> None:
    assumed = {name: row["attack"]["assumes"] for name, row in rows.items()}
    assert assumed["directive"] == {"obedience": 0.5}
    assert assumed["pollute"] == {"spreads": True, "obedience": 1.0}
    assert assumed["covert"] == {"accomplice": True}
    assert assumed["drop"] == assumed["noise"] == {}
    for name, row in rows.items():
        CellRow.model_validate(row)
        control = row["counterparts"]["control"]["spent"]
        assert control["edits"] == pytest.approx(row["spent"]["edits"], rel=0.1), name
        assert control["bytes"] == row["spent"]["bytes"], name


def test_attacks_with_a_goal_of_their_own_are_judged_by_it(rows: dict[str, dict[str, Any]]) -> None:
    told, hidden, stalled = rows["directive"], rows["covert"]["effect"], rows["stall"]["effect"]
    assert "action more often" in told["effect"]["predicate"]
    assert told["effect"]["rate"] > told["effect"]["control_rate"] + 0.3
    assert told["effect"]["clean_rate"] == 0
    assert told["outcome"] == "success"
    assert hidden["predicate"] == "an observer's best guess is the secret"
    assert hidden["rate"] > hidden["control_rate"] > 0, "the control tells it by chance, once in eight"
    assert stalled["predicate"].endswith("worse than under the matched control")


def test_what_an_attack_that_only_drops_costs_is_silence(rows: dict[str, dict[str, Any]]) -> None:
    effect = rows["drop"]["effect"]
    assert effect["lie"] == 0
    assert effect["silence"] == effect["damage"]
    assert rows["drop"]["counterparts"]["control"]["ledger"]["dropped"] == rows["drop"]["ledger"]["dropped"] > 0
    assert "silence" not in rows["stall"]["counterparts"]
    assert rows["stall"]["effect"]["lie"] is None


def test_an_outcome_needs_a_sign_test_in_the_attackers_favor() -> None:
    won, none = torch.arange(20) < 6, torch.zeros(20, dtype=torch.bool)
    assert Held("", won, none, 0.0).significant
    assert not Held("", none, won, 0.0).significant
    assert not Held("", won & (torch.arange(20) < 5), none, 0.0).significant, "p is 1/16"
    assert outcome("failed", None) is None
