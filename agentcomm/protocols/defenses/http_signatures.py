"""HTTP message signatures: the subset of RFC 9421 that agent calls need, with the Content-Digest of RFC 9530.

Covered components may be header fields and ``@method``, ``@authority``, ``@scheme``, ``@path``, ``@query`` and
``@target-uri``, without parameters. A verifier asks for a set of covered components, ``content-digest`` among them
wherever there is a body, for ``created`` and ``nonce``, and accepts a nonce once per key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from agentcomm.protocols.defenses.errors import RefusedError
from agentcomm.protocols.defenses.keys import SignKey, VerifyKey
from agentcomm.protocols.defenses.store import MemoryStore, Store

LABEL, TAG = "agentcomm", "agentcomm-request"
REQUIRED = ("@method", "@authority", "@path", "@query")
BODY = ("content-digest", "content-type")
MAX_HEADER = 4096  # characters

_STRING = r'"(?:[\x20\x21\x23-\x5b\x5d-\x7e])*"'  # no escapes: no name here needs one
_INPUT = re.compile(rf"([a-z][a-z0-9_-]*)=(\(({_STRING}(?: {_STRING})*)?\)((?:;[a-z]+=(?:{_STRING}|\d{{1,15}}))*))")
_PARAMETER = re.compile(rf";([a-z]+)=({_STRING}|\d{{1,15}})")
_SIGNATURE = re.compile(r"([a-z][a-z0-9_-]*)=:([A-Za-z0-9+/]+={0,2}):")


@dataclass(frozen=True)
class Request:
    """What of a request can be signed.

    Attributes:
        method: Such as POST.
        url: Absolute URL.
        headers: Values by lower-case name.
        body: The exact bytes.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = b""

    def component(self, name: str) -> str:
        """The value of a component (section 2).

        Raises:
            RefusedError: If the request has no such component.
        """
        parts = urlsplit(self.url)
        derived: dict[str, Callable[[], str]] = {
            "@method": lambda: self.method,
            "@authority": lambda: authority(self.url),
            "@scheme": lambda: parts.scheme.lower(),
            "@path": lambda: parts.path or "/",
            "@query": lambda: "?" + parts.query,
            "@target-uri": lambda: self.url,
        }
        if name in derived:
            return derived[name]()
        if name.startswith("@") or name not in self.headers:
            raise RefusedError(f"the request has no component {name!r}")
        return self.headers[name].strip()


class Signable(Protocol):
    """A request, or an answer."""

    def component(self, name: str) -> str:
        """The value of a component."""


def authority(url: str) -> str:
    """Host and port of a URL, the default port left out (section 2.2.3)."""
    parts = urlsplit(url)
    default = {"http": 80, "https": 443}.get(parts.scheme.lower())
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    return host if parts.port in (None, default) else f"{host}:{parts.port}"


