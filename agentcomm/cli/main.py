"""The command line: one module per command."""

from __future__ import annotations

from typing import Annotated

import typer

from agentcomm.base.errors import AgentcommError
from agentcomm.base.versions import versions
from agentcomm.cli.audit import audit
from agentcomm.cli.certify import certify
from agentcomm.cli.check import check
from agentcomm.cli.command import Command, Group, UsageError, plain
from agentcomm.cli.compare import compare
from agentcomm.cli.demo import demo
from agentcomm.cli.evaluate import evaluate
from agentcomm.cli.export import export
from agentcomm.cli.grid import grid
from agentcomm.cli.init import init
from agentcomm.cli.listing import list_
from agentcomm.cli.messages import messages
from agentcomm.cli.new import new
from agentcomm.cli.play import play
from agentcomm.cli.proxy import proxy
from agentcomm.cli.report import report
from agentcomm.cli.rerun import rerun
from agentcomm.cli.screen import complain
from agentcomm.cli.train import train

app = typer.Typer(
    cls=Group,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Train communicating agents, evaluate attacks on their messages and defenses, and report the results.",
    epilog="A study: [bold]agentcomm init mine[/bold], edit mine.yaml, [bold]agentcomm train mine.yaml[/bold],"
    " [bold]agentcomm evaluate runs/mine[/bold], [bold]agentcomm report runs/mine[/bold]. To look around:"
    " [bold]agentcomm list[/bold] (all plug-ins), [bold]agentcomm demo[/bold] (ten minutes).",
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"agentcomm {versions()['agentcomm']}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


for _name, _run, _example in (
    ("init", init, "agentcomm init mine --env predator_prey --policy ic3net"),
    ("train", train, "agentcomm train mine.yaml policy=mappo training.env_steps=1e6"),
    ("evaluate", evaluate, "agentcomm evaluate runs/mine --attack noise:epsilon=2 --defense clip"),
    ("grid", grid, "agentcomm grid grid.yaml --jobs 2"),
    ("rerun", rerun, "agentcomm rerun runs/mine --sample 5"),
    ("certify", certify, "agentcomm certify runs/mine --attack-links 1 --attack-links 2 --defense ensemble:k=2"),
    ("report", report, "agentcomm report runs/mine"),
    ("compare", compare, "agentcomm compare runs/mine runs/other --output compare.html"),
    ("export", export, "agentcomm export runs/mine --format csv --output mine.csv"),
    ("messages", messages, "agentcomm messages runs/mine --episode 3 --attack replay"),
    ("play", play, "agentcomm play runs/mine --protocol a2a --episodes 2"),
    ("list", list_, "agentcomm list attacks gradient"),
    ("new", new, "agentcomm new attack flip"),
    ("check", check, "agentcomm check agentcomm_flip:Flip probability=1"),
    ("proxy", proxy, "agentcomm proxy --protocol a2a --upstream http://127.0.0.1:9000 --attack drop:probability=0.2"),
    ("audit", audit, "agentcomm audit http://127.0.0.1:9999 --owner-token env:ALICE --stranger-token env:BOB"),
    ("demo", demo, "agentcomm demo --no-show"),
):
    app.command(_name, cls=Command, epilog=f"Example: {_example}")(_run)


def main() -> None:
    """Run the command line; user-fixable errors are printed without a traceback."""
    try:
        status = app(prog_name="agentcomm", standalone_mode=False)
    except (AgentcommError, UsageError) as error:
        text = str(error) if isinstance(error, AgentcommError) else plain(error)
        complain(text)
        raise SystemExit(2) from None
    except (KeyboardInterrupt, typer.Abort):
        raise SystemExit(130) from None
    raise SystemExit(status or 0)
