"""A commented config, made from the fields of the config's models and of the chosen plug-ins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import wrap
from typing import Any

from pydantic import BaseModel

from agentcomm.base.fields import branches, form
from agentcomm.base.registry import Axis, find
from agentcomm.base.values import to_yaml
from agentcomm.cli.catalog import summary
from agentcomm.runs.choices import Choice, TransportConfig, build
from agentcomm.runs.config import EvaluationConfig, RunConfig, TrainingConfig

WIDTH = 100  # columns of a line with its comment
MOST = 150  # columns of a comment
ATTACKS = [{"name": "drop", "probability": 0.5}, {"name": "noise", "epsilon": 4}]
DEFENSES = [["authenticate"], ["clip"]]


def template(name: str, environment: Choice, policy: Choice, plugins: Sequence[str] = ()) -> str:
    """The text of a config for an environment and a policy, with every field's default and description.

    Args:
        name: Name of the run.
        environment: Its environment.
        policy: Its policy.
        plugins: Modules that register plug-ins.

    Raises:
        AgentcommError: If a plug-in is unknown or an argument is invalid.
    """
    fields = RunConfig.model_fields
    evaluation = {"attacks": ATTACKS, "defenses": DEFENSES}
    lines = [
        "# A config of agentcomm. Train it with `agentcomm train`; keys that are left out have the values shown here.",
        "# `agentcomm list` shows all plug-ins, and `agentcomm list attacks drop` all arguments of one.",
        *_line("name", name, fields["name"].description or ""),
        "",
        *_plugin("environment", environment),
        "",
        *_plugin("policy", policy),
        "",
        *_keys(RunConfig, {"plugins": list(plugins)}, "", ("seeds", "control", "attacks", "defenses", "plugins")),
        "",
        *_section("training", fields["training"].description, TrainingConfig, {}),
        "",
        *_section("transport", fields["transport"].description, TransportConfig, {}),
        "",
        *_section("evaluation", fields["evaluation"].description, EvaluationConfig, evaluation),
    ]
    return "\n".join(lines) + "\n"


def _plugin(axis: Axis, choice: Choice) -> Iterator[str]:
    """A plug-in with all its arguments."""
    plugin = find(axis, choice.name)
    yield f"{axis}:"
    yield from _line("name", plugin.name, summary(axis, choice.name), "  ")
    given = build(axis, choice).model_dump(mode="json")
    yield from _keys(plugin.Config, given, "  ", tuple(plugin.Config.model_fields))


def _section(key: str, description: str | None, model: type[BaseModel], values: dict[str, Any]) -> Iterator[str]:
    """A key with the fields of its model below it."""
    yield f"{key}:  # {description}"
    yield from _keys(model, values, "  ", tuple(model.model_fields))


def _keys(model: type[BaseModel], values: dict[str, Any], indent: str, names: tuple[str, ...]) -> Iterator[str]:
    """A line for each field; a model in a field has the lines of its own fields below its key."""
    for name in names:
        info = model.model_fields[name]
        default = info.get_default(call_default_factory=True)
        value = values.get(name, default.model_dump(mode="json") if isinstance(default, BaseModel) else default)
        kinds = [kind for kind, _ in branches(info.annotation) if isinstance(kind, type)]
        models = [kind for kind in kinds if issubclass(kind, BaseModel) and not hasattr(kind, "accepts")]
        inner = next((m for m in models if isinstance(value, dict) and value.keys() <= m.model_fields.keys()), None)
        if inner is not None:
            yield f"{indent}{name}:  # {info.description or 'further arguments'}"
            yield from _keys(inner, value, f"{indent}  ", tuple(inner.model_fields))
        else:
            described = f"{info.description or ''} ({form(info.annotation, info.metadata)})"
            yield from _line(name, value, described, indent)


def _line(key: str, value: Any, comment: str, indent: str = "") -> Iterator[str]:
    """A key, its value, and a comment beside it or, if that is too wide, above it."""
    comment = comment.replace("\n", " ")
    plain = list(value) if isinstance(value, tuple) else value
    shown = to_yaml(plain, default_flow_style=True, sort_keys=False, width=2**31).removesuffix("...\n").strip()
    text = f"{indent}{key}: {shown}"
    if len(text) + len(comment) + 4 <= WIDTH:
        yield f"{text}  # {comment}"
    else:
        yield from (f"{indent}# {line}" for line in wrap(comment, MOST))
        yield text
