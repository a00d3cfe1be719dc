"""Attacks that exfiltrate succeed where agents tell everything, and no more often than their controls where nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small import small
from torch import Tensor

from agentcomm import api
from agentcomm.base import registry
from agentcomm.evaluation.exfiltration import beyond_chance
from agentcomm.runs import policy_file
from agentcomm.runs.assembly import make_policy, make_world
from agentcomm.runs.choices import Choice
from agentcomm.runs.folder import Run, create
from policies.commnet import CommNet

Row = dict[str, Any]


class TellsAll(CommNet):
    """Says all that it has observed."""

    def speak(self, hidden: Tensor, round_: int) -> Tensor:
        return hidden


class TellsNothing(CommNet):
    """Says the same, whatever it has observed."""

    def speak(self, hidden: Tensor, round_: int) -> Tensor:
        return torch.ones_like(hidden)


@pytest.fixture(params=[TellsAll, TellsNothing])
def talker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> type[CommNet]:
    monkeypatch.setitem(registry._registered, ("policy", "talker"), request.param)
    monkeypatch.setattr(request.param, "name", "talker")
    made: type[CommNet] = request.param
    return made


def run_of(folder: Path, **transport: Any) -> Run:
    """An untrained team of talkers that all hear each other."""
    choice = Choice.model_validate({"name": "talker", "width": 16, "topology": {"name": "full"}})
    config = small("control=false", "evaluation.episodes=200", policy={"name": "commnet"}, transport=transport)
    config = config.model_copy(update={"policy": choice})
    run = create(config, folder)
    policy = make_policy(choice, make_world(config.environment, 1))
    policy_file.save(run.policy("team", 0), policy, config.environment, choice, "team", 0, {})
    return run


def row(run: Run, attack: str) -> Row:
    rows = [row for row in api.evaluate(run, [attack], []) if row["attack"]]
    assert rows[0]["status"] == "ok", rows[0]["error"] or rows[0].get("reason")
    return rows[0]


def said(found: Row) -> Row:
    """Its metrics and its effect."""
    return found["metrics"] | found["effect"]


@pytest.mark.parametrize("attack", ["eavesdrop", "infer:node=1"])
def test_readers_succeed_where_messages_say_what_agents_see(tmp_path: Path, talker: type[CommNet], attack: str) -> None:
    found = said(row(run_of(tmp_path), attack))
    if talker is TellsAll:
        assert found["rate"] > 0.8
        assert found["guessed_right"] > found["guessed_right_a_priori"] + 0.1
    else:
        assert found["rate"] <= found["control_rate"] + 0.05
        assert found["guessed_right"] == pytest.approx(found["guessed_right_a_priori"], abs=0.03)
    assert found["control_rate"] < 0.2


@pytest.mark.parametrize("talker", [TellsAll], indirect=True)
def test_a_leak_succeeds_where_its_bits_arrive(tmp_path: Path, talker: type[CommNet]) -> None:
    found = said(row(run_of(tmp_path), "leak:node=1"))
    assert (found["rate"], found["guessed_right"]) == (1.0, 1.0)
    assert found["control_rate"] < 0.15, "payloads without bits are decoded to chance"
    assert found["guessed_right_a_priori"] == 0.5


@pytest.mark.parametrize("talker", [TellsAll], indirect=True)
def test_a_leak_fails_where_its_messages_are_lost(tmp_path: Path, talker: type[CommNet]) -> None:
    found = said(row(run_of(tmp_path, channels=[{"name": "loss", "probability": 1.0}]), "leak:node=1"))
    assert (found["rate"], found["control_rate"], found["guessed_right"]) == (0.0, 0.0, 0.0)


def test_chance_is_no_success() -> None:
    better, worse = torch.tensor([0, 4, 5, 60, 52, 10]), torch.tensor([0, 0, 0, 40, 48, 100])
    assert beyond_chance(better, worse).tolist() == [False, False, True, True, False, False]
