"""The command line: one module per command."""

from __future__ import annotations

from typing import Annotated

import typer

from agentcomm.base.errors import AgentcommError
from agentcomm.base.versions import versions
from agentcomm.cli.demo import demo
from agentcomm.cli.evaluate import evaluate
from agentcomm.cli.listing import list_
from agentcomm.cli.messages import messages
from agentcomm.cli.report import report
from agentcomm.cli.screen import complain
from agentcomm.cli.train import train

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Train communicating agents, evaluate attacks on their messages and defenses, and report the results.",
    epilog="Run [bold]agentcomm demo[/bold] (ten minutes) to start, or [bold]agentcomm list[/bold] for all plug-ins.",
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"agentcomm {versions()['agentcomm']}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


app.command()(train)
app.command()(evaluate)
app.command()(report)
app.command()(messages)
app.command(name="list")(list_)
app.command()(demo)


def main() -> None:
    """Run the command line; user-fixable errors are printed without a traceback."""
    try:
        app()
    except AgentcommError as error:
        complain(str(error))
        raise SystemExit(2) from None
