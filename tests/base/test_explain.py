"""Errors of configs name the field, what it accepts and what was given, in plain words."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from agentcomm.base import registry
from agentcomm.base.explain import explain
from agentcomm.runs.choices import Choice, TransportConfig
from agentcomm.runs.conditions import Conditions, ConditionsConfig
from agentcomm.runs.config import EvaluationConfig, RunConfig, TrainingConfig
from agentcomm.runs.ppo_settings import PPOSettings

PARTS: dict[str, type[BaseModel]] = {
    m.__name__: m
    for m in (RunConfig, TrainingConfig, EvaluationConfig, PPOSettings, TransportConfig, Conditions, ConditionsConfig)
}
PLUGINS = {
    f"{axis} {name}": registry.find(axis, name).Config for axis in registry.AXES for name in registry.names(axis)
}
MODELS = PARTS | PLUGINS
WRONG: list[Any] = [
    *(None, "x", "", "a,b", [], {}, -1e9, 1e9, 1.5, True, [1], ["x"], [None], [[]], {"a": 1}, {1: 2}, b"x", object()),
    *({"name": "nosuch"}, {"name": 3}, [{"name": 3}], [[0, 1, 2]], math.nan, math.inf, "1e400", 10**30, "x" * 10_000),
]
PYDANTIC = re.compile(
    r"valid (tuple|dict|integer|number|string|bool|list|path)|should |Input|input|pydantic|https?:|ctx|_type|_parsing|"
    r"instance of|class '|permitted|Value error|constrained|Tuple|validation"
)


@pytest.mark.parametrize("what", MODELS)
def test_no_mistake_is_answered_in_the_words_of_pydantic(what: str) -> None:
    model = MODELS[what]
    for field in [*model.model_fields, "unknown"]:
        for value in WRONG:
            try:
                model.model_validate({field: value})
            except ValidationError as error:
                said = explain(error, what, model, {field: value})
                assert not PYDANTIC.search(said.replace("Choice", "")), said
                assert all(len(line) < 500 for line in said.splitlines()), said
                assert len(said.splitlines()) == len(set(said.splitlines()))
                assert all((line.startswith("  ") and ": " in line) or "=" in line for line in said.splitlines()[1:]), (
                    said
                )


@pytest.mark.parametrize(
    ("model", "data", "says"),
    [
        (TrainingConfig, {"env_steps": 0}, "env_steps: must be a whole number of at least 1 (got 0)"),
        (TrainingConfig, {"env_steps": 1.5}, "env_steps: must be a whole number of at least 1 (got 1.5)"),
        (TrainingConfig, {"env_steps": True}, "env_steps: must be a whole number of at least 1 (got true)"),
        (TrainingConfig, {"threads": "many"}, "threads: must be a whole number of at least 1, or none (got 'many')"),
        (PPOSettings, {"clip": 1}, "clip: must be a number above 0 and below 1 (got 1)"),
        (PPOSettings, {"gamma": -0.5}, "gamma: must be a number from 0 to 1 (got -0.5)"),
        (PPOSettings, {"gamma": math.nan}, "gamma: must be finite (got nan)"),
        (
            ConditionsConfig,
            {"gates": ["shut"]},
            "gates[0]: must be open, closed or random; 'shut' is now called 'closed'",
        ),
        (ConditionsConfig, {"device": "tpu"}, "device: must be cpu, cuda or cuda:NUMBER (got 'tpu')"),
        (
            PLUGINS["codec top_k"],
            {"k": "x"},
            "k: must be a whole number of at least 1, or a number above 0 and at most 1",
        ),
        (PLUGINS["attack drop"], {"links": [0, 1, 2]}, "links[0]: must be a list of 2 whole numbers (got 0)"),
        (PLUGINS["attack drop"], {"links": [[0]]}, "links[0]: must be a list of 2 whole numbers (got [0])"),
        (
            PLUGINS["attack drop"],
            {"links": 3},
            "links: must be a list of pairs of whole numbers, such as [[0, 1], [2, 3]]",
        ),
        (PLUGINS["attack drop"], {"harmless": True}, "harmless: unknown key; write 'run_as: control' instead"),
        (PLUGINS["policy commformer"], {"voice": {}}, "voice: unknown key; it is now called 'message_noise'"),
        (PLUGINS["policy commformer"], {"topology": 3}, "topology: must be the name of a topology, or {name: NAME"),
        (
            PLUGINS["policy commformer"],
            {"topology": {"kind": "full"}},
            "topologies`); write it instead of 'kind'",
        ),
        (RunConfig, {"name": 2024}, 'name: must be text (got 2024; put it in quotes: "2024")'),
        (RunConfig, {"path": {}}, "path: unknown key; it is now called 'transport'"),
        (RunConfig, {"evaluation": {"paths": []}}, "evaluation.paths: unknown key; it is now called 'transports'"),
        (RunConfig, {"evaluation": {"worlds": []}}, "evaluation.worlds: unknown key; it is now called 'environments'"),
        (RunConfig, {"env_steps": 1}, "env_steps: unknown key; write it as training.env_steps"),
        (RunConfig, {"learning_rate": 1}, "learning_rate: unknown key; write it as training.ppo.learning_rate"),
        (RunConfig, {"seeds": []}, "seeds: needs at least 1 item(s) (got [])"),
        (RunConfig, {"seeds": [0, 0]}, "seeds: must differ from each other (got "),
        (RunConfig, {"policy": 3}, "policy: must be the name of a plug-in, or {name: NAME, key: value} (got 3)"),
        (RunConfig, {"policy": {"mappo": {"width": 8}}}, "policy: has no name; write {name: mappo, width: ...}"),
        (RunConfig, {"attacks": "drop,noise"}, "names 2 plug-ins: in a config, write the list [drop, noise]"),
        (RunConfig, {}, "environment: is missing (environment of the agents)"),
    ],
)
def test_the_right_form_is_named(model: type[BaseModel], data: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError) as error:
        model.model_validate(data)
    assert says in explain(error.value, "config", model, data)


def test_a_value_is_accepted_in_every_form_with_one_meaning() -> None:
    one = {"name": "r", "environment": "predator_prey", "policy": "mappo:width=8"}
    config = RunConfig.model_validate(
        one
        | {"seeds": 3, "attacks": "drop", "defenses": "authenticate+clip", "plugins": "json"}
        | {"training": {"env_steps": "1e6", "worlds": "1_000", "threads": "none"}}
        | {"evaluation": {"gates": "closed", "environments": {"failure": 0.1}, "transports": {"channels": "delay"}}}
    )
    assert config.policy == Choice.parse("mappo:width=8") == Choice.model_validate({"name": "mappo", "width": 8})
    assert config.seeds == (3,)
    assert config.attacks == (Choice(name="drop"),)
    assert config.defenses == (Choice(name="authenticate"), Choice(name="clip"))
    assert (config.training.env_steps, config.training.worlds, config.training.threads) == (1_000_000, 1000, None)
    assert config.evaluation.gates == ("closed",)
    assert config.evaluation.environments == ({"failure": 0.1},)
    assert config.evaluation.transports[0].channels == (Choice(name="delay"),)


@pytest.mark.parametrize(
    ("given", "groups"),
    [
        ("clip", [["clip"]]),
        (["authenticate", "clip"], [["authenticate"], ["clip"]]),
        ("authenticate+clip", [["authenticate", "clip"]]),
        ([["authenticate", "clip"], "clip:bound=1e+3"], [["authenticate", "clip"], ["clip"]]),
    ],
)
def test_defenses_are_grouped_as_on_the_command_line(given: Any, groups: list[list[str]]) -> None:
    found = EvaluationConfig.model_validate({"defenses": given}).defenses
    assert [[choice.name for choice in group] for group in found] == groups


def test_an_error_is_bounded_and_safe_to_print() -> None:
    data = {f"key\x1b[31m{number}": ["x" * 10_000] * 1000 for number in range(1000)}
    with pytest.raises(ValidationError) as error:
        RunConfig.model_validate(data)
    said = explain(error.value, "config", RunConfig, data)
    assert len(said) < 30_000
    assert "\x1b" not in said
    assert "and 963 more" in said


@pytest.mark.parametrize("text", ["1e6", "1.0e6", "1_000_000", "1000000.0", " 1000000 "])
def test_a_million_has_many_spellings(text: str) -> None:
    assert TrainingConfig.model_validate({"env_steps": text}).env_steps == 1_000_000
