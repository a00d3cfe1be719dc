"""Runs in third-party environments: all are closed, and one that breaks ends training with its message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pettingzoo_zoo
import pytest
from pettingzoo_zoo import Scripted
from small import small_data

from agentcomm import api
from agentcomm.base import registry
from agentcomm.base.documents import read_rows
from agentcomm.base.errors import AgentcommError, ConfigError, HookError
from agentcomm.conformance import check_world
from agentcomm.contracts.attack import Attack, AttackConfig
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.threat_model import Position, ThreatModel
from agentcomm.pettingzoo.adapter import ParallelWorld
from agentcomm.runs.config import RunConfig, parse
from agentcomm.training import evaluation_size
from agentcomm.training.algorithm import CommPPOConfig

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_running", "plugins")]


class Zoo(ParallelWorld):
    """The adapter as a plug-in."""


class Raising(Attack[AttackConfig]):
    """Its cells fail."""

    def threat_model(self) -> ThreatModel:
        return ThreatModel(Position(kind="edge"), frozenset({"read"}))

    def on_messages(self, view: Any) -> MessageEdits:
        raise RuntimeError("out of ideas")


class Short(Scripted):
    """Episodes of five steps; agent c leaves in the second."""

    fails_in = 0  # the step of the environment's life that raises

    def __init__(self) -> None:
        super().__init__(("abc", "", ""), ("ab", "c", ""), *[("ab", "", "")] * 2, ("", "ab", ""))
        self.taken = 0

    def step(self, actions: dict[str, int]) -> Any:
        self.taken += 1
        if self.taken == self.fails_in:
            raise ConnectionError("licence server does not answer")
        return super().step(actions)


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "check_used", lambda *_: None)  # which would stop at the raising attack
    monkeypatch.setitem(registry._registered, ("environment", "zoo"), Zoo)
    monkeypatch.setitem(registry._registered, ("attack", "raising"), Raising)
    monkeypatch.setattr(pettingzoo_zoo, "Short", Short, raising=False)
    Short.made = Short.closed = Short.fails_in = 0


def config(**training: Any) -> RunConfig:
    data = small_data(control=False, environment={"name": "zoo", "make": "pettingzoo_zoo:Short", "max_steps": 9})
    data["policy"] = {"name": "commformer", "width": 16, "topology": {"name": "full"}}
    data["training"] |= {"evaluate_every": 1, "evaluation_worlds": None, **training}
    data["evaluation"] |= {"attacks": [{"name": "drop"}, {"name": "raising"}], "environments": [{"max_steps": 3}]}
    return parse(data, "test config")


def test_all_environments_of_a_run_are_closed(tmp_path: Path) -> None:
    run = api.train(config(), root=tmp_path)
    assert Short.made == Short.closed > 16
    made = Short.made
    rows = api.evaluate(run)
    assert [row["status"] for row in rows].count("failed") == 1
    assert Short.made == Short.closed > made
    assert len(api.messages(run, attack="drop")) > 0
    api.report(run)
    check_world(lambda b: Zoo(Zoo.Config(make="pettingzoo_zoo:Short", max_steps=3), b), num_worlds=2, resumes=False)
    assert Short.made == Short.closed


def test_evaluation_in_training_uses_its_environments_again() -> None:
    algorithm = CommPPOConfig().team(config(evaluation_worlds=8), "team", 0).build_algo()
    algorithm.train()
    made = Short.made
    algorithm.train()
    assert Short.made == made
    algorithm.stop()
    assert Short.made == Short.closed


def test_an_evaluation_in_training_is_small_where_steps_are_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation_size, "SHARE", 0.0)
    monkeypatch.setattr(evaluation_size, "SECONDS", 1e-9)
    run = api.train(config(), root=tmp_path)
    rows = read_rows(run.team("team", 0) / "progress.jsonl", None, "progress")[0]
    assert [row["eval_episodes"] for row in rows] == [1, 1]


def test_an_environment_that_raises_ends_training_with_its_message_and_leaves_no_run(tmp_path: Path) -> None:
    Short.fails_in = 2
    with pytest.raises(HookError, match=r"pettingzoo_zoo:Short' failed in step 2 of world 0: ConnectionError: licence"):
        api.train(config(), root=tmp_path)
    assert Short.made == Short.closed
    Short.fails_in = 0
    run = api.train(config(), root=tmp_path)
    assert run.trained() == [("team", 0)], "the folder of the failed start was in nobody's way"


def test_a_team_that_cannot_be_built_leaves_no_run_and_no_environments(tmp_path: Path) -> None:
    wrong = config()
    wrong = wrong.model_copy(update={"attacks": (wrong.evaluation.attacks[0].changed({"links": [[0, 7]]}),)})
    with pytest.raises(AgentcommError):
        api.train(wrong, root=tmp_path)
    assert Short.made == Short.closed > 0
    api.train(config(evaluate_every=0), root=tmp_path)


def test_a_broken_evaluation_environment_is_closed(tmp_path: Path) -> None:
    run = api.train(config(), root=tmp_path)
    Short.fails_in = 3
    with pytest.raises(HookError, match="failed in step 3"):
        api.messages(run)
    rows = api.evaluate(run, attacks=[])
    assert "licence server does not answer" in rows[0]["error"]
    assert Short.made == Short.closed
    Short.fails_in = 0
    with pytest.raises(ConfigError, match="cannot be imported"):
        api.evaluate(run, conditions={"environments": [{"make": "pettingzoo_zoo:Nothing"}]})
    assert Short.made == Short.closed
