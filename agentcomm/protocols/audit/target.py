"""What is audited and as whom: address, credentials, limits and what is allowed."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from agentcomm.base.errors import ConfigError
from agentcomm.protocols.findings import Protocol

Name = Literal["owner", "stranger", "anonymous"]


@dataclass(frozen=True)
class Caller:
    """Who sends a request; a bearer token, or none."""

    name: Name
    token: str | None = field(default=None, repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """The headers that name the caller."""
        return {} if self.token is None else {"authorization": f"Bearer {self.token}"}


ANONYMOUS = Caller("anonymous")


@dataclass(frozen=True)
class Limits:
    """Bounds of the audit, whatever the server does."""

    seconds: float = 10.0  # per request, from the first byte sent to the last one read
    total_seconds: float = 180.0  # of the whole audit
    read_bytes: int = 4 << 20  # per answer
    sent_bytes: int = 8 << 20  # body of the probe of sizes


@dataclass(frozen=True)
class Target:
    """An endpoint of one's own.

    Raises:
        ConfigError: If the address is not HTTP, or not on this machine and ``remote`` is not set.
    """

    url: str
    protocol: Protocol | None = None  # None: found out
    owner_token: str | None = field(default=None, repr=False)
    stranger_token: str | None = field(default=None, repr=False)
    changes: bool = False  # probes that change state may run
    remote: bool = False
    message: Any = "agentcomm audit"  # what is sent to an A2A agent: text, or data as a dict
    tool: str | None = None  # MCP tool that may be called
    arguments: dict[str, Any] = field(default_factory=dict)
    card_key: str | None = None  # PEM of the public key of an A2A card
    tools_digest: str | None = None  # SHA-256 of the pinned list of MCP tools
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            sound = False
        if not sound or parts.username or parts.password or parts.query or parts.fragment:
            raise ConfigError("URL: must be http://HOST[:PORT][/PATH] or https://..., without credentials or a query")
        if not self.remote and not _loopback(str(parts.hostname)):
            raise ConfigError(
                f"URL: {parts.hostname} is not on this machine; audit only endpoints of your own, and allow this one"
                " with --allow-remote"
            )
        if self.owner_token and self.owner_token == self.stranger_token:
            raise ConfigError("--stranger-token: is the owner's token; give one of another account")

    @property
    def origin(self) -> str:
        """Scheme, host and port of the address."""
        return origin(self.url)

    @property
    def owner(self) -> Caller:
        """The caller whose calls must succeed."""
        return Caller("owner", self.owner_token)

    @property
    def strangers(self) -> tuple[Caller, ...]:
        """The callers who must not reach what is the owner's."""
        other = (Caller("stranger", self.stranger_token),) if self.stranger_token else ()
        return (*other, ANONYMOUS)


def origin(url: str) -> str:
    """Scheme, host and port of a URL, with the scheme's own port filled in; empty if it has none."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.hostname}:{port}" if parts.hostname else ""


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_token(source: str, option: str) -> str:
    """The token that ``env:NAME`` or ``file:PATH`` holds.

    Raises:
        ConfigError: If there is none. The message never repeats what was given, which may be a token.
    """
    kind, _, place = source.partition(":")
    if kind == "env" and place:
        text = os.environ.get(place)
        if text is None:
            raise ConfigError(f"{option}: there is no such environment variable; set it before the audit")
    elif kind == "file" and place:
        try:
            text = Path(place).expanduser().read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise ConfigError(f"{option}: the file cannot be read ({type(error).__name__})") from None
    else:
        raise ConfigError(
            f"{option}: must be env:NAME or file:PATH; tokens are not given on the command line, which others can see"
        )
    token = text.strip()
    if not 4 <= len(token) <= 8192 or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(f"{option}: must hold a token of 4 to 8192 printable ASCII characters without spaces")
    return token
