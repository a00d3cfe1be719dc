"""Origins (RFC 6454): where a card may send its readers, and where credentials may go."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from agentcomm.protocols.defenses.errors import RefusedError

_PORTS = {"http": 80, "https": 443}


def origin(url: str) -> str:
    """Scheme, host and port of a URL in one spelling, such as ``https://agent.example:443``.

    Raises:
        RefusedError: For a URL that is not http or https, has no host, or carries credentials.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise RefusedError(f"{url[:200]!r} is no URL") from error
    scheme = parts.scheme.lower()
    if scheme not in _PORTS or not host or "@" in parts.netloc or url != url.strip() or "\\" in url:
        raise RefusedError(f"{url[:200]!r} is not a plain http or https URL")
    name = f"[{host}]" if ":" in host else host.rstrip(".").lower()
    return f"{scheme}://{name}:{port or _PORTS[scheme]}"


def check_origin(asked: str, urls: Iterable[str]) -> None:
    """Refuse a card that was asked from one origin and names another.

    Raises:
        RefusedError: If one of the URLs has another origin than ``asked``.
    """
    home = origin(asked)
    for url in urls:
        if origin(url) != home:
            raise RefusedError(f"the card of {home} names another origin: {url[:200]!r}")
