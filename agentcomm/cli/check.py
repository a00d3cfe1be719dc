"""The command ``check``."""

from __future__ import annotations

import importlib
import sys
import time
from typing import Annotated, Any

import typer

from agentcomm.base.errors import ConfigError, did_you_mean
from agentcomm.base.modules import import_modules
from agentcomm.base.plugin import Plugin
from agentcomm.base.text import shorten
from agentcomm.cli.completion import plugins
from agentcomm.cli.options import WRITTEN
from agentcomm.cli.screen import say
from agentcomm.runs.choices import apply_override


def check(
    plugin: Annotated[
        str, typer.Argument(metavar="MODULE:CLASS", help="A plug-in's class, such as my_package:MyAttack.")
    ],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE ...]", help="Its arguments. Default: every variant of its forms()."),
    ] = None,
    env: Annotated[
        str | None,
        typer.Option(
            metavar=WRITTEN,
            help="Environment to check a policy in; with a small max_steps. Default: predator_capture_prey.",
            autocompletion=plugins("environment"),
        ),
    ] = None,
) -> None:
    """Check that a plug-in keeps the contract of its axis; what is wrong is named with the line of your code."""
    found = _class(plugin)
    given: dict[str, Any] = {}
    for text in arguments or ():
        apply_override(given, text)
    from agentcomm.conformance import axes  # takes a second, and is not needed to name a mistake above

    axis = axes.axis_of(found)
    if env is not None and axis != "policy":
        raise ConfigError(f"--env: only policies are checked in an environment, and {plugin} is of the axis {axis}")
    began = time.monotonic()
    forms = axes.check(found, given if arguments else None, env or axes.ENVIRONMENT)
    variants = f", in {len(forms)} variants" if len(forms) > 1 else ""
    say(f"{axis} {found.name!r} keeps its contract{variants} ({time.monotonic() - began:.1f} s)")


def _class(text: str) -> type[Plugin]:
    """The class that is named as ``module:class``.

    Raises:
        ConfigError: If there is none.
    """
    name, _, attribute = text.partition(":")
    if not name or not attribute:
        raise ConfigError(f"{shorten(text)} names no class; write MODULE:CLASS, such as my_package:MyAttack")
    import_modules([name])
    module = sys.modules.get(name) or importlib.import_module(name)
    found = getattr(module, attribute, None)
    if not isinstance(found, type):
        own = [key for key, value in vars(module).items() if isinstance(value, type) and issubclass(value, Plugin)]
        raise ConfigError(f"{name} has no class {shorten(attribute)}; {did_you_mean(attribute, own)}")
    return found
