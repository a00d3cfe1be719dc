"""The commands: train, evaluate, report, messages, list, demo."""

from __future__ import annotations

import json
import shlex
import sys
import webbrowser
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from agentcomm import api
from agentcomm.base import registry
from agentcomm.base.errors import AgentcommError, ConfigError, did_you_mean
from agentcomm.base.files import read_jsonl
from agentcomm.base.versions import versions
from agentcomm.cli import catalog, tables
from agentcomm.cli.options import Root, RunFolder, takes_conditions
from agentcomm.evaluation.cells import Cell
from agentcomm.runs.config import RunConfig, load
from agentcomm.runs.folder import Run

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Train communicating agents, evaluate attacks on their messages and defenses, and report the results.",
    epilog="Run [bold]agentcomm demo[/bold] (ten minutes) to start, or [bold]agentcomm list[/bold] for all plug-ins.",
)
console = Console()
errors = Console(stderr=True)


class Bar:
    """Shows training as a progress bar with rate, episode length and success."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.task: Any = None

    def team(self, name: str, done: int, total: int) -> None:
        """Start a bar for one team."""
        self.progress.start()
        self.task = self.progress.add_task(name, total=total, completed=done, note="")

    def iteration(self, row: dict[str, Any]) -> None:
        """Advance it."""
        shown = [f"{row['env_steps_per_second'] / 1000:.1f}k steps/s"]
        if "episode_length" in row:
            shown.append(f"length {row['episode_length']:.1f}")
        if "success" in row:
            shown.append(f"success {row['success']:.2f}")
        self.progress.update(self.task, completed=row["env_steps"], note=" ".join(shown))


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description:<10}"),
        BarColumn(bar_width=10),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[note]}"),
        console=console,
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


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="YAML config; see examples/.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Overrides of the config, such as training.env_steps=100000."),
    ] = None,
    resume: Annotated[bool, typer.Option(help="Resume the run from its last checkpoints.")] = False,
    root: Root = Path("runs"),
) -> None:
    """Train the teams of CONFIG, one per seed, and the same without messages as a control.

    Ctrl-C writes a checkpoint and stops; resume with --resume.
    """
    _train(load(config, overrides or ()), root, resume)


def _train(config: RunConfig, root: Path, resume: bool, again: str | None = None) -> Run:
    from agentcomm.training.trainer import Stopped

    progress = _progress()
    try:
        run = api.train(config, root=root, resume=resume, watcher=Bar(progress))
    except Stopped:
        progress.stop()
        where = shlex.quote(str(root / config.name / "config.yaml"))
        command = again or f"agentcomm train {where} --resume"
        _say(f"Stopped; all progress is saved. Resume with:\n  {command}{_in(root)}")
        raise typer.Exit(130) from None
    finally:
        progress.stop()
    _say(f"Trained teams are in {run.path}. Next: agentcomm evaluate {shlex.quote(str(run.path))}")
    return run


def _in(root: Path) -> str:
    return "" if root == Path("runs") else f" --root {shlex.quote(str(root))}"


def _say(text: str) -> None:
    """Print without wrapping or styling, so that commands can be copied."""
    console.print(text, soft_wrap=True, markup=False, highlight=False)


def _warn_of_broken_lines(run: Path) -> None:
    path = run / "cells.jsonl"
    broken = read_jsonl(path)[1] if path.exists() else 0
    if broken:
        _say(f"Skipped {broken} unreadable line(s) of {path}; evaluate again to restore the cells.")


@app.command()
@takes_conditions
def evaluate(
    run: RunFolder,
    conditions: dict[str, Any],
    attack: Annotated[
        list[str] | None,
        typer.Option(help="Attack as name or name:key=value,key=value; can be repeated. Default: the config's."),
    ] = None,
    defense: Annotated[
        list[str] | None,
        typer.Option(help="Defense, written like --attack; join several with +: authenticate+clip."),
    ] = None,
) -> None:
    """Evaluate the trained teams of RUN under attacks and defenses; skips cells that are already evaluated."""
    rows = _evaluate(run, attack, defense, conditions)
    console.print(tables.cells(rows))
    if any("attack_success" in row.get("metrics", {}) for row in rows):
        console.print(tables.success(rows))
    _warn_of_broken_lines(run)
    _say(f"All cells are in {run / 'cells.jsonl'}. Next: agentcomm report {shlex.quote(str(run))}")
    failed = dict.fromkeys(
        f"{row['attack']['label']}: {row['error']}" for row in rows if row["status"] == "failed" and row["attack"]
    )
    if failed:
        errors.print(
            f"error: {len(failed)} attack(s) could not be evaluated\n" + "\n".join(failed), soft_wrap=True, markup=False
        )
        raise typer.Exit(1)


def _evaluate(
    run: Path,
    attack: list[str] | None = None,
    defense: list[str] | None = None,
    conditions: dict[str, Any] | None = None,
) -> list[dict[str, Any]]:
    progress = Progress(
        TextColumn("evaluating"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), console=console
    )
    task = progress.add_task("", total=None)

    def watch(cell: Cell, done: int, total: int) -> None:
        progress.start()
        label = f"{'clean' if cell.attack is None else cell.attack.label} / {cell.defense_label}"
        progress.update(task, completed=done, total=total, description=label)

    try:
        rows = api.evaluate(run, attack, defense, conditions, watch)
        progress.update(task, completed=len(rows), total=len(rows), description="")
    except KeyboardInterrupt:
        progress.stop()
        _say("Stopped; finished cells are saved. Run the same command again to evaluate the rest.")
        raise typer.Exit(130) from None
    finally:
        progress.stop()
    return rows


@app.command()
def report(run: RunFolder) -> None:
    """Write RUN/report.html: a self-contained page with results, learning curves, graphs and an episode player."""
    _say(f"The report is {api.report(run)}")
    _warn_of_broken_lines(run)


@app.command()
@takes_conditions
def messages(
    run: RunFolder,
    conditions: dict[str, Any],
    episode: Annotated[int, typer.Option(help="Index of the episode, from 0.")] = 0,
    seed: Annotated[int | None, typer.Option(help="Training seed of the team. Default: the first.")] = None,
    attack: Annotated[str | None, typer.Option(help="Attack of the cell, as for evaluate.")] = None,
    defense: Annotated[str | None, typer.Option(help="Defenses of the cell, joined with +.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON Lines instead of a table.")] = False,
) -> None:
    """Replay an episode of RUN and show every message."""
    found = api.messages(run, episode, seed, attack, defense, conditions)
    if as_json:
        for entry in found:
            print(json.dumps(entry))
        return
    table = Table(title=f"episode {episode}: {len(found)} messages", title_justify="left")
    columns = ("step", "exchange", "from > to", "sent at", "bytes", "length", "fate", "then")
    for column in columns:
        table.add_column(column, justify="left" if column in ("fate", "then") else "right")
    for e in found:
        then = "heard" if e["accepted"] else f"refused: {e['refused_by']}" if e["refused_by"] else ""
        truly = "" if e["origin"] == e["sender"] else f" (by {e['origin']})"
        link = f"{e['sender']} > {e['receiver']}{truly}"
        shown = (e["step"], e["exchange"], link, e["sent_at"], e["bytes"], f"{e['length']:.2f}", e["fate"], then)
        table.add_row(*map(str, shown))
    console.print(table)


@app.command(name="list")
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


@app.command()
def demo(
    root: Root = Path("runs"),
    resume: Annotated[bool, typer.Option(help="Resume an interrupted demo.")] = False,
    show: Annotated[bool, typer.Option(help="Open the report in a browser, if available.")] = True,
) -> None:
    """Run a complete example: train, evaluate and report (about ten minutes)."""
    config = load(Path(str(files("agentcomm").joinpath("demo.yaml"))))
    run = _train(config, root, resume, "agentcomm demo --resume")
    rows = _evaluate(run.path)
    console.print(tables.cells(rows))
    console.print(tables.success(rows))
    page = api.report(run)
    _say(f"The report is {page}")
    if show and sys.stdout.isatty():
        webbrowser.open(page.resolve().as_uri())


def main() -> None:
    """Run the command line; user-fixable errors are printed without a traceback."""
    try:
        app()
    except AgentcommError as error:
        errors.print(f"[bold red]error:[/bold red] {_escape(str(error))}", highlight=False, soft_wrap=True)
        raise SystemExit(2) from None


def _escape(text: str) -> str:
    return text.replace("[", r"\[")
