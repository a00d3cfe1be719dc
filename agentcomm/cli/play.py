"""The command ``play``."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from agentcomm.base.modules import import_modules
from agentcomm.cli.completion import words
from agentcomm.cli.options import Plugins, RunFolder, Trust
from agentcomm.cli.screen import console, say
from agentcomm.protocols.carrier import PROTOCOLS

DECISIONS = ("greedy", "sampled")


def play(
    run: RunFolder,
    protocol: Annotated[
        str,
        typer.Option(metavar="|".join(PROTOCOLS), help="What the processes speak.", autocompletion=words(PROTOCOLS)),
    ] = "a2a",
    episodes: Annotated[int, typer.Option(min=1, help="Number of episodes.")] = 1,
    first: Annotated[int, typer.Option("--first-seed", help="Seed of the first episode; each next one adds 1.")] = 0,
    seed: Annotated[int | None, typer.Option(help="Training seed of the team. Default: the first.")] = None,
    decisions: Annotated[
        str,
        typer.Option(metavar="|".join(DECISIONS), help="How actions are chosen.", autocompletion=words(DECISIONS)),
    ] = "greedy",
    plugins: Plugins = None,
    trust: Trust = False,
) -> None:
    """Play episodes of RUN's team with one process per agent, over A2A or MCP on loopback sockets.

    Each agent's process holds the trained policy. It knows its own observations
    and the messages that arrive. This process steps the environment.
    Every episode is also run in one process, as `evaluate` does, and compared
    action by action. Ctrl-C ends all processes.
    Needs the protocol's extra, a2a or mcp.
    """
    from agentcomm.base.errors import ConfigError, did_you_mean
    from agentcomm.protocols.team.play import TeamEpisode, play_in_batch, play_in_processes, team_of
    from agentcomm.runs.folder import open_run

    for name, value, known in (("protocol", protocol, PROTOCOLS), ("decisions", decisions, DECISIONS)):
        if value not in known:
            raise ConfigError(f"--{name} {value}: {did_you_mean(value, known)}")
    import_modules(plugins or ())
    opened = open_run(run, trust)
    saved = team_of(opened, seed)
    table = Table(title=f"{opened.config.name} over {protocol}, one process per agent", title_justify="left")
    for column in ("seed", "steps", "success", "return", "messages", "as in one process"):
        table.add_column(column, justify="right")
    different: list[int] = []

    def tell(episode: TeamEpisode) -> None:
        same = episode.same(play_in_batch(saved, episode.seed, decisions == "sampled"))
        different.extend([] if same else [episode.seed])
        row = (episode.seed, episode.length, "yes" if episode.success else "no", f"{episode.total_reward:.3f}")
        table.add_row(*map(str, row), str(episode.messages), "yes" if same else "no")

    say(f"Starting {saved.policy.num_agents} agents.")
    seeds = range(first, first + episodes)
    try:
        play_in_processes(opened, saved, protocol, seeds, decisions == "sampled", tell)  # type: ignore[arg-type]
    finally:  # after Ctrl-C, too
        if table.row_count:
            console.print(table)
    if different:
        say(f"Episodes that differ: {', '.join(map(str, different))}.")
        raise typer.Exit(1)
