"""Every field of Conditions is an option of both commands, part of the cell's id, and acts in the replay, too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from small import small
from typer.testing import CliRunner

from agentcomm.base.documents import read_rows
from agentcomm.cli.main import app
from agentcomm.evaluation.cells import Cell
from agentcomm.runs import policy_file
from agentcomm.runs.assembly import make_policy, make_world
from agentcomm.runs.choices import Choice, TransportConfig
from agentcomm.runs.conditions import Conditions
from agentcomm.runs.folder import Run, create

FAR = TransportConfig(channels=(Choice.parse("loss:probability=0.4"),), codec=Choice(name="int8"), step_seconds=0.05)
OBJECTS = TransportConfig(carrier="objects")
CASES: list[tuple[str, Any]] = [
    ("environment", {"failure": 0.3, "max_steps": 6}),
    ("gates", "closed"),
    ("gates", "random"),
    ("transport", FAR),
    ("decisions", "sampled"),
    ("obedience", 0.9),
    ("device", "cpu:0"),
    ("transport", OBJECTS),
]
SAME_RESULTS = ("cpu:0", OBJECTS)  # by what and where it is computed, not what comes out


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """An untrained team whose usual cells, under attack and clean, are evaluated."""
    gated = {"name": "commformer", "width": 16, "gate": {"cost": 0.01, "initial_logit": -0.5}}
    evaluation = {"episodes": 6, "recordings": 0}
    run = create(small("control=false", policy=gated, evaluation=evaluation), tmp_path_factory.mktemp("runs"))
    config = run.config
    policy = make_policy(config.policy, make_world(config.environment, 1), "team", 0)
    torch.manual_seed(0)
    for parameter in policy.parameters():
        parameter.data += 0.6 * torch.randn(parameter.shape)  # some gates open, others closed
    policy_file.save(run.policy("team", 0), policy, config.environment, config.policy, "team", 0, {})
    command("evaluate", str(run.path), "--attack", "directive:action=0")
    return run


def command(*words: str) -> str:
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def ledger(run: Run, cell: Cell) -> dict[str, int]:
    row = next(row for row in read_rows(run.cells, None, "cells")[0] if row["id"] == cell.id)
    assert row["conditions"] == cell.conditions.model_dump(mode="json")
    found = row["ledger"]
    return {"all": found["sent"] + found["forged"], "lost": found["lost"], "accepted": found["accepted"]}


def counts(entries: list[dict[str, Any]]) -> dict[str, int]:
    lost = sum(entry["fate"] == "lost" for entry in entries)
    return {"all": len(entries), "lost": lost, "accepted": sum(entry["accepted"] for entry in entries)}


def test_every_field_is_among_the_cases() -> None:
    assert {field for field, _ in CASES} == set(Conditions.model_fields)


@pytest.mark.parametrize(("field", "value"), CASES)
def test_a_condition_is_asked_for_evaluated_and_replayed(run: Run, field: str, value: Any) -> None:
    usual = Conditions()
    under = Conditions(**{field: value})
    asked = under.options(usual)
    attack = ("--attack", "directive:action=0") if under.crossed else ()
    command("evaluate", str(run.path), *attack, *asked)
    choice = Choice.parse(attack[1]) if attack else None
    settings = run.config.evaluation
    cell, plain = (Cell("team", 0, choice, (), settings.episodes, settings.seed, c) for c in (under, usual))
    cell, plain = cell.canonical(run.config.environment), plain.canonical(run.config.environment)
    assert cell.id != plain.id
    assert (ledger(run, cell) == ledger(run, plain)) == (value in SAME_RESULTS), "it acts"
    entries = []
    for episode in range(settings.episodes):
        said = command("messages", str(run.path), "--episode", str(episode), "--json", *attack, *asked)
        entries += [json.loads(line) for line in said.splitlines()]
    assert counts(entries) == ledger(run, cell)


def test_the_config_names_conditions_that_differ_from_its_own_in_one_thing(tmp_path: Path) -> None:
    config = small(
        transport={"channels": [{"name": "loss"}]},
        evaluation={
            "decisions": "sampled",
            "environments": [{"failure": 0.1}],
            "gates": ["open"],
            "transports": [{}, {"channels": [{"name": "loss"}]}],
        },
    )
    found = config.evaluation.expand(config.transport)
    labels = ["decisions sampled"]
    labels += [f"{change}, decisions sampled" for change in ("failure=0.1", "gates open", "plain transport")]
    assert [under.label(config.transport) for under in found] == labels
    assert [under.crossed for under in found] == [True, False, False, True]
