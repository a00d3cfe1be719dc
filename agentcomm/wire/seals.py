"""Seals on real envelopes: HMAC-SHA256 and Ed25519 tags over all fields except ``hops``.

:mod:`agentcomm.wire.keyring` models them in the batch. Both accept the same messages: the key that a seal names must be
the claimed sender's, and the tag must be made with that key over exactly these fields.

A seal also covers the episode, which both sides know and no envelope names: a message sealed in another episode, like
one sealed for another session, fails to verify.

Seals do not cover ``hops``: a forwarding agent decrements it and has no key of the sender to seal the message again. It
must not be trusted for anything but ending loops.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from abc import ABC, abstractmethod

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from agentcomm.base.errors import MessageError
from agentcomm.wire.envelope import MAX_CODEC, Envelope

DOMAIN = b"agentcomm/envelope"  # domain separation: these signatures are valid for envelopes only

# domain, episode, version, sent_round, sender, audience, sequence, sent_at, expiry, key, codec, digest of the payload
_HEADER = struct.Struct(f"!{len(DOMAIN)}sQBBHHIIIH{MAX_CODEC}s32s")


def signed_bytes(envelope: Envelope, key: int, episode: int) -> bytes:
    """The bytes that a seal by ``key`` covers: every field at a fixed offset, so different messages never collide.

    Codec names contain no zero bytes, so zero padding keeps them distinct; the payload enters as its SHA-256 digest.

    Args:
        envelope: The message.
        key: Number of the key.
        episode: Number of the episode, 0 .. 2^64 - 1, which both sides know; no envelope contains it.
    """
    e = envelope
    return _HEADER.pack(
        DOMAIN,
        episode,
        e.version,
        e.sent_round,
        e.sender,
        e.audience,
        e.sequence,
        e.sent_at,
        e.expiry,
        key,
        e.codec.encode(),
        hashlib.sha256(e.payload).digest(),
    )


def _secret(scheme: str, seed: int, holder: int) -> bytes:
    """32 bytes for one holder, derived from the seed for reproducibility: no secret from anyone who knows the seed."""
    return hashlib.sha256(f"agentcomm/{scheme}/{seed}/{holder}".encode()).digest()


class Verifier(ABC):
    """What a receiver needs to verify seals."""

    @abstractmethod
    def signer(self, envelope: Envelope, episode: int) -> int | None:
        """The key that made the seal over exactly these fields in this episode; None for none. Never raises."""

    def verify(self, envelope: Envelope, episode: int) -> bool:
        """Whether the claimed sender's key made the seal over exactly these fields in this episode. Never raises."""
        return envelope.key == envelope.sender and self.signer(envelope, episode) is not None


class Keys(Verifier):
    """The keys of N agents and, as number N, of a newcomer."""

    num_agents: int

    def seal(self, envelope: Envelope, key: int, episode: int) -> Envelope:
        """The envelope with a seal by ``key`` for an episode, whatever its claimed sender.

        Raises:
            MessageError: If there is no such key.
        """
        if not 0 <= key <= self.num_agents:
            raise MessageError(f"there is no key {key}; keys are 0 to {self.num_agents}")
        return envelope.model_copy(update={"key": key, "seal": self._tag(key, signed_bytes(envelope, key, episode))})

    @abstractmethod
    def _tag(self, key: int, message: bytes) -> bytes:
        """The tag by one key over some bytes."""


class HmacKeys(Keys):
    """HMAC-SHA256, 32 bytes. Each sender shares one secret with all receivers, so any of them could seal in its name.

    Args:
        seed: Seed of the keys.
        num_agents: N.
    """

    def __init__(self, seed: int, num_agents: int) -> None:
        self.num_agents = num_agents
        self._started = [HMAC(_secret("hmac", seed, holder), SHA256()) for holder in range(num_agents + 1)]

    def _tag(self, key: int, message: bytes) -> bytes:
        mac = self._started[key].copy()  # takes half the time of a new HMAC
        mac.update(message)
        return mac.finalize()

    def signer(self, envelope: Envelope, episode: int) -> int | None:
        """The key that the seal names, if it made the seal; compared in constant time."""
        key = envelope.key
        if key is None or key > self.num_agents:
            return None
        return key if hmac.compare_digest(self._tag(key, signed_bytes(envelope, key, episode)), envelope.seal) else None


class Ed25519PublicKeys(Verifier):
    """The public keys, for receivers: they verify seals but cannot make any."""

    def __init__(self, keys: list[Ed25519PublicKey]) -> None:
        self._keys = keys

    def signer(self, envelope: Envelope, episode: int) -> int | None:
        """The key that the seal names, if its private key made the seal in this episode."""
        key = envelope.key
        if key is None or key >= len(self._keys):
            return None
        try:
            self._keys[key].verify(envelope.seal, signed_bytes(envelope, key, episode))
        except InvalidSignature:
            return None
        return key


class Ed25519Keys(Keys):
    """Ed25519, 64 bytes.

    Args:
        seed: Seed of the keys.
        num_agents: N.

    Attributes:
        public: The public keys, for receivers.
    """

    def __init__(self, seed: int, num_agents: int) -> None:
        self.num_agents = num_agents
        secrets = (_secret("ed25519", seed, holder) for holder in range(num_agents + 1))
        self._private = [Ed25519PrivateKey.from_private_bytes(secret) for secret in secrets]
        self.public = Ed25519PublicKeys([key.public_key() for key in self._private])

    def _tag(self, key: int, message: bytes) -> bytes:
        return self._private[key].sign(message)

    def signer(self, envelope: Envelope, episode: int) -> int | None:
        """The key that the seal names, if its private key made the seal in this episode."""
        return self.public.signer(envelope, episode)
