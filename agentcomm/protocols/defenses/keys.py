"""Keys that sign and verify bytes: HMAC-SHA256 between two parties, Ed25519 for many.

The algorithm is a property of the key, never of the message, so that no message can choose how it is verified. Each use
names a domain that enters the signed bytes: a signature made for one purpose is worth nothing for another.
"""

from __future__ import annotations

import hashlib
import hmac
from abc import ABC, abstractmethod

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from agentcomm.base.errors import ConfigError


class VerifyKey(ABC):
    """Verifies signatures of one holder.

    Attributes:
        algorithm: Name in the registry of RFC 9421, section 6.2.
    """

    algorithm: str

    @abstractmethod
    def verify(self, signature: bytes, message: bytes) -> bool:
        """Whether this key's holder signed exactly these bytes. Never raises."""


class SignKey(VerifyKey):
    """Signs in the name of one holder."""

    @abstractmethod
    def sign(self, message: bytes) -> bytes:
        """The signature over some bytes."""


class SharedKey(SignKey):
    """HMAC-SHA256. Whoever can verify can sign as well: give each pair of parties a secret of its own.

    Args:
        secret: At least 32 random bytes.

    Raises:
        ConfigError: If the secret is shorter.
    """

    algorithm = "hmac-sha256"

    def __init__(self, secret: bytes) -> None:
        if len(secret) < 32:
            raise ConfigError(f"the secret has {len(secret)} bytes; use at least 32, for example os.urandom(32)")
        self._secret = secret

    def sign(self, message: bytes) -> bytes:
        """The tag, 32 bytes."""
        return hmac.digest(self._secret, message, hashlib.sha256)

    def verify(self, signature: bytes, message: bytes) -> bool:
        """Whether the tag is right; compared in constant time."""
        return hmac.compare_digest(signature, self.sign(message))


class PublicKey(VerifyKey):
    """Ed25519, public half.

    Args:
        public: 32 bytes.
    """

    algorithm = "ed25519"

    def __init__(self, public: bytes) -> None:
        self.raw = public
        self._key = Ed25519PublicKey.from_public_bytes(public)

    def verify(self, signature: bytes, message: bytes) -> bool:
        """Whether the private half made the signature."""
        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            return False
        return True


class PrivateKey(SignKey):
    """Ed25519, private half.

    Args:
        seed: 32 random bytes; drawn if None.

    Attributes:
        public: The public half, for those who verify.
    """

    algorithm = "ed25519"

    def __init__(self, seed: bytes | None = None) -> None:
        self._key = Ed25519PrivateKey.generate() if seed is None else Ed25519PrivateKey.from_private_bytes(seed)
        self.public = PublicKey(self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))

    def sign(self, message: bytes) -> bytes:
        """The signature, 64 bytes."""
        return self._key.sign(message)

    def verify(self, signature: bytes, message: bytes) -> bool:
        """Whether this key made the signature."""
        return self.public.verify(signature, message)
