"""Policies that were trained elsewhere: evaluated in the same grid as the testbed's own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agentcomm import api
from agentcomm.base import registry
from agentcomm.base.errors import AgentcommError, ConfigError, HookError
from agentcomm.conformance import check_policy
from agentcomm.contracts.continuous import Continuous
from agentcomm.contracts.discrete import Discrete, MultiDiscrete
from agentcomm.contracts.world import World
from agentcomm.evaluation import stored
from agentcomm.pettingzoo.message_actions_calling import Caller
from agentcomm.pettingzoo.message_actions_inbox import Received, Symbols, Vectors
from agentcomm.report.load import load_run
from agentcomm.runs.assembly import check_training, make_policy, make_world
from agentcomm.runs.choices import Choice
from agentcomm.runs.config import parse
from agentcomm.runs.foreign import _name

AGENTS = '''
import numpy as np
from agentcomm.pettingzoo.message_actions import Symbols, foreign_policy

FOUR = Symbols(symbols=4)

@foreign_policy(FOUR)
def tells(agent, observation, inbox):
    """The head of a line says what it sees, and the others do what they hear from it."""
    own = int(observation.argmax())
    if observation.any():
        return own, own
    return int(inbox.payload[0].argmax()) if inbox.mask[0] else 0, None

@foreign_policy(FOUR, batched=True)
def tell(observation, inbox):
    heard = np.where(inbox.mask[..., 0], inbox.payload[..., 0, :].argmax(-1), 0)
    own = observation.argmax(-1)
    action = np.where(observation.any(-1), own, heard)
    return action, own

@foreign_policy(FOUR, batched=True)
def load(path):
    shift = int(open(path).read())
    return lambda observation, inbox: ((tell(observation, inbox)[0] + shift) % 4, observation.argmax(-1))

def quiet(agent, observation, inbox):
    return int(observation.argmax()), None
'''
LINE = "relay_line:members=3"
FOUR = Discrete(tuple("0123"))


@pytest.fixture
def agents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the module ``my_agents``."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_agents.py").write_text(AGENTS)
    path = list(sys.path)
    yield tmp_path
    sys.path[:] = path
    sys.modules.pop("my_agents", None)


def returns(rows: list[dict[str, Any]]) -> list[float]:
    assert all(row["status"] == "ok" for row in rows), rows
    return [row["metrics"]["mean_return"] for row in rows]


def test_a_callable_is_evaluated_like_any_team(agents: Path) -> None:
    run = api.from_callable("my_agents:tells", LINE, control="my_agents:quiet", episodes=64)
    rows = api.evaluate(run, attacks=["drop", "impersonate"], defenses=["authenticate"])
    clean, silent = (next(r for r in rows if r["variant"] == v and not r["attack"]) for v in ("team", "control"))
    assert clean["metrics"]["mean_return"] > 7.3 > 5 > silent["metrics"]["mean_return"]
    assert silent["ledger"]["sent"] == 0
    assert clean["references"]["learned"]["learned"]
    assert clean["references"]["untrained"]["mean_return"] < 3
    by = {(row["attack"] or {}).get("name", "none") + row["defense_label"]: row for row in rows if row["seed"] == 0}
    assert by["impersonatenone"]["outcome"] == "success"
    assert by["impersonateauthenticate"]["metrics"]["mean_return"] == clean["metrics"]["mean_return"]
    assert "module 'my_agents'" in clean["identity"]
    assert api.report(run).exists()
    page = (run.path / "report.html").read_text("utf-8")
    assert "The team does better than at random" in page
    assert "before training" not in page
    assert "with random actions" in page


def test_messages_of_symbols_show_what_was_read(agents: Path) -> None:
    run = api.from_callable("my_agents:tells", LINE, episodes=8)
    found = api.messages(run)
    truth = {(entry["step"], entry["sender"]): entry["symbol"] for entry in found}
    assert len(set(truth.values())) == 1, "the line passes on one symbol"
    others = {entry["symbol"] for episode in range(1, 8) for entry in api.messages(run, episode=episode)}
    assert len(others) > 1
    assert others <= {0, 1, 2, 3}
    assert all(entry["symbol"] == truth[entry["step"], entry["sender"]] for entry in found), "all hear the same"
    dropped = api.messages(run, attack="drop:probability=0.5")
    assert {entry["symbol"] is None for entry in dropped if entry["fate"] == "dropped"} == {True}
    assert {entry["symbol"] is None for entry in dropped if entry["fate"] == "delivered"} == {False}
    forged = [entry for entry in api.messages(run, attack="impersonate") if entry["fate"] == "forged"]
    assert forged
    assert any(entry["symbol"] != truth.get((entry["step"], entry["sender"])) for entry in forged)


def test_rows_depend_on_the_source_of_the_callable(agents: Path) -> None:
    run = api.from_callable("my_agents:tell", LINE, episodes=16)
    api.evaluate(run)
    again = api.from_callable("my_agents:tell", LINE, episodes=16)
    assert again.path == run.path
    assert [row["seconds"] for row in api.evaluate(again)] == [row["seconds"] for row in stored.read(run)]
    (agents / "my_agents.py").write_text(AGENTS + "\n# changed\n")
    api.evaluate(run)
    assert ["module 'my_agents' changed" in (row.get("stale") or "") for row in stored.read(run)] == [True, False]


def test_checkpoints_are_teams_with_rows_of_their_own(agents: Path) -> None:
    for number in (0, 1):
        (agents / f"{number}.txt").write_text(str(number))
    run = api.from_callable("my_agents:load", LINE, checkpoints=["0.txt", "1.txt"], episodes=16)
    good, bad = returns(api.evaluate(run, attacks=[]))
    assert good > 7
    assert bad < 1
    (agents / "1.txt").write_text("0")
    assert returns(api.evaluate(run, attacks=[])) == [good, good]
    assert [bool(row.get("stale")) for row in stored.read(run)].count(True) == 1, "that of the other one is kept"


def test_batched_and_single_agents_are_the_same_team(agents: Path) -> None:
    rows = []
    for name in ("tell", "tells"):
        run = api.from_callable(f"my_agents:{name}", LINE, episodes=32, name=name)
        rows.append(returns(api.evaluate(run, attacks=["drop:probability=0.5"])))
    assert rows[0][0] == rows[1][0]


@pytest.mark.parametrize("form", ["", "batched"])
def test_a_foreign_policy_keeps_the_contract(form: str) -> None:
    arguments = registry.find("policy", "foreign").forms()[form]

    def policy(world: World) -> Any:
        made = make_policy(Choice.model_validate({"name": "foreign"} | arguments), world)
        made.taken_over.fill_(1)  # type: ignore[operator]
        return made

    where = Choice.model_validate({"name": "predator_capture_prey", "max_steps": 8})
    check_policy(policy, lambda count: make_world(where, count))


WRONG: dict[str, tuple[Callable[..., Any], str]] = {
    "no tuple": (lambda *_: 3, r"must return a tuple \(action, message\), not 3"),
    "an action that does not exist": (
        lambda *_: (7, 1),
        r"actions \(one number\), whole numbers in 0 .. 3, or parameters \[4\]",
    ),
    "a fraction": (lambda *_: (0.5, 1), "not 0.5"),
    "a message that does not exist": (lambda *_: (1, 4), r"messages \(one number\) of Discrete\(4\), not 4"),
    "no numbers": (lambda *_: (np.full(4, np.nan), 1), "NaN"),
    "an error": (lambda *_: 1 // 0, "failed in its call: ZeroDivisionError.*test_foreign.py, line"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_answer_is_named(kind: str) -> None:
    function, message = WRONG[kind]
    caller = Caller(function, "policy 'mine'", ["a"], FOUR, Symbols(), 0, batched=False)
    empty = Received(np.zeros((1, 1, 1, 4)), np.zeros((1, 1, 1), bool), np.ones((1, 1, 1), int), 2)
    with pytest.raises(HookError, match=f"policy 'mine' {message}" if kind == "an error" else message):
        caller(np.zeros((1, 1, 2)), empty, np.zeros((1, 1, 0)))


@pytest.mark.parametrize(
    ("space", "action"),
    [
        (FOUR, [2, 0]),
        (MultiDiscrete((3, 2)), [[2, 0], [1, 1]]),
        (Continuous((-1.0, 0.0), (1.0, 4.0), squashed=False), [[0.25, 3.0], [-1.0, 0.0]]),
    ],
)
def test_actions_of_all_kinds_are_the_likeliest(space: Any, action: Any) -> None:
    given = np.array([action])
    caller = Caller(lambda *_: (given, None), "policy 'mine'", "ab", space, Symbols(), 0, batched=True)
    empty = Received(np.zeros((1, 2, 1, 4)), np.zeros((1, 2, 1), bool), np.ones((1, 2, 1), int), 3)
    parameters = torch.from_numpy(caller(np.zeros((1, 2, 5)), empty, np.zeros((1, 2, 0))).parameters)
    assert np.allclose(space.executed(space.choose(parameters, None)), given)


def test_answers_of_a_batch_are_checked() -> None:
    empty = Received(np.zeros((2, 3, 1, 2)), np.zeros((2, 3, 1), bool), np.ones((2, 3, 1), int), 4)
    state = np.zeros((2, 3, 1), np.float32)
    right = np.zeros((2, 3), int), np.zeros((2, 3, 2))
    for answer, message in (
        ((*right, np.zeros((2, 3))), r"a state \[2, 3, 1\] of numbers, not float64 \[2, 3\]"),
        ((right[0], np.full((2, 3, 2), np.inf), state), "of Box"),
        ((right[0][0], right[1], state), r"actions \[2, 3\]"),
    ):
        caller = Caller(
            lambda *_, answer=answer: answer, "policy 'mine'", "abc", FOUR, Vectors(width=2), 1, batched=True
        )
        with pytest.raises(HookError, match=message):
            caller(np.zeros((2, 3, 5)), empty, state)
    caller = Caller(lambda *_: (right[0], None, state), "policy 'mine'", "abc", FOUR, Vectors(width=2), 1, batched=True)
    assert not caller(np.zeros((2, 3, 5)), empty, state).speaks.any()


def test_mistakes_are_named_before_anything_runs(agents: Path) -> None:
    for policy, message in (
        ("my_agents:tels", "my_agents has no 'tels'; did you mean 'tells'"),
        ("no_agents:tells", "there is no such module"),
        ("tells", "must be 'package.module:function'"),
        (lambda *_: (0, 0), "define a function at the top of a module"),
    ):
        with pytest.raises(AgentcommError, match=message):
            api.from_callable(policy, LINE)
    assert not (agents / "runs").exists()
    with pytest.raises(ConfigError, match=r"takes \(.*\).*, but is called with \(observation, inbox\).*--checkpoint"):
        api.from_callable("my_agents:load", LINE)
    assert not (agents / "runs").exists(), "what is refused leaves no folder behind"
    where = make_world(Choice.model_validate({"name": "relay_line"}), 1)
    other = Choice.model_validate({"name": "foreign", "make": "subprocess:getoutput", "checkpoint": "echo"})
    with pytest.raises(ConfigError, match="no config in use names that module"):
        make_policy(other, where)
    run = api.from_callable("my_agents:tells", LINE, episodes=4)
    with pytest.raises(AgentcommError, match="attack 'gradient' cannot be used here: it needs knowledge of the policy"):
        api.evaluate(run, attacks=["gradient"])
    with pytest.raises(AgentcommError, match="a callable is asked once per step: use another defense"):
        api.evaluate(run, attacks=[], defenses=["ensemble"])
    foreign = {"name": "foreign", "make": "my_agents:tells"}
    config = parse({"name": "mine", "environment": "relay_line", "policy": foreign}, "a config")
    with pytest.raises(ConfigError, match="has no weights, so there is nothing to train"):
        check_training(config)


def test_a_later_look_at_fewer_episodes_keeps_the_better_rows(agents: Path) -> None:
    def rows(episodes: int) -> list[dict[str, Any]]:
        run = api.from_callable("my_agents:tells", LINE, episodes=episodes)
        return api.evaluate(run, attacks=["drop"])

    better, quick = rows(16), rows(4)
    assert [row["episodes"] for row in (*better, *quick)] == [16, 16, 4, 4]
    run = api.from_callable("my_agents:tells", LINE, episodes=16)
    assert stored.read(run) == [*better, *quick], "both stay on file"
    assert api.evaluate(run, attacks=["drop"]) == better, "served from the file"
    assert load_run(run.path).cells == better


def test_runs_of_environments_of_others_have_names_of_their_own(agents: Path) -> None:
    makes = ["envs.gridworld.predator_prey:parallel_env", "envs.relay_line:parallel_env"]
    names = {_name("my_agents:tells", Choice(name="pettingzoo", make=make)) for make in makes}  # type: ignore[call-arg]
    assert names == {
        "my_agents-tells-envs-gridworld-predator_prey-parallel_env",
        "my_agents-tells-envs-relay_line-parallel_env",
    }
    assert _name("my_agents:tells", Choice(name="relay_line")) == "my_agents-tells-relay_line"
