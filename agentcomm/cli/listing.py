"""The command ``list``."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from agentcomm.base import registry
from agentcomm.base.errors import ConfigError, did_you_mean
from agentcomm.cli import catalog
from agentcomm.cli.screen import console


def list_(
    axis: Annotated[
        str | None,
        typer.Argument(help=f"One of {', '.join(registry.PLURAL.values())} or risks."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, including all arguments.")] = False,
) -> None:
    """List the plug-ins of an AXIS, or of all axes, with their arguments and defaults."""
    if axis == "risks":
        risks = catalog.risks()
        if as_json:
            typer.echo(json.dumps(risks, indent=1))
        else:
            console.print(catalog.risk_table(risks))
        return
    plural = {registry.PLURAL[a]: a for a in registry.AXES}
    if axis is not None and axis not in plural and axis not in registry.AXES:
        raise ConfigError(f"unknown axis {axis!r}; {did_you_mean(axis, plural)}")
    axes = [a for a in registry.AXES if axis in (None, a, registry.PLURAL[a])]
    found = {registry.PLURAL[a]: [catalog.describe(a, name) for name in registry.names(a)] for a in axes}
    if as_json:
        typer.echo(json.dumps(found if axis is None else next(iter(found.values())), indent=1))
        return
    for name, plugins in found.items():
        console.print(catalog.plugin_table(name, plugins) if plugins else f"{name}: none")
