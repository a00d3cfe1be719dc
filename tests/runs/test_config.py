"""Configs are checked before anything runs, and errors name the field, the value and the mend."""

from __future__ import annotations

from pathlib import Path

import pytest
from small import small, small_data

from agentcomm.base.errors import AgentcommError, ConfigError
from agentcomm.base.values import to_yaml
from agentcomm.runs.choices import Choice, apply_override
from agentcomm.runs.config import dump, load, parse


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("environment.name=predator_pray", ["predator_pray", "predator_prey"]),
        ("environment.sise=5", ["sise", "size"]),
        ("environment.size=0", ["size", "0"]),
        ("policy.topology.name=lerned", ["topology", "lerned", "learned"]),
        ("policy.width=7.5", ["width", "7.5"]),
        ("policy.gate.cost=-1", ["gate", "cost", "-1"]),
        ("training.env_step=5", ["training.env_step", "env_steps"]),
        ("training.ppo.learning_rate=fast", ["learning_rate", "fast"]),
        ("training.ppo.learning_rate=.nan", ["learning_rate", "nan"]),
        ("training.worlds=0", ["training.worlds", "0"]),
        ("attacks=[{name: drop, budget: {per_step: -1}}]", ["per_step", "-1"]),
        ("attacks=[{name: drop, budget: {per_stepp: 1}}]", ["per_stepp", "per_step"]),
        ("attacks=[{name: dorp}]", ["dorp", "drop"]),
        ("evaluation.defenses=[[{name: authentikate}]]", ["authentikate", "authenticate"]),
        ("seeds=[1, 1]", ["seeds", "differ"]),
        ("seeds=[]", ["seeds"]),
        ("name=../up", ["name", "../up"]),
        ("plugins=[no_such_module]", ["plugins", "no_such_module"]),
        ("nmae=x", ["nmae", "name"]),
    ],
)
def test_mistakes_are_named(override: str, words: list[str]) -> None:
    with pytest.raises(AgentcommError) as found:
        small(override)
    missing = [word for word in words if word not in str(found.value)]
    assert not missing, f"{missing} not in: {found.value}"


def test_a_config_survives_its_own_file(tmp_path: Path) -> None:
    config = small(attacks=[{"name": "noise", "epsilon": 1.5}], defenses=[{"name": "clip"}])
    path = tmp_path / "config.yaml"
    path.write_text(dump(config), encoding="utf-8")
    assert load(path) == config


def test_overrides_reach_nested_keys(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(dump(small()), encoding="utf-8")
    config = load(path, ["training.ppo.learning_rate=1e-4", "environment.size=4", "seeds=[3,5]"])
    assert config.training.ppo.learning_rate == 1e-4
    assert config.environment.arguments["size"] == 4
    assert config.seeds == (3, 5)


@pytest.mark.parametrize("text", ["no-equals", "=5", "name.deeper=5", "training.worlds.x=1", "x=[1"])
def test_malformed_overrides_are_refused(text: str) -> None:
    with pytest.raises(ConfigError) as found:
        apply_override(small_data(), text)
    assert text.partition("=")[0].rpartition(".")[2] in str(found.value)


def test_missing_and_broken_files(tmp_path: Path) -> None:
    (tmp_path / "demo.yaml").write_text("name: [", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"demo\.yaml is not valid YAML"):
        load(tmp_path / "demo.yaml")
    with pytest.raises(ConfigError, match=r"no config at .*demi\.yaml.*'demo\.yaml'"):
        load(tmp_path / "demi.yaml")
    with pytest.raises(ConfigError, match="must hold a mapping"):
        parse([1, 2], "this")


@pytest.mark.parametrize(
    ("text", "name", "arguments", "label"),
    [
        ("drop", "drop", {}, "drop"),
        ("drop(probability=0.5)", "drop", {"probability": 0.5}, "drop(probability=0.5)"),
        ("drop:probability=0.5", "drop", {"probability": 0.5}, "drop(probability=0.5)"),
        (
            "noise:links=[[0,1],[1,2]],budget.per_step=1",
            "noise",
            {"links": [[0, 1], [1, 2]], "budget": {"per_step": 1}},
            "noise(links=[[0, 1], [1, 2]], budget={per_step: 1})",
        ),
    ],
)
def test_choices_are_read_from_one_word(text: str, name: str, arguments: dict[str, object], label: str) -> None:
    choice = Choice.parse(text)
    assert (choice.name, choice.arguments, choice.label) == (name, arguments, label)


def test_a_choice_needs_a_name() -> None:
    with pytest.raises(ConfigError, match="names no plug-in"):
        Choice.parse(":a=1")


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    wrong = {"seeds": [0, "x"], "paths": [], "attacks": ["dorp", {"name": "noise", "epsilom": 3}]}
    wrong |= {"evaluation": {"gates": ["shut"], "attacks": ["reply"], "environments": [{"sise": 3}]}}
    path.write_text(to_yaml(small_data() | wrong), encoding="utf-8")
    with pytest.raises(ConfigError) as found:
        load(path, ["policy=mapppo", "training.worldz=3", "training.env_steps=many"])
    words = [
        "seeds[1]",
        "evaluation.transports",
        "dorp",
        "epsilom",
        "'closed'",
        "'reply'",
        "sise",
        "mapppo",
        "worldz",
        "many",
    ]
    assert [word for word in words if word not in str(found.value)] == []
    with pytest.raises(ConfigError, match=r"'a' is not of the form key=value\n.*'b\.c' is not of the form"):
        load(path, ["a", "b.c"])


def test_a_key_has_one_value(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(dump(small()) + "seeds: [1]\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"line \d+.*the key 'seeds' is already given in line \d+"):
        load(path)
    path.write_text(dump(small()), encoding="utf-8")
    with pytest.raises(ConfigError, match="seeds given twice"):
        load(path, ["seeds=[1]", "seeds=[2]"])
    with pytest.raises(ConfigError, match="'probability' is given twice"):
        Choice.parse("drop:probability=1,probability=0.5")


def test_overrides_accept_names_and_scalars(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(dump(small()), encoding="utf-8")
    found = load(path, ["policy=mappo", "policy.width=32", "seeds=3", "attacks=[drop]", "training.env_steps=1e6"])
    assert found.policy == Choice.parse("mappo:width=32")
    assert (found.seeds, found.attacks, found.training.env_steps) == ((3,), (Choice(name="drop"),), 1_000_000)
    with pytest.raises(ConfigError, match="leads into 'attacks', which is a list, not a mapping"):
        load(path, ["attacks.0.probability=1"])
