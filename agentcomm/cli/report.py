"""The command ``report``."""

from __future__ import annotations

import shlex
import webbrowser
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from agentcomm.base.errors import ConfigError
from agentcomm.cli.options import RunFolder
from agentcomm.cli.screen import say, warn_of_broken_lines


class PictureFormat(StrEnum):
    """Formats of pictures."""

    svg = "svg"
    png = "png"


def report(
    run: RunFolder,
    output: Annotated[Path | None, typer.Option(help="File to write. Default: RUN/report.html.")] = None,
    episodes: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Show the cells of N episodes each. Default: those of most episodes."),
    ] = None,
    pictures: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write the charts as files for papers into FOLDER, in place of the page."),
    ] = None,
    format_: Annotated[
        PictureFormat, typer.Option("--format", help="Format of --pictures; png needs matplotlib.")
    ] = PictureFormat.svg,
    serve: Annotated[
        bool, typer.Option("--serve", help="Show the report in a browser while RUN is still training or evaluated.")
    ] = False,
    port: Annotated[
        int | None, typer.Option(metavar="PORT", help="Port for --serve, 0 for any free one. Default: 8760.")
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Write a report of RUN: a self-contained page with results, learning curves, graphs and an episode player.

    With --serve, no file is written: the page is served to browsers on this machine, and follows the run's files until
    Ctrl-C. A run without cells shows how far its teams are. From another machine, forward the port:
    ssh -L 8760:127.0.0.1:8760 HOST.
    """
    modes = {"--output": output is not None, "--pictures": pictures is not None, "--serve": serve}
    if sum(modes.values()) > 1:
        given = " and ".join(name for name, is_given in modes.items() if is_given)
        raise ConfigError(f"{given}: each is another way to show the report; give one of them")
    if episodes is not None and (pictures is not None or serve):
        raise ConfigError("--episodes: only for the page as a file, not with --pictures or --serve")
    from agentcomm import api
    from agentcomm.runs.folder import run_folder

    if pictures is not None:
        written = api.pictures(run, pictures, format_.value)
        say(f"{len(written)} pictures are in {pictures}")
        return
    if serve:
        _serve(run_folder(run), port, open_)
        return
    if port is not None:
        raise ConfigError("--port: is for --serve; add --serve or leave it out")
    page = api.report(run, output, episodes)
    say(f"The report is {page}")
    warn_of_broken_lines(run)
    if open_:
        webbrowser.open(page.resolve().as_uri())


def _serve(run: Path, port: int | None, opens: bool) -> None:
    from agentcomm.report.serve import serve

    def ready(url: str) -> None:
        say(f"The report of {run} is at {url} on this machine; Ctrl-C ends it.")
        if opens:
            webbrowser.open(url)

    serve(run, port, ready)
    say(f"Stopped. To write the report into a file: agentcomm report {shlex.quote(str(run))}")
