"""The command ``init``."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from agentcomm.base.errors import ConfigError, together
from agentcomm.base.modules import import_modules
from agentcomm.base.values import parse_yaml
from agentcomm.cli.completion import plugins as completed
from agentcomm.cli.options import WRITTEN, Plugins
from agentcomm.cli.screen import say
from agentcomm.cli.template import template
from agentcomm.runs.choices import Choice
from agentcomm.runs.config import parse


def init(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name of the run; the config is written to NAME.yaml.")
    ] = "mine",
    env: Annotated[
        str,
        typer.Option(metavar=WRITTEN, help="Environment.", autocompletion=completed("environment")),
    ] = "predator_capture_prey:observation=indices",
    policy: Annotated[
        str, typer.Option(metavar=WRITTEN, help="Policy.", autocompletion=completed("policy"))
    ] = "commformer",
    plugins: Plugins = None,
) -> None:
    """Write a config with every common key, explained, for an environment and a policy; it trains as it is."""
    from agentcomm.runs.assembly import make_policy, make_world
    from agentcomm.runs.given import choice_of

    path = Path(f"{name}.yaml")
    import_modules(plugins or ())
    chosen: dict[str, Choice] = {}
    together(
        lambda: chosen.update(environment=choice_of("environment", env)),
        lambda: chosen.update(policy=choice_of("policy", policy)),
    )
    text = template(name, chosen["environment"], chosen["policy"], plugins or ())
    config = parse(parse_yaml(text, f"the config {path}"), f"the config {path}")
    with closing(make_world(config.environment, 1)) as world:  # shows whether they fit
        make_policy(config.policy, world)
    if path.exists():
        raise ConfigError(f"{path} exists already; choose another name (agentcomm init NAME), or delete the file")
    path.write_text(text, encoding="utf-8")
    say(f"The config is in {path}; edit it as you like. Next: agentcomm train {path}")
