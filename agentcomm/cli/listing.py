"""The command ``list``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from agentcomm.base import registry
from agentcomm.base.errors import ConfigError, PluginError, did_you_mean
from agentcomm.base.modules import import_modules
from agentcomm.base.registry import Axis
from agentcomm.base.text import shorten
from agentcomm.cli import catalog
from agentcomm.cli.completion import axes, listed
from agentcomm.cli.options import Plugins, Trust
from agentcomm.cli.screen import console, say, warn
from agentcomm.runs.config import load

SURVEY = {"risks": "risk", "countermeasures": "countermeasure"}  # lists of the survey, and the name of an entry


def list_(
    axis: Annotated[
        str | None,
        typer.Argument(
            metavar="AXIS",
            help=f"One of {', '.join(registry.PLURAL.values())}, risks, countermeasures.",
            autocompletion=axes,
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A plug-in, to show all about it.", autocompletion=listed)
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A config whose plugins are listed, too.", metavar="FILE")] = None,
    plugins: Plugins = None,
    trust: Trust = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with all about every plug-in.")] = False,
) -> None:
    """List all plug-ins, those of an AXIS, or everything about one: arguments, ranges, defaults, threat model."""
    modules = (*(load(config, trust=trust).plugins if config else ()), *(plugins or ()))
    import_modules(modules)
    if axis in SURVEY:
        _list_survey(axis, name, as_json)
        return
    chosen = None if axis is None else find_axis(axis)
    if chosen is not None and name is not None:
        found = catalog.describe(chosen, name)
        if as_json:
            typer.echo(json.dumps(found, indent=1))
            return
        console.print(catalog.details(found))
        say(f"\nexample: {catalog.example(chosen, found['name'], modules)}")
        return
    if chosen is None and not as_json:
        console.print(catalog.overview({registry.PLURAL[a]: registry.names(a) for a in registry.AXES}))
        say("\nOne axis: agentcomm list attacks. One plug-in: agentcomm list attacks drop.")
        say("The 30 risks and their attacks: agentcomm list risks. The 30 defenses: agentcomm list countermeasures.")
        warn(registry.problems())
        return
    by_axis = {a: [_described(a, n) for n in registry.names(a)] for a in registry.AXES if chosen in (None, a)}
    if as_json:
        everything = {registry.PLURAL[a]: about for a, about in by_axis.items()}
        typer.echo(json.dumps(everything if chosen is None else by_axis[chosen], indent=1))
        return
    for a, about in by_axis.items():
        console.print(catalog.plugin_table(registry.PLURAL[a], about))
        say(f"\nAll about one of them: agentcomm list {registry.PLURAL[a]} NAME")
    warn(registry.problems(by_axis))


def _described(axis: Axis, name: str) -> dict[str, Any]:
    """A plug-in as plain values; of one that cannot be loaded, its name and the reason."""
    try:
        return catalog.describe(axis, name)
    except PluginError as error:
        return {"name": name, "axis": axis, "summary": f"cannot be loaded: {error}", "arguments": []}


def find_axis(text: str) -> Axis:
    """The axis with this name, singular or plural."""
    for axis in registry.AXES:
        if text in (axis, registry.PLURAL[axis]):
            return axis
    owner = next((a for a in registry.AXES if text in registry.names(a)), None)
    hint = f"{text!r} is {registry.article(owner)}: agentcomm list {registry.PLURAL[owner]} {text}" if owner else None
    raise ConfigError(
        f"unknown axis {shorten(text)}; {hint or did_you_mean(text, [*registry.PLURAL.values(), *SURVEY])}"
    )


def _list_survey(what: str, name: str | None, as_json: bool) -> None:
    """List risks or countermeasures, or the one with that id."""
    every, carried = (catalog.risks(), "attacks") if what == "risks" else (catalog.countermeasures(), "defenses")
    found = [one for one in every if name in (None, one["id"])]
    if not found:
        raise ConfigError(
            f"unknown {SURVEY[what]} {shorten(name)}; {did_you_mean(str(name), [r['id'] for r in every])}"
        )
    if as_json:
        typer.echo(json.dumps(found, indent=1))
    else:
        console.print(catalog.survey_table(what, found, carried))
