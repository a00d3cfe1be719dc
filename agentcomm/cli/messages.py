"""The command ``messages``."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.table import Table

from agentcomm.base.modules import import_modules
from agentcomm.cli.options import Attack, Defense, Plugins, RunFolder, Trust, takes_conditions
from agentcomm.cli.screen import console


@takes_conditions
def messages(
    run: RunFolder,
    conditions: dict[str, Any],
    episode: Annotated[int, typer.Option(help="Index of the episode, from 0.")] = 0,
    seed: Annotated[int | None, typer.Option(help="Training seed of the team. Default: the first.")] = None,
    attack: Attack = None,
    defense: Defense = None,
    plugins: Plugins = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON Lines instead of a table.")] = False,
    trust: Trust = False,
) -> None:
    """Replay an episode of RUN and show every message."""
    from agentcomm import api

    import_modules(plugins or ())
    found = api.messages(run, episode, seed, attack, defense, conditions, trust)
    if as_json:
        for entry in found:
            print(json.dumps(entry))
        return
    table = Table(title=f"episode {episode}: {len(found)} messages", title_justify="left")
    symbolic = any("symbol" in entry for entry in found)
    content = "symbol" if symbolic else "length"
    columns = ("step", "exchange", "from > to", "arrived", "bytes", content, "fate", "then")
    for column in columns:
        table.add_column(column, justify="left" if column in ("fate", "then") else "right")
    for e in found:
        then = "heard" if e["accepted"] else f"refused: {e['refused_by']}" if e["refused_by"] else ""
        truly = "" if e["origin"] == e["sender"] else f" (by {e['origin']})"
        link = f"{e['sender']} > {e['receiver']}{truly}"
        arrived = "" if e["arrived_at"] is None else e["arrived_at"]
        read = "" if e.get("symbol") is None else e["symbol"]
        told = read if symbolic else f"{e['length']:.2f}"
        shown = (e["step"], e["exchange"], link, arrived, e["bytes"], told, e["fate"], then)
        table.add_row(*map(str, shown))
    console.print(table)
