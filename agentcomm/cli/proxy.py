"""The command ``proxy``."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ipaddress
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from agentcomm.base.errors import ConfigError, did_you_mean
from agentcomm.base.log import event_log
from agentcomm.base.text import shorten
from agentcomm.cli.completion import words
from agentcomm.cli.options import WRITTEN
from agentcomm.cli.screen import say
from agentcomm.protocols.carrier import PROTOCOLS
from agentcomm.protocols.extras import needs
from agentcomm.protocols.onpath import OnPath
from agentcomm.protocols.tampering import RULES, read_rules

MAX_LINES = 1_000_000  # of the log
GRACE = 0.5  # seconds that answers under way have to finish at the end


def proxy(
    protocol: Annotated[
        str, typer.Option(metavar="|".join(PROTOCOLS), help="Protocol of the server.", autocompletion=words(PROTOCOLS))
    ],
    upstream: Annotated[str, typer.Option(metavar="URL", help="The server to stand in front of.")],
    attack: Annotated[
        list[str] | None,
        typer.Option(
            metavar=WRITTEN,
            help=f"What to do to events: {', '.join(RULES)}. Repeat it for more; each works on what the ones before"
            " pass on. Default: pass everything on unchanged.",
            autocompletion=words(RULES),
        ),
    ] = None,
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where to listen; port 0 takes a free one.")
    ] = "127.0.0.1:8090",
    seed: Annotated[int, typer.Option(help="Decides which events are attacked, if a probability is below 1.")] = 0,
    log: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write what it does to events, one JSON line each.")
    ] = None,
    allow_remote: Annotated[
        bool, typer.Option("--allow-remote", help="Listen on an address that other machines can reach.")
    ] = False,
) -> None:
    """Attack one's own A2A or MCP agents: a reverse proxy between clients and a server.

    Point a client at the proxy instead of the server. Requests, responses,
    events of streams, cards and discovery pass through it, and it drops,
    duplicates, delays or edits those that the attacks name:

      drop                               do not pass on
      duplicate:copies=3                 pass on several times
      delay:by=2                         pass on 2 seconds later
      payload:how=flip                   negate the numbers in envelopes of
                                         agentcomm, under their old seals
      edit:path=..text,find=shop,to=evil
                                         change values of JSON bodies
      card_url:to=http://127.0.0.1:9/    substitute the URLs on agent cards
      description:to=...                 substitute the descriptions of agents,
                                         skills and tools
      refuse:method=server/discover      answer with an error; this one
                                         downgrades MCP

    Each takes conditions: [bold]probability[/bold]; [bold]direction[/bold] (request, response);
    [bold]kind[/bold] (request, response, stream, card, discovery); [bold]method[/bold], such
    as SendStreamingMessage or tools/call; [bold]contains[/bold], a text in the body; [bold]start[/bold] and
    [bold]stop[/bold], numbers of events.

    At its end, also by Ctrl-C, it says what each attack met and changed, and
    which methods it saw; answers under way get half a second to finish.

    Attack only agents that are yours. The proxy records no contents.
    """
    attacker = read_rules(attack or (), seed)
    if protocol not in PROTOCOLS:
        raise ConfigError(f"--protocol: there is no protocol {shorten(protocol)}; {did_you_mean(protocol, PROTOCOLS)}")
    _check_url(upstream)
    host, port = _address(listen, allow_remote)
    place = OnPath(protocol, attacker, _recorder(log))
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(_serve(place, upstream, host, port, lambda url: _announce(url, upstream, place, allow_remote)))
    except OSError as error:
        raise ConfigError(f"--listen {listen}: cannot listen there ({error.strerror}); choose another port") from error
    _sum_up(place)
    # The collection at the interpreter's end would go over every object of every module: most of the time from Ctrl-C
    # to the prompt. Nothing here waits for it; the log is flushed line by line.
    gc.freeze()


async def _serve(place: OnPath, upstream: str, host: str, port: int, announce: Callable[[str], None]) -> None:
    """Serve until Ctrl-C or SIGTERM."""
    with needs(place.protocol):
        from agentcomm.protocols.proxy import MAX_REQUESTS, Proxy
        from agentcomm.protocols.serving import serve
    loop, own = asyncio.get_running_loop(), asyncio.current_task()
    assert own is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C then arrives as KeyboardInterrupt
            loop.add_signal_handler(number, own.cancel)
    options: dict[str, Any] = {"server_header": False, "date_header": False, "limit_concurrency": MAX_REQUESTS}
    options["timeout_graceful_shutdown"] = GRACE
    with contextlib.suppress(asyncio.CancelledError):
        async with serve(lambda _: Proxy(upstream, place), host, port, **options) as url:
            announce(url)
            await asyncio.Event().wait()


def _sum_up(place: OnPath) -> None:
    """Say what was met and done."""
    done = place.done
    acts = ", ".join(f"{done[word]} {word}" for word in ("dropped", "duplicated", "changed", "delayed"))
    say(f"Ended after {done['seen']} events: {acts}.")
    for line in place.tally.lines(place.tampering.rules):
        say(line)


def _announce(url: str, upstream: str, place: OnPath, remote: bool) -> None:
    """Say what the proxy does."""
    rules = place.tampering.rules
    say(f"Proxy for {place.protocol.upper()} at {url}, in front of {upstream}")
    for rule in rules:
        say(f"  attacks: {rule.label}")
    if not rules:
        say("  attacks nothing; everything is passed on unchanged")
    say("  other machines can reach it" if remote else "  only this machine can reach it")
    say(f"Give your client the URL {url} instead of the server's. Ctrl-C ends the proxy.")


def _recorder(log: Path | None) -> Any:
    """Prints what is done to events, and writes it to the log."""
    file = None if log is None else event_log(log)
    written = 0

    def record(entry: dict[str, Any]) -> None:
        nonlocal written
        did = " and ".join(entry["did"])
        what = " ".join(word for word in (entry["kind"], entry["method"]) if word)
        say(f"event {entry['number']}: {did}: {what}, {entry['bytes']} bytes")
        if file is not None and written < MAX_LINES:
            written += 1
            file.info("tampered", **entry)

    return record


def _check_url(upstream: str) -> None:
    """Check the server's URL.

    Raises:
        ConfigError: If it is none of HTTP.
    """
    try:
        parts = urlsplit(upstream)
        valid = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port)
    except ValueError:
        valid = False
    if not valid:
        raise ConfigError(f"--upstream: {shorten(upstream)} is no URL of a server; write http://HOST:PORT")


def _address(listen: str, allow_remote: bool) -> tuple[str, int]:
    """Host and port to listen at.

    Raises:
        ConfigError: If the text has another form, or other machines could reach the address.
    """
    host, colon, port = listen.rpartition(":")
    host = host.strip("[]").replace("localhost", "127.0.0.1")
    try:
        number, address = int(port), ipaddress.ip_address(host)
    except ValueError:
        number, address = -1, None
    if not colon or address is None or not 0 <= number <= 65535:
        raise ConfigError(f"--listen: {shorten(listen)} is not of the form HOST:PORT, such as 127.0.0.1:8090")
    if not address.is_loopback and not allow_remote:
        raise ConfigError(
            f"--listen: other machines could reach {host}; listen at 127.0.0.1, or add --allow-remote if that is meant"
        )
    return host, number
