"""The Python API: arguments in every form with one meaning, mistakes in plain words, and progress."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small import small, small_data

import agentcomm
from agentcomm.base.errors import AgentcommError, ConfigError, PluginError
from agentcomm.base.registry import register
from agentcomm.progress import evaluation_bar, training_bar
from agentcomm.runs import policy_file
from agentcomm.runs.assembly import make_policy, make_world
from agentcomm.runs.conditions import Conditions
from agentcomm.runs.folder import Run, create
from attacks.external.drop import Drop


def untrained(root: Path, *overrides: str, **fields: Any) -> Run:
    """A run whose team has never learned."""
    run = create(small("control=false", *overrides, **fields), root)
    config = run.config
    policy = make_policy(config.policy, make_world(config.environment, 1), "team", 0)
    policy_file.save(run.policy("team", 0), policy, config.environment, config.policy, "team", 0, {})
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return untrained(tmp_path_factory.mktemp("runs"))


class OwnDrop(Drop):
    """A registered attack of a user."""


class Forgotten(Drop):
    """One that its author did not register."""


register("attack", "own_drop")(OwnDrop)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda run: agentcomm.train(3), "a config is the path of a YAML file, a dict such as .* not 3"),
        (lambda run: agentcomm.train(None), "a config is the path of a YAML file"),
        (lambda run: agentcomm.train(small_data(), root=3), "root is the path of a folder, not 3"),
        (lambda run: agentcomm.train(small_data(), ["seeds"]), "'seeds' is not of the form key=value"),
        (lambda run: agentcomm.train(small_data(), "training.worldz=3"), "did you mean 'worlds'"),
        (lambda run: agentcomm.evaluate(3), "a run is what train.* returns, or the path of its folder, not 3"),
        (lambda run: agentcomm.evaluate("no/run"), "no run at no/run"),
        (lambda run: agentcomm.evaluate(run, 3), "attacks are given as one or a list"),
        (lambda run: agentcomm.evaluate(run, [3]), "an attack is given as 'name'"),
        (lambda run: agentcomm.evaluate(run, ["dorp", "reply"]), "unknown attack 'dorp'.*\n.*unknown attack 'reply'"),
        (lambda run: agentcomm.evaluate(run, ["drop,noise"]), "names 2 plug-ins"),
        (lambda run: agentcomm.evaluate(run, [{"nmae": "drop"}]), "name: is missing"),
        (lambda run: agentcomm.evaluate(run, [], ["clip", "clop"]), "unknown defense 'clop'"),
        (lambda run: agentcomm.evaluate(run, [], ["clip+clip"]), "contains a defense twice"),
        (
            lambda run: agentcomm.evaluate(run, [Forgotten]),
            r"Forgotten is not registered as an attack: put @register\(",
        ),
        (lambda run: agentcomm.evaluate(run, conditions="open"), "conditions are a mapping such as"),
        (lambda run: agentcomm.evaluate(run, conditions=[{"gates": ["open"]}]), "conditions are a mapping such as"),
        (
            lambda run: agentcomm.evaluate(run, ["dorp"], ["clop"], {"gate": "open"}),
            "(?s)unknown attack 'dorp'.*unknown defense 'clop'.*gate: unknown key; did you mean 'gates'",
        ),
        (lambda run: agentcomm.messages(run, "first"), "episode: must be a whole number"),
        (lambda run: agentcomm.messages(run, seed="x"), "seed: must be a whole number"),
        (lambda run: agentcomm.messages(run, attack=["drop"]), "an attack is given as 'name'"),
        (lambda run: agentcomm.report(3), "a run is what train"),
    ],
)
def test_wrong_arguments_are_answered_with_the_right_form(run: Run, call: Callable[[Run], Any], says: str) -> None:
    with pytest.raises(AgentcommError, match=says):
        call(run)


def test_arguments_have_many_forms(run: Run) -> None:
    rows = agentcomm.evaluate(run, OwnDrop, "clip", {"gates": "closed"})
    found = [(row["attack"] and row["attack"]["name"], row["defense_label"], row["conditions_label"]) for row in rows]
    assert found == [
        (None, "none", ""),
        (None, "clip", ""),
        ("own_drop", "none", ""),
        ("own_drop", "clip", ""),
        (None, "none", "gates closed"),
    ]
    for given in (["own_drop"], [{"name": "own_drop", "probability": 1}], ("own_drop:probability=1e0",)):
        assert agentcomm.evaluate(run, given, [["clip"]], {"gates": ["closed"]}) == rows
    assert agentcomm.evaluate(run, [], [], [Conditions()]) == rows[:1]
    assert agentcomm.messages(run, attack=OwnDrop)


@pytest.mark.parametrize(
    ("policy", "attacks", "conditions", "says"),
    [
        ("ippo", [], {"gates": "closed"}, "gates=closed changes nothing: this team sends no messages"),
        ("ippo", [], {"transports": {"codec": "int8"}}, "the transport int8 changes nothing: this team sends no"),
        ("commnet", [], {"gates": "open"}, "gates=open changes nothing: this team has no gates"),
        ("commnet", [], {"gates": ["random", "closed"]}, "gates=random changes nothing"),
        ("commnet", [], {"environments": {"max_steps": 8}}, "max_steps: 8.* is how the team was trained"),
    ],
)
def test_conditions_without_effect_are_refused(
    tmp_path: Path, policy: str, attacks: list[str], conditions: dict[str, Any], says: str
) -> None:
    made = untrained(tmp_path, policy=policy)
    with pytest.raises(ConfigError, match=says):
        agentcomm.evaluate(made, attacks, [], conditions)
    assert not made.cells.exists()


@pytest.mark.parametrize("isolate", [False, True])
def test_mistakes_that_show_with_the_team_are_named_together(tmp_path: Path, isolate: bool) -> None:
    made = untrained(tmp_path, policy="commnet")
    with pytest.raises(ConfigError) as caught:
        agentcomm.evaluate(made, ["fragment"], ["codeword"], {"gates": "open"}, isolate=isolate)
    said = str(caught.value).splitlines()
    for start in ("gates=open changes nothing", "attack 'fragment'", "defense 'codeword'"):
        assert [line for line in said if start in line], said
    assert not made.cells.exists()


def test_mistakes_in_several_conditions_are_named_together(run: Run) -> None:
    asked = {"gates": "opne", "environments": [{"sise": 4}, {"max_steps": 8}], "transports": {"codec": "int9"}}
    with pytest.raises(ConfigError) as caught:
        agentcomm.evaluate(run, [], [], asked)
    for text in ("opne", "sise", "int9"):
        assert text in str(caught.value)


def test_conditions_with_effect_are_accepted(tmp_path: Path) -> None:
    made = untrained(tmp_path, policy="commnet")
    asked = {"gates": "closed", "obedience": 0.5, "environments": {"max_steps": 6}, "transports": {"codec": "float16"}}
    assert all(row["status"] == "ok" for row in agentcomm.evaluate(made, "directive:action=1", [], asked))


def test_progress_is_shown_to_those_who_see_it(run: Run, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    with training_bar() as bar, evaluation_bar() as watch:
        assert (bar, watch) == (None, None), "nothing is printed into a pipe"
    agentcomm.evaluate(run, [], [])
    assert capfd.readouterr() == ("", "")
    agentcomm.evaluate(run, [], [], progress=True)
    out, err = capfd.readouterr()
    assert (out, "evaluating" in err) == ("", True)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    agentcomm.evaluate(run, [], [], progress=False)
    assert capfd.readouterr() == ("", "")
    with training_bar() as bar:
        assert bar is not None
        bar.team("team-0", 0, 100)
        bar.iteration("team-0", {"env_steps": 50, "env_steps_per_second": 1000.0, "success": 0.5})
    assert "success 0.50" in capfd.readouterr().err


def test_the_api_is_at_the_top() -> None:
    every = ["certify", "compare", "evaluate", "export", "from_callable"]
    every += ["grid", "messages", "pictures", "report", "rerun", "train"]
    assert agentcomm.__all__ == every
    assert all(callable(getattr(agentcomm, name)) for name in agentcomm.__all__)
    with pytest.raises(PluginError, match="already registered"):
        register("attack", "own_drop")(Forgotten)
