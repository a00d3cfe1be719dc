"""The command ``train``."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agentcomm.base.documents import read_rows
from agentcomm.base.errors import ConfigError
from agentcomm.base.values import parse_yaml
from agentcomm.cli.completion import config_files, plugins
from agentcomm.cli.options import WRITTEN, Address, Jobs, Root, Trust
from agentcomm.cli.screen import say
from agentcomm.cli.template import template
from agentcomm.progress import TrainingLines
from agentcomm.runs.choices import Choice
from agentcomm.runs.config import RunConfig, load, overridden, parse
from agentcomm.runs.rows import ProgressRow

if TYPE_CHECKING:
    from agentcomm.runs.folder import Run

# Numbers of a team after training, as they are called in its progress.
SHOWN = {"return": "episode_return", "episode length": "episode_length", "success": "success"}


def train(
    config: Annotated[
        Path | None,
        typer.Argument(
            metavar="[CONFIG]", help="YAML config; `agentcomm init` writes one.", autocompletion=config_files
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Overrides of the config, such as policy=mappo."),
    ] = None,
    env: Annotated[
        str | None,
        typer.Option(
            metavar=WRITTEN,
            help="Environment in place of the config's; without CONFIG, everything else has the values that"
            " `agentcomm init` writes. Third-party ones are pettingzoo:MODULE:FUNCTION or gymnasium:PACKAGE:ID.",
            autocompletion=plugins("environment"),
        ),
    ] = None,
    resume: Annotated[bool, typer.Option(help="Resume the run from its last checkpoints.")] = False,
    root: Root = Path("runs"),
    jobs: Jobs = 1,
    address: Address = None,
    trust: Trust = False,
) -> None:
    """Train the teams of CONFIG, or in an environment, one per seed, and the same without messages as a control.

    Ctrl-C or SIGTERM writes a checkpoint of every team at work and stops; resume with --resume.
    """
    words = list(overrides or ())
    if env is not None and config is not None and "=" in str(config) and not config.exists():
        config, words = None, [str(config), *words]
    if env is not None and config is not None:
        words = [f"environment={env}", *words]
    if config is not None:
        chosen = load(config, words, trust)
    elif env is not None:
        from agentcomm.runs.given import choice_of

        chosen = planned(choice_of("environment", env), words)
    else:
        raise ConfigError("give a CONFIG, which `agentcomm init` writes, or an environment: --env NAME")
    train_teams(chosen, root, resume, trust=trust, jobs=jobs, address=address)


def planned(environment: Choice, overrides: Sequence[str]) -> RunConfig:
    """The config that ``agentcomm init`` writes for an environment, with overrides; its name is the environment's.

    Raises:
        AgentcommError: If anything in it is wrong.
    """
    parts = [part for part in re.split("[:.]", environment.arguments.get("make", "")) if part]
    made = parts[-2:-1] if environment.name == "pettingzoo" else parts[-1:]
    name = re.sub(r"[^A-Za-z0-9._-]", "-", (made or [environment.name])[0])
    where = "the command line"
    data = parse_yaml(template(name, environment, Choice(name="commformer")), where)
    return parse(overridden(data, overrides), where)


def train_teams(
    config: RunConfig,
    root: Path,
    resume: bool,
    again: str | None = None,
    trust: bool = False,
    jobs: int = 1,
    address: str | None = None,
) -> Run:
    """Train with a progress bar, or lines in a log; Ctrl-C ends the command, and says that ``again`` resumes it."""
    from agentcomm import api
    from agentcomm.training.trainer import Stopped

    lines = None if sys.stdout.isatty() and sys.stderr.isatty() else TrainingLines(say)
    try:
        run = api.train(config, root=root, resume=resume, watcher=lines, trust=trust, jobs=jobs, address=address)
    except Stopped as stopped:
        where = shlex.quote(str(root / config.name / "config.yaml"))
        options = (f" --jobs {jobs}" if jobs > 1 else "") + (f" --address {address}" if address else "")
        command = again or f"agentcomm train {where} --resume{options}"
        say(f"Stopped; all progress is saved. Resume with:\n  {command}{_in(root)}")
        raise typer.Exit(128 + stopped.number) from None  # as shells report a signal
    for line in learned(run):
        say(line)
    say(f"Trained teams are in {run.path}. Next: agentcomm evaluate {shlex.quote(str(run.path))}")
    return run


def learned(run: Run) -> list[str]:
    """What each team has learned, in a line: the last numbers of its progress, averages of recent episodes."""
    from agentcomm.runs.folder import team_name, teams

    lines = []
    for variant, seed in teams(run.config):
        path = run.team(variant, seed) / "progress.jsonl"
        rows, _ = read_rows(path, ProgressRow, str(path))
        if not rows:
            continue
        last = {label: number for label, key in SHOWN.items() if isinstance(number := rows[-1].get(key), int | float)}
        ended = (
            ", ".join(f"{label} {number:.2f}" for label, number in last.items())
            or "not every world has finished an episode"
        )
        lines.append(f"{team_name(variant, seed)}: {rows[-1]['env_steps']:,} env steps; {ended}")
    return lines


def _in(root: Path) -> str:
    return "" if root == Path("runs") else f" --root {shlex.quote(str(root))}"
