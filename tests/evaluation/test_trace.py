"""The messages of an evaluated episode, one by one, add up to what the ledger of its cell says."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from small import small

from agentcomm import api
from agentcomm.base.errors import ConfigError, RunError
from agentcomm.runs import policy_file
from agentcomm.runs.assembly import make_policy, make_world
from agentcomm.runs.folder import Run, create

CASES: list[dict[str, Any]] = [
    {},
    {"attack": "impersonate", "defense": "authenticate"},
    {"attack": "drop:probability=0.5"},
    {"attack": "replay:age=2", "path": {"codec": {"name": "int8"}}},
    {"attack": "delay"},
    {"path": {"channels": [{"name": "loss", "probability": 0.3}]}},
    {"path": {"channels": [{"name": "delay", "seconds": 0.15}], "codec": {"name": "int8"}}},
    {"path": {"channels": [{"name": "delay", "seconds": 0.15}, {"name": "loss"}]}},
]


GONE = ("dropped", "lost", "late")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = create(small("control=false", "policy.gate=null", "evaluation.episodes=6"), tmp_path)
    config = run.config
    policy = make_policy(config.policy, make_world(config.environment, 1), "team", 0)
    policy_file.save(run.policy("team", 0), policy, config.environment, config.policy, "team", 0, {})
    return run


@pytest.mark.parametrize("case", CASES)
def test_episodes_add_up_to_the_cell(run: Run, case: dict[str, Any]) -> None:
    attacks = [case["attack"]] if "attack" in case else []
    defenses = [case["defense"]] if "defense" in case else []
    conditions = {"transports": [case["path"]] if "path" in case else []}
    row = api.evaluate(run, attacks, defenses, conditions)[-1]
    stages = {key: value for key, value in case.items() if key != "path"}
    every = [
        entry
        for episode in range(row["episodes"])
        for entry in api.messages(run, episode, conditions=conditions, **stages)
    ]
    fates = Counter(entry["fate"] for entry in every)
    ledger = row["ledger"]
    for name in ("dropped", "lost", "late", "forged", "replayed", "tampered"):
        assert fates[name] == ledger[name], name
    assert sum(entry["accepted"] for entry in every) == ledger["accepted"]
    refused = Counter(entry["refused_by"] for entry in every if entry["refused_by"])
    assert dict(refused) == {
        k.removeprefix("refused_by."): v for k, v in ledger.items() if k.startswith("refused_by.") and v
    }
    if "path" not in case:
        assert sum(entry["bytes"] for entry in every) == ledger["bytes"]
    if "0.15" in str(case) and "codec" in case["path"]:
        assert all(e["arrived_at"] - e["step"] == 1 for e in every if e["arrived_at"] is not None), "0.15 s take a step"
        assert sum(entry["bytes"] for entry in every) == ledger["bytes"]
    if "replay" in case.get("attack", ""):
        sizes = {fate: {e["bytes"] for e in every if e["fate"] == fate} for fate in ("delivered", "replayed")}
        assert sizes["replayed"] <= sizes["delivered"] != set(), "a copy is as long as its original"
    assert fates["delayed"] == 0
    assert all((entry["arrived_at"] is None) == (entry["fate"] in GONE) for entry in every)
    if not attacks:
        assert len(every) == ledger["sent"], "each message once"
    assert all(entry["refused_by"] is None or not entry["accepted"] for entry in every)


def test_an_episode_that_there_is_not_is_named(run: Run) -> None:
    with pytest.raises(RunError, match=r"episode 6 is not one of 0 \.\. 5"):
        api.messages(run, 6)
    with pytest.raises(RunError, match="seed 7"):
        api.messages(run, seed=7)
    with pytest.raises(ConfigError, match=r"several cells \(failure=0.2; gates open\)"):
        api.messages(run, conditions={"environments": [{"failure": 0.2}], "gates": ["open"]})


def test_random_gates_need_no_evaluated_cell(run: Run) -> None:
    assert {entry["fate"] for entry in api.messages(run, conditions={"gates": ["random"]})} == {"delivered"}
