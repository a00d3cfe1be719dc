"""The command ``play``."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from agentcomm.base.modules import import_modules
from agentcomm.cli.completion import words
from agentcomm.cli.options import Plugins, RunFolder, Trust
from agentcomm.cli.screen import console, say
from agentcomm.progress import EpisodeLines
from agentcomm.protocols.carrier import PROTOCOLS
from agentcomm.protocols.team import PATIENCE

if TYPE_CHECKING:
    from agentcomm.protocols.team.play import TeamEpisode

DECISIONS = ("greedy", "sampled")
SUCCESS = {True: "yes", False: "no", None: "unknown"}


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
    timeout: Annotated[
        float,
        typer.Option(
            min=1, metavar="SECONDS", help="Longest wait for all agents to start, and of an agent for a message."
        ),
    ] = PATIENCE,
    plugins: Plugins = None,
    trust: Trust = False,
) -> None:
    """Play episodes of RUN's team with one process per agent, over A2A or MCP on loopback sockets.

    Each agent's process holds the trained policy. It knows its own observations
    and the messages that arrive. This process steps the environment.
    Every episode is also run in one process, as `evaluate` does, and compared
    action by action. Ctrl-C ends all processes and shows the finished episodes.
    Needs the protocol's extra, a2a or mcp.
    """
    from agentcomm.base.errors import ConfigError, did_you_mean
    from agentcomm.protocols.team.play import play_in_batch, play_in_processes, team_of
    from agentcomm.runs.folder import open_run

    for name, value, known in (("protocol", protocol, PROTOCOLS), ("decisions", decisions, DECISIONS)):
        if value not in known:
            raise ConfigError(f"--{name} {value}: {did_you_mean(value, known)}")
    import_modules(plugins or ())
    opened = open_run(run, trust)
    saved, sampled = team_of(opened, seed), decisions == "sampled"
    agents = saved.policy.num_agents
    shown = Shown(f"{opened.config.name} over {protocol}, one process per agent", agents, episodes)
    say(f"Starting {agents} agents.")
    with shown:
        play_in_processes(
            opened,
            saved,
            protocol,  # type: ignore[arg-type]
            range(first, first + episodes),
            sampled,
            lambda episode: shown.add(episode, episode.same(play_in_batch(saved, episode.seed, sampled))),
            shown.begin,
            timeout,
        )
    if shown.different:
        raise typer.Exit(1)


class Shown:
    """The finished episodes as a table at the end, whatever ends it, and lines on the way there.

    Args:
        title: Of the table.
        agents: N.
        episodes: How many are to be played.

    Attributes:
        different: Seeds of episodes that differ from those in one process.
    """

    def __init__(self, title: str, agents: int, episodes: int) -> None:
        self._table = Table(title=title, title_justify="left")
        for column in ("seed", "steps", "success", "return", "messages", "as in one process"):
            self._table.add_column(column, justify="right")
        self._agents, self._episodes = agents, episodes
        self._lines: EpisodeLines | None = None
        self.different: list[int] = []

    def begin(self) -> None:
        """Say that the agents are up, and count time from here."""
        say(f"All {self._agents} agents are up; {self._episodes} episode{'s' * (self._episodes != 1)} to play.")
        self._lines = EpisodeLines(say, self._episodes)

    def add(self, episode: TeamEpisode, same: bool) -> None:
        """Add an episode, and whether it is the same in one process."""
        self.different.extend([] if same else [episode.seed])
        row = (episode.seed, episode.length, SUCCESS[episode.success], f"{episode.total_reward:.3f}")
        self._table.add_row(*map(str, row), str(episode.messages), "yes" if same else "no")
        if self._lines is not None:
            self._lines.episode()

    def __enter__(self) -> Shown:
        """Nothing yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Print the table, and what is kept if not all episodes were played."""
        done = self._table.row_count
        if done:
            console.print(self._table)
        if self.different:
            say(f"Episodes that differ: {', '.join(map(str, self.different))}.")
        if done < self._episodes:
            why = "Stopped by Ctrl-C" if isinstance(error, KeyboardInterrupt) else "Ended by an error"
            kept = "the table has them; the one under way is lost" if done else "nothing was finished"
            say(f"{why} after {done} of {self._episodes} episodes: {kept}.")
            say("No files are written, and all processes of agents have ended.")
