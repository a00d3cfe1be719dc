"""``agentcomm init`` writes a config that explains itself and trains as it is."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from agentcomm.base import registry
from agentcomm.base.values import parse_yaml
from agentcomm.cli.template import template
from agentcomm.contracts.world import WorldConfig
from agentcomm.runs.choices import Choice
from agentcomm.runs.config import EvaluationConfig, RunConfig, TrainingConfig, load, parse

Command = Callable[..., Any]
FORMS = {axis: [(n, a) for n, a in registry.forms(axis).values()] for axis in ("environment", "policy")}
LANTERN = """
from agentcomm.pettingzoo.view import view

def make(size=4):
    return view("predator_prey", size=size)
"""
ZOO = '''
"""{name}: any PettingZoo parallel environment."""
from agentcomm.base.registry import register
from agentcomm.pettingzoo.adapter import ParallelWorld

@register("environment", "{name}")
class Zoo(ParallelWorld):
    pass
'''
NEEDS_A_TEAM = "attacker"  # names the folder of a trained victim


def choice(given: tuple[str, dict[str, Any]]) -> Choice:
    return Choice.model_validate({"name": given[0]} | given[1])


@pytest.mark.parametrize("policy", FORMS["policy"], ids=str)
def test_every_policy_has_a_config(policy: tuple[str, dict[str, Any]]) -> None:
    fits(Choice(name="predator_prey"), choice(policy))


@pytest.mark.parametrize("environment", FORMS["environment"], ids=str)
def test_every_environment_has_a_config(environment: tuple[str, dict[str, Any]]) -> None:
    if environment[0] != NEEDS_A_TEAM:
        fits(choice(environment), Choice(name="ic3net"))


def test_a_field_with_another_default_keeps_its_description() -> None:
    class Short(WorldConfig):
        max_steps: int = 8

    class Shorter(Short):
        max_steps: int = Field(4, description="steps of a game")

    assert Short.model_fields["max_steps"].description == "steps after which an episode is truncated"
    assert Shorter.model_fields["max_steps"].description == "steps of a game"
    assert WorldConfig.model_fields["max_steps"].default == 20


def fits(environment: Choice, policy: Choice) -> None:
    """The config has the chosen arguments, the models' defaults and a description of every key."""
    text = template("mine", environment, policy)
    config = parse(parse_yaml(text, "text"), "the config")
    for axis, chosen, given in (("environment", environment, config.environment), ("policy", policy, config.policy)):
        expected = registry.build_config(axis, chosen.name, chosen.arguments)  # type: ignore[arg-type]
        assert registry.build_config(axis, given.name, given.arguments) == expected  # type: ignore[arg-type]
    assert config.training == TrainingConfig()
    assert config.seeds == RunConfig.model_fields["seeds"].default
    for model in (TrainingConfig, EvaluationConfig):
        assert [i.description for i in model.model_fields.values() if str(i.description) not in text] == []
    assert max(map(len, text.splitlines())) <= 160


def test_a_config_is_written_once(tmp_path: Path, command: Command) -> None:
    said = command("init", "mine", "--env", "predator_prey:size=4", "--policy", "mappo", cwd=tmp_path)
    assert "agentcomm train mine.yaml" in said.stdout
    before = (tmp_path / "mine.yaml").read_text(encoding="utf-8")
    assert "mine.yaml exists already" in command("init", "mine", cwd=tmp_path, code=2).stderr
    assert (tmp_path / "mine.yaml").read_text(encoding="utf-8") == before


def test_an_environment_of_ones_own(tmp_path: Path, command: Command) -> None:
    (tmp_path / "init_lantern.py").write_text(LANTERN)
    (tmp_path / "init_zoo.py").write_text(ZOO.format(name="zoo_of_init"))
    env = "zoo_of_init:make=init_lantern:make,max_steps=8"
    command("init", "mine", "--plugins", "init_zoo", "--env", env, "--policy", "mappo:width=8", cwd=tmp_path)
    config = load(tmp_path / "mine.yaml")
    assert config.plugins == ("init_zoo",)
    assert config.environment.arguments["make"] == "init_lantern:make"
    assert config.environment.arguments["max_steps"] == 8
    assert config.policy.arguments["width"] == 8


def test_the_example_of_a_plug_in_of_ones_own_is_a_command_that_works(tmp_path: Path, command: Command) -> None:
    (tmp_path / "listed_zoo.py").write_text(ZOO.format(name="zoo_of_list"))
    said = command("list", "environments", "zoo_of_list", "--plugins", "listed_zoo", cwd=tmp_path).stdout
    example = said.partition("example: agentcomm ")[2]
    assert "--plugins listed_zoo" in example
    del sys.modules["listed_zoo"], registry._registered["environment", "zoo_of_list"]  # as in another process
    command(*shlex.split(example), cwd=tmp_path)
    assert (tmp_path / "mine.yaml").exists()


@pytest.mark.ray
@pytest.mark.usefixtures("ray_running")
def test_a_written_config_trains_as_it_is(tmp_path: Path, command: Command) -> None:
    command("init", cwd=tmp_path)
    few = ["training.env_steps=256", "training.worlds=16", "training.evaluation_worlds=8", "evaluation.episodes=8"]
    said = command("train", "mine.yaml", *few, cwd=tmp_path)
    assert "agentcomm evaluate runs/mine" in said.stdout
    assert said.stderr == ""
    assert "drop(probability=0.5)" in command("evaluate", "runs/mine", cwd=tmp_path).stdout
