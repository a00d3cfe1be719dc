"""``agentcomm init`` writes a config that explains itself and trains as it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from processes import agentcomm

from agentcomm.base import registry
from agentcomm.base.values import parse_yaml
from agentcomm.cli.template import template
from agentcomm.runs.choices import Choice
from agentcomm.runs.config import EvaluationConfig, RunConfig, TrainingConfig, parse

Command = Callable[..., Any]
FORMS = {axis: [(n, a) for n, a in registry.forms(axis).values()] for axis in ("environment", "policy")}
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


@pytest.mark.ray
def test_a_written_config_trains_as_it_is(tmp_path: Path) -> None:
    agentcomm("init", cwd=tmp_path)
    few = ["training.env_steps=256", "training.worlds=16", "training.evaluation_worlds=8", "evaluation.episodes=8"]
    said = agentcomm("train", "mine.yaml", *few, cwd=tmp_path)
    assert "agentcomm evaluate runs/mine" in said.stdout
    assert said.stderr == ""
    assert "drop(probability=0.5)" in agentcomm("evaluate", "runs/mine", cwd=tmp_path).stdout
