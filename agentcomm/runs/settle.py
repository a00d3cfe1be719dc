"""What a run records of its config, so that it stays the same run elsewhere and later.

Arguments of plug-ins that were left to their defaults are written out, since a later version may have other defaults;
paths are recorded so that the run can be moved (:mod:`agentcomm.base.inputs`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from agentcomm.base import inputs, registry
from agentcomm.base.modules import find_module, home_of, is_installed
from agentcomm.base.registry import Axis
from agentcomm.runs.choices import Choice, TransportConfig, build

Change = Callable[[Axis, Choice], Choice]
RunConfig = TypeVar("RunConfig", bound=BaseModel)  # of agentcomm.runs.config, which imports this module


def settled(config: RunConfig, folder: Path) -> RunConfig:
    """The config of a new run in a folder: defaults of training written out, and paths made portable.

    Raises:
        AgentcommError: If a plug-in is unknown or an argument is invalid.
    """
    whole: Any = config
    files = {name: find_module(name, whole.plugin_folders) for name in whole.plugins}
    homes = [str(home_of(name, file)) for name, file in files.items() if file is not None and not is_installed(file)]
    folders = dict.fromkeys((*whole.plugin_folders, *homes))
    return portable(_in_training(config.model_copy(update={"plugin_folders": tuple(folders)}), written_out), folder)


def written_out(axis: Axis, choice: Choice) -> Choice:
    """The choice with every argument that a trained team depends on."""
    arguments = _arguments(build(axis, choice))
    full = Choice.model_validate({"name": choice.name} | arguments)
    return full if _arguments(build(axis, full)) == arguments else choice


def portable(config: RunConfig, folder: Path) -> RunConfig:
    """The config with paths as they are recorded in a run's folder; relative ones start from the working directory."""
    return _with_paths(config, lambda path: inputs.portable(path, folder))


def located(config: RunConfig, folders: Iterable[Path]) -> RunConfig:
    """The config with absolute paths.

    Args:
        config: Config as recorded in a run's folder.
        folders: The run's present folder, and the one in which it was made.
    """
    folders = list(folders)
    return _with_paths(config, lambda path: inputs.located(path, folders))


def changed_paths(axis: Axis, choice: Choice, change: Callable[[str], str]) -> Choice:
    """The choice with every path among its arguments changed."""
    config = registry.find(axis, choice.name).Config
    return Choice.model_validate({"name": choice.name} | inputs.change_paths(config, choice.arguments, change))


def _arguments(config: BaseModel) -> dict[str, Any]:
    """All fields as plain values, with those of plug-ins and parts inside of it.

    Parts of a config leave out what is neither given nor has a value: some distinguish that from a given null.
    """
    out = config.model_dump(mode="json")
    for name, field in type(config).model_fields.items():
        part = getattr(config, name)
        if not isinstance(part, BaseModel):
            continue
        axis = getattr(field.annotation, "axis", None)
        if axis is not None:
            part_name = str(getattr(part, "name", ""))
            inner = registry.build_config(axis, part_name, dict(part.model_extra or {}))
            out[name] = {"name": part_name} | _arguments(inner)
        else:
            given = _arguments(part)
            out[name] = {
                key: value for key, value in given.items() if value is not None or key in part.model_fields_set
            }
    return out


def _in_training(config: RunConfig, change: Change) -> RunConfig:
    """The config with the plug-ins of training changed."""
    whole: Any = config
    return config.model_copy(
        update={
            "environment": change("environment", whole.environment),
            "policy": change("policy", whole.policy),
            "attacks": tuple(change("attack", choice) for choice in whole.attacks),
            "defenses": tuple(change("defense", choice) for choice in whole.defenses),
            "transport": _transport(whole.transport, change),
        }
    )


def _transport(transport: TransportConfig, change: Change) -> TransportConfig:
    return transport.model_copy(
        update={
            "channels": tuple(change("channel", choice) for choice in transport.channels),
            "codec": None if transport.codec is None else change("codec", transport.codec),
        }
    )


def _with_paths(config: RunConfig, new: Callable[[str], str]) -> RunConfig:
    def change(axis: Axis, choice: Choice) -> Choice:
        return changed_paths(axis, choice, new)

    whole: Any = config
    evaluation, world = whole.evaluation, registry.find("environment", whole.environment.name).Config
    update: dict[str, Any] = {
        "attacks": tuple(change("attack", choice) for choice in evaluation.attacks),
        "defenses": tuple(tuple(change("defense", choice) for choice in group) for group in evaluation.defenses),
        "transports": tuple(_transport(transport, change) for transport in evaluation.transports),
        "environments": tuple(inputs.change_paths(world, given, new) for given in evaluation.environments),
    }
    training = whole.training
    phases = tuple(
        phase.model_copy(update={"environment": inputs.change_paths(world, phase.environment, new)})
        for phase in training.schedule
    )
    parts = {
        "training": training.model_copy(update={"schedule": phases}),
        "evaluation": evaluation.model_copy(update=update),
        "plugin_folders": tuple(new(folder) for folder in whole.plugin_folders),
    }
    return _in_training(config, change).model_copy(update=parts)
