"""Context ids that only their owner can use.

The id of a conversation carries a tag over its owner. Nothing needs to be stored, so nothing can be exhausted; an id
chosen by a client, or taken from another, has no valid tag.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from agentcomm.base.errors import ConfigError
from agentcomm.protocols.defenses.errors import RefusedError


class Contexts:
    """Makes and checks context ids.

    Args:
        secret: At least 32 random bytes, the same in all replicas of a server; drawn if None.

    Raises:
        ConfigError: If the secret is shorter.
    """

    def __init__(self, secret: bytes | None = None) -> None:
        self._secret = secrets.token_bytes(32) if secret is None else secret
        if len(self._secret) < 32:
            raise ConfigError(f"the secret has {len(self._secret)} bytes; use at least 32, for example os.urandom(32)")

    def new(self, owner: str) -> str:
        """A fresh context id of an owner."""
        name = secrets.token_hex(16)
        return f"{name}-{self._tag(owner, name)}"

    def check(self, owner: str, context: str) -> None:
        """Refuse a context id that is not the owner's. Anonymous callers (owner "") cannot prove that one is theirs.

        Raises:
            RefusedError: If it is another's or nobody's.
        """
        name, _, tag = context.rpartition("-")
        if not owner or not hmac.compare_digest(tag.encode(), self._tag(owner, name).encode()):
            raise RefusedError("unknown context; leave the context id empty to start a new one")

    def _tag(self, owner: str, name: str) -> str:
        message = b"agentcomm/context\0" + name.encode() + b"\0" + owner.encode()
        return hmac.new(self._secret, message, hashlib.sha256).hexdigest()[:32]
