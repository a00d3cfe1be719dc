"""The options of ``evaluate`` for policies that were trained elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from agentcomm.base.errors import ConfigError

FOREIGN = "Of MODULE:FUNCTION: "
OPTIONS = {
    "checkpoints": "--checkpoint",
    "control": "--control",
    "control_checkpoints": "--control-checkpoint",
    "name": "--name",
    "episodes": "--episodes",
}
Checkpoint = Annotated[
    list[Path] | None,
    typer.Option(metavar="PATH", help=f"{FOREIGN}its weights; it is called with the path. Repeat it for more teams."),
]
Control = Annotated[
    str | None,
    typer.Option(metavar="MODULE:FUNCTION", help=f"{FOREIGN}another one, trained without messages, to compare with."),
]
ControlCheckpoint = Annotated[
    list[Path] | None, typer.Option(metavar="PATH", help=f"{FOREIGN}weights of the control, one for each team.")
]
Name = Annotated[str | None, typer.Option(help=f"{FOREIGN}name of its run. Default: of policy and environment.")]
Episodes = Annotated[int | None, typer.Option(metavar="N", min=1, help=f"{FOREIGN}episodes per cell. Default: 2048.")]


class Given(NamedTuple):
    """The options, as given."""

    checkpoints: Sequence[Path]
    control: str | None
    control_checkpoints: Sequence[Path]
    name: str | None
    episodes: int | None


def folder_of(run: Path, conditions: dict[str, Any], given: Given, plugins: Sequence[str]) -> Path:
    """The folder of a run; that of a policy as MODULE:FUNCTION is made if there is none.

    Args:
        run: The argument RUN.
        conditions: The conditions, from which the environment of such a policy is taken out.
        given: The options.
        plugins: Modules that have been imported.

    Raises:
        AgentcommError: If the options do not fit, or the policy cannot be used.
    """
    from agentcomm.runs.foreign import is_callable_name

    if not is_callable_name(str(run)):
        if named := [
            f"--{name.removesuffix('s').replace('_', '-')}" for name, value in given._asdict().items() if value
        ]:
            raise ConfigError(f"{', '.join(named)}: only for a policy given as MODULE:FUNCTION, not for a run")
        return run
    environments = conditions.pop("environments", [])
    if not environments:
        raise ConfigError(f"{run} needs an environment: add --env NAME, such as --env relay_line:members=4")
    if len(environments) > 1:
        conditions["environments"] = environments[1:]
    from agentcomm import api

    return api.from_callable(str(run), environments[0], **given._asdict(), plugins=plugins).path