def content_digest(body: bytes) -> str:
    """The Content-Digest of a body (RFC 9530, section 2)."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


def signature_base(request: Signable, components: Sequence[str], params: str) -> bytes:
    """The bytes that are signed (section 2.5).

    Args:
        request: The request, or the answer.
        components: Names of the covered components.
        params: The signature's parameters, as in Signature-Input.
    """
    lines = [f'"{name}": {request.component(name)}' for name in components]
    return "\n".join([*lines, f'"@signature-params": {params}']).encode()


def sign(request: Request, name: str, key: SignKey, seconds: float = 60.0, now: float | None = None) -> dict[str, str]:
    """The headers that sign a request.

    Args:
        request: The request, with its Content-Type if it has a body.
        name: Name of the key.
        key: The key.
        seconds: Until the signature expires.
        now: Seconds since the epoch.

    Raises:
        RefusedError: If the name of the key cannot be written in a header.
    """
    if not re.fullmatch(_STRING, f'"{name}"'):
        raise RefusedError(f"the name of the key {name!r} has characters that no header can carry")
    headers = {"content-digest": content_digest(request.body)} if request.body else {}
    whole = Request(request.method, request.url, {**request.headers, **headers}, request.body)
    components = [*REQUIRED, *(BODY if request.body else ())]
    created = int(time.time() if now is None else now)
    params = '({});created={};expires={};nonce="{}";alg="{}";keyid="{}";tag="{}"'.format(
        " ".join(f'"{component}"' for component in components),
        *(created, created + max(int(seconds), 1), secrets.token_hex(16), key.algorithm, name, TAG),
    )
    signature = base64.b64encode(key.sign(signature_base(whole, components, params))).decode()
    return {**headers, "signature-input": f"{LABEL}={params}", "signature": f"{LABEL}=:{signature}:"}


class RequestVerifier:
    """Verifies signed requests, and accepts each once.

    Args:
        keys: Keys by name.
        required: Components that a signature must cover, besides those of a body.
        store: Remembers nonces.
        max_lifetime: Longest lifetime accepted, in seconds.
        skew: Seconds by which clocks may differ.
    """

    def __init__(
        self,
        keys: Mapping[str, VerifyKey],
        required: Sequence[str] = REQUIRED,
        store: Store | None = None,
        max_lifetime: float = 300.0,
        skew: float = 5.0,
    ) -> None:
        self._keys, self._required = keys, tuple(required)
        self._store = MemoryStore() if store is None else store
        self._max_lifetime, self._skew = max_lifetime, skew

    def verify(self, request: Request) -> str:
        """The name of the key that signed a request.

        Raises:
            RefusedError: If the signature is missing, malformed, expired, covers too little, is not the key's, was seen
                before, or the body is another.
        """
        components, params, text, signature = parse_signature(request.headers)
        missing = [name for name in (*self._required, *(BODY if request.body else ())) if name not in components]
        if missing or len(set(components)) < len(components):
            raise RefusedError(f"the signature does not cover {', '.join(missing) or 'each component once'}")
        if request.body and request.headers.get("content-digest") != content_digest(request.body):
            raise RefusedError("the Content-Digest is not the body's")
        name, nonce = params.get("keyid"), params.get("nonce")
        created, expires = params.get("created"), params.get("expires")
        if not isinstance(name, str) or not isinstance(nonce, str) or not isinstance(created, int):
            raise RefusedError("the signature names no key, nonce or time of creation")
        key = self._keys.get(name)
        if key is None or params.get("alg", key.algorithm) != key.algorithm:
            raise RefusedError(f"unknown key {name[:40]!r}, or another algorithm than the key's")
        now = self._store.clock()
        until = created + self._max_lifetime
        if isinstance(expires, int):
            until = min(until, expires)
        if not created <= now + self._skew or not now < until + self._skew:
            raise RefusedError("the signature has expired, or was made in the future")
        if not key.verify(signature, signature_base(request, components, text)):
            raise RefusedError("the signature is not the key's")
        if not self._store.add(name, nonce, self._max_lifetime + 2 * self._skew):
            raise RefusedError("the request was received before")
        return name


def parse_signature(headers: Mapping[str, str]) -> tuple[list[str], dict[str, str | int], str, bytes]:
    """Components, parameters and their text, and the signature, of a message with exactly one.

    Raises:
        RefusedError: If there is none, or it is malformed.
    """
    given, signed = headers.get("signature-input", ""), headers.get("signature", "")
    if not given or not signed:
        raise RefusedError("the message is not signed")
    if len(given) > MAX_HEADER or len(signed) > MAX_HEADER:
        raise RefusedError("the signature is too long")
    described, made = _INPUT.fullmatch(given.strip()), _SIGNATURE.fullmatch(signed.strip())
    if described is None or made is None or described[1] != made[1]:
        raise RefusedError("the signature is malformed, or there is more than one")
    try:
        signature = base64.b64decode(made[2], validate=True)
    except (binascii.Error, ValueError) as error:
        raise RefusedError("the signature is not base64") from error
    params: dict[str, str | int] = {}
    for name, value in _PARAMETER.findall(described[4]):
        if name in params:
            raise RefusedError(f"the parameter {name} is there twice")
        params[name] = value[1:-1] if value.startswith('"') else int(value)
    return re.findall(r'"([^"]*)"', described[3] or ""), params, described[2], signature
