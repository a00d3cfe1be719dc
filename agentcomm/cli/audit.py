"""The command ``audit``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.table import Table

from agentcomm.base.errors import ConfigError, FileError, did_you_mean
from agentcomm.base.files import write_text
from agentcomm.cli.completion import words
from agentcomm.cli.screen import console, say
from agentcomm.protocols.audit.reports import as_json, as_sarif
from agentcomm.protocols.audit.run import audit as run_audit
from agentcomm.protocols.audit.target import Limits, Target, read_token
from agentcomm.protocols.audit.verdicts import Report, Verdict
from agentcomm.protocols.findings import Protocol

PROTOCOLS = ("a2a", "mcp")
PAGE = "docs/howto/protect.md"
FORMATS = {"text": None, "json": as_json, "sarif": as_sarif}
STYLES = {Verdict.PASS: "green", Verdict.FAIL: "bold red", Verdict.INCONCLUSIVE: "yellow", Verdict.SKIPPED: "dim"}
Text = str | None
TOKEN = "env:NAME|file:PATH"


def audit(
    url: Annotated[str, typer.Argument(metavar="URL", help="Address of an A2A agent or MCP server of your own.")],
    protocol: Annotated[
        Text, typer.Option(metavar="a2a|mcp", help="Default: found out.", autocompletion=words(PROTOCOLS))
    ] = None,
    owner_token: Annotated[
        Text, typer.Option(metavar=TOKEN, help="Where the bearer token of an account is, whose calls must succeed.")
    ] = None,
    stranger_token: Annotated[
        Text, typer.Option(metavar=TOKEN, help="The same for another account, which must not reach the first one's.")
    ] = None,
    allow_changes: Annotated[
        bool, typer.Option("--allow-changes", help="Run probes that send messages to the agent or call --tool.")
    ] = False,
    allow_remote: Annotated[
        bool, typer.Option("--allow-remote", help="Audit an endpoint on another machine; only if it is your own.")
    ] = False,
    message: Annotated[
        str, typer.Option(metavar="TEXT|JSON", help="Message that an A2A agent answers; best, one it waits at.")
    ] = "agentcomm audit",
    tool: Annotated[Text, typer.Option(metavar="NAME", help="MCP tool that may be called several times.")] = None,
    arguments: Annotated[str, typer.Option(metavar="JSON", help="Arguments of the tool.")] = "{}",
    card_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Public key (PEM) that must have signed the agent's card.")
    ] = None,
    tools_digest: Annotated[
        Text, typer.Option(metavar="SHA256", help="Digest of the list of tools, as an earlier audit showed it.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, max=120, metavar="SECONDS", help="Longest wait per request.")] = 10,
    format_: Annotated[
        str, typer.Option("--format", metavar="|".join(FORMATS), help="The format.", autocompletion=words(FORMATS))
    ] = "text",
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the format here, and show the table.")
    ] = None,
) -> None:
    """Audit an A2A agent or MCP server of your own, by what the owner and strangers are answered.

    Exit code: 0 if something passed and nothing failed, 1 if something failed, 2 if nothing could be concluded,
    if it is unknown which callers the server answers, or after an error, such as an address that cannot be reached.
    """
    _known("--protocol", protocol, PROTOCOLS)
    _known("--format", format_, FORMATS)
    if output is not None and format_ == "text":
        raise ConfigError("--output: needs --format json or --format sarif")
    target = Target(
        url=url,
        protocol=cast("Protocol | None", protocol),
        owner_token=None if owner_token is None else read_token(owner_token, "--owner-token"),
        stranger_token=None if stranger_token is None else read_token(stranger_token, "--stranger-token"),
        changes=allow_changes,
        remote=allow_remote,
        message=_data(message) or message,
        tool=tool,
        arguments=_arguments(arguments),
        card_key=None if card_key is None else _key(card_key),
        tools_digest=tools_digest,
        limits=Limits(seconds=timeout),
    )
    report = run_audit(target)
    write = FORMATS[format_]
    if write is not None and output is not None:
        write_text(output, write(report))
    if write is not None and output is None:
        typer.echo(write(report), nl=False)
    else:
        _show(report)
    raise typer.Exit(report.exit_code)


def _known(option: str, word: str | None, choices: Any) -> None:
    if word is not None and word not in choices:
        raise ConfigError(f"{option}: must be {' or '.join(choices)} (got {word!r}); {did_you_mean(word, choices)}")


def _data(text: str) -> dict[str, Any] | None:
    """The object that a text is as JSON, or None."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def _arguments(text: str) -> dict[str, Any]:
    data = _data(text)
    if data is None:
        raise ConfigError("--arguments: must be a JSON object, such as '{\"a\": 1}'")
    return data


def _key(path: Path) -> str:
    try:
        text = path.read_text(encoding="ascii")
    except (OSError, ValueError) as error:
        raise FileError(f"--card-key: {path} cannot be read ({type(error).__name__}); give a PEM file") from None
    if "PUBLIC KEY" not in text or "PRIVATE" in text:
        raise ConfigError(f"--card-key: {path} must be a public key in PEM")
    return text


def _show(report: Report) -> None:
    """Print the table, the fixes and the count."""
    table = Table(title=f"{report.url} ({report.protocol})", title_justify="left")
    for column in ("verdict", "probe", "where", "evidence"):
        table.add_column(column, overflow="fold", no_wrap=column in ("verdict", "probe"))
    for row in report.rows:
        table.add_row(row.verdict.value, row.probe, row.where, row.evidence, style=STYLES[row.verdict])
    console.print(table)
    for row in report.rows:
        if row.verdict is not Verdict.PASS and "digest" in row.evidence:  # in a line that is not folded
            say(f"{row.probe}: {row.evidence}")
    for probe, fix in dict.fromkeys((row.probe, row.fix) for row in report.rows if row.fix):
        say(f"{probe}: {fix}")
    if any(row.fix for row in report.rows):
        say(f"How to put defenses in: {PAGE}")
    say(", ".join(f"{number} {verdict.value}" for verdict, number in report.counts.items()))
