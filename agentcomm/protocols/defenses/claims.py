"""Claims: a signed statement that binds a message to its sender, audience, session, place in a sequence and expiry.

A token is ``body.signature``, both in base64url without padding. The signature covers the exact bytes of the body, so
no canonical form of the claims is needed; the body holds the digest of the message. A verifier refuses a token for
another audience or another message, an expired one, and any place in a sequence that it has seen: it keeps a sliding
window per sender and session, as IPsec does (RFC 4303, section 3.4.3), until the last token that could fall into it has
expired.
"""

from __future__ import annotations

import base64
import binascii
import secrets
import threading
import time
from collections.abc import Callable, Mapping

import msgspec

from agentcomm.base.errors import ConfigError
from agentcomm.protocols.defenses.errors import RefusedError
from agentcomm.protocols.defenses.keys import SignKey, VerifyKey
from agentcomm.protocols.defenses.store import MemoryStore, Store

DOMAIN = b"agentcomm/claims/1\0"
MAX_TOKEN = 2048  # characters; names of up to 256 bytes fit
MAX_NAME = 256


class Claims(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """What a sender states about one message.

    Attributes:
        sender: Name of the key.
        audience: Whom the message is for.
        session: Random name of the sender's run; sequences start again with each.
        sequence: Place in the session, from 1.
        issued: Seconds since the epoch.
        expires: Seconds since the epoch.
        digest: SHA-256 of the message.
    """

    sender: str
    audience: str
    session: str
    sequence: int
    issued: float
    expires: float
    digest: bytes


def encode(text: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """The bytes of base64url without padding, in its one canonical spelling.

    Raises:
        RefusedError: For anything else, such as unused bits that are set.
    """
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise RefusedError("the token is not base64url") from error
    if encode(raw) != text:
        raise RefusedError("the token is not in the canonical spelling of base64url")
    return raw


class Signer:
    """Makes the claims of one sender.

    Args:
        sender: Its name, by which verifiers find the key.
        key: Its key.
        lifetime: Seconds until a message expires.
        clock: Seconds since the epoch.
    """

    def __init__(
        self, sender: str, key: SignKey, lifetime: float = 60.0, clock: Callable[[], float] = time.time
    ) -> None:
        if not 0 < len(sender.encode()) <= MAX_NAME:
            raise ConfigError(f"the sender's name must have 1 to {MAX_NAME} bytes")
        self.sender, self._key, self._lifetime, self._clock = sender, key, lifetime, clock
        self._session, self._sequence, self._lock = secrets.token_hex(8), 0, threading.Lock()

    def sign(self, audience: str, digest: bytes) -> str:
        """A token for one message to one audience, given the message's SHA-256 digest."""
        with self._lock:
            self._sequence += 1
            sequence = self._sequence
        now = self._clock()
        claims = Claims(self.sender, audience, self._session, sequence, now, now + self._lifetime, digest)
        body = msgspec.msgpack.encode(claims)
        return f"{encode(body)}.{encode(self._key.sign(DOMAIN + body))}"


class Verifier:
    """Verifies claims for one audience, and accepts each once.

    Args:
        audience: The name under which senders address this receiver.
        keys: The senders' keys by name.
        store: Remembers which places of which sequences were seen.
        window: How many places a message may come late; 1 refuses whatever arrives out of order.
        max_lifetime: Longest lifetime accepted, in seconds.
        skew: Seconds by which clocks may differ.
    """

    def __init__(
        self,
        audience: str,
        keys: Mapping[str, VerifyKey],
        store: Store | None = None,
        window: int = 64,
        max_lifetime: float = 300.0,
        skew: float = 5.0,
    ) -> None:
        if not 1 <= window <= 4096:
            raise ConfigError(f"window={window}: choose 1 (strict order) to 4096")
        self._audience, self._keys, self._window = audience, keys, window
        self._store = MemoryStore() if store is None else store
        self._max_lifetime, self._skew = max_lifetime, skew

    def verify(self, token: str | None, digest: bytes) -> Claims:
        """The claims of a message, given its digest.

        Raises:
            RefusedError: If the token is missing, malformed, expired, for another message or audience, not signed by
                its sender, or was seen before.
        """
        claims = self._authentic(token)
        if claims.audience != self._audience:
            raise RefusedError(f"the message is addressed to {claims.audience!r}, not to {self._audience!r}")
        if claims.digest != digest:
            raise RefusedError("the message is not the one that was signed")
        now = self._store.clock()
        # stated positively: NaN fails each comparison
        if not claims.issued <= now + self._skew:
            raise RefusedError("the message was signed in the future; check the clocks")
        if not now < claims.expires + self._skew:
            raise RefusedError("the message has expired")
        if not 0 < claims.expires - claims.issued <= self._max_lifetime:
            raise RefusedError(f"the message may live longer than {self._max_lifetime:g} s")
        keep = self._max_lifetime + 2 * self._skew  # any token of the session has expired by then
        self._store.update(claims.sender, claims.session, lambda old: self._slide(old, claims.sequence), keep)
        return claims

    def _authentic(self, token: str | None) -> Claims:
        """The claims in a token that its sender signed."""
        if not token:
            raise RefusedError("the message is not signed")
        if len(token) > MAX_TOKEN or token.count(".") != 1:
            raise RefusedError("the token is malformed")
        body, signature = map(decode, token.split("."))
        try:
            claims = msgspec.msgpack.decode(body, type=Claims)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise RefusedError(f"the token is malformed: {error}") from error
        key = self._keys.get(claims.sender)
        if key is None:
            raise RefusedError(f"unknown sender {claims.sender[:40]!r}")
        if not key.verify(signature, DOMAIN + body):
            raise RefusedError("the signature is not the sender's")
        return claims

    def _slide(self, old: bytes | None, sequence: int) -> bytes:
        """The window after a message: 8 bytes of the highest place, then one bit for it and each place below it."""
        highest, seen = (0, 0) if old is None else (int.from_bytes(old[:8]), int.from_bytes(old[8:]))
        if not 0 < sequence < 2**63:
            raise RefusedError(f"sequence {sequence} is out of range")
        if sequence > highest:
            ahead = sequence - highest
            seen = 1 if ahead >= self._window else (seen << ahead | 1) & ((1 << self._window) - 1)
            highest = sequence
        else:
            bit = 1 << (highest - sequence)
            if highest - sequence >= self._window or seen & bit:
                raise RefusedError(f"message {sequence} was received before, or came too late")
            seen |= bit
        return highest.to_bytes(8) + seen.to_bytes((self._window + 7) // 8)
