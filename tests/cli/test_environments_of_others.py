"""Third-party environments on the command line and in configs, named by what makes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small import small_data

from agentcomm.base.errors import AgentcommError
from agentcomm.cli.train import planned
from agentcomm.runs.choices import Choice
from agentcomm.runs.config import load, overridden, parse

SPREAD = "mpe2.simple_spread_v3:parallel_env"


@pytest.mark.parametrize(
    ("given", "arguments"),
    [
        (f"pettingzoo:{SPREAD}", {"make": SPREAD}),
        (f"pettingzoo:{SPREAD},max_steps=25,arguments.N=4", {"make": SPREAD, "max_steps": 25, "arguments": {"N": 4}}),
        (f"pettingzoo:make={SPREAD},processes=2", {"make": SPREAD, "processes": 2}),
        (f"pettingzoo(make={SPREAD}, max_steps=25)", {"make": SPREAD, "max_steps": 25}),
        ({"name": f"pettingzoo:{SPREAD}", "max_steps": 25}, {"make": SPREAD, "max_steps": 25}),
        ("gymnasium:rware:rware-tiny-2ag-v2", {"make": "rware:rware-tiny-2ag-v2"}),
    ],
)
def test_an_environment_is_named_by_what_makes_it(given: Any, arguments: dict[str, Any]) -> None:
    choice = Choice.model_validate(given)
    assert choice.name in ("pettingzoo", "gymnasium")
    assert choice.arguments == arguments
    assert Choice.parse(choice.label) == choice
    assert parse(small_data(environment=given), "it").environment == choice


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (f"pettingzoo:{SPREAD},make=a:b", "'make' is given twice"),
        ({"name": f"pettingzoo:{SPREAD}", "make": "a:b"}, "'make' is given twice"),
        (f"predator_prey:{SPREAD}", "not of the form key=value"),
    ],
)
def test_wrong_spellings_are_explained(given: Any, message: str) -> None:
    with pytest.raises(AgentcommError, match=message):
        parse(small_data(environment=given), "it")


def test_overrides_reach_the_arguments(tmp_path: Path) -> None:
    words = [f"environment=pettingzoo:{SPREAD}", "environment.arguments.N=4", "environment.max_steps=9"]
    config = parse(overridden(small_data(), words), "it")
    assert config.environment.arguments == {"make": SPREAD, "arguments": {"N": 4}, "max_steps": 9}


def test_without_a_config_all_has_the_values_of_init() -> None:
    config = planned(Choice.parse(f"pettingzoo:{SPREAD},max_steps=25"), ["training.env_steps=5e4", "policy=mappo"])
    assert (config.name, config.training.env_steps, config.policy.name) == ("simple_spread_v3", 50_000, "mappo")
    assert config.environment.arguments["make"] == SPREAD
    assert [choice.name for choice in config.evaluation.attacks] == ["drop", "noise"]
    assert planned(Choice.parse("gymnasium:lbforaging:Foraging-8x8-2p-2f-v3"), []).name == "Foraging-8x8-2p-2f-v3"
    assert planned(Choice.parse("predator_prey:size=4"), ["name=mine"]).name == "mine"


@pytest.mark.ray
@pytest.mark.usefixtures("ray_running")
def test_a_module_in_the_working_directory_trains_at_once(tmp_path: Path, command: Any) -> None:
    (tmp_path / "lantern_of_train.py").write_text("from pettingzoo_zoo import Fragile\n")
    few = ["training.env_steps=64", "training.worlds=8", "training.fragment=4", "policy.width=16", "control=false"]
    few += ["training.evaluate_every=0"]
    env = "pettingzoo:lantern_of_train:Fragile,processes=2,max_steps=8"
    said = command("train", "--env", env, *few, cwd=tmp_path)
    assert "agentcomm evaluate runs/lantern_of_train" in said.stdout
    assert said.stderr == ""
    assert load(tmp_path / "runs/lantern_of_train/config.yaml").environment.name == "pettingzoo"
    assert "give a CONFIG" in command("train", cwd=tmp_path, code=2).stderr
