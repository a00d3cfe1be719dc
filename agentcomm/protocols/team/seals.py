"""Seals of one agent's process: it holds its own private key, and the public keys of all agents."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from agentcomm.wire.envelope import Envelope
from agentcomm.wire.seals import Ed25519PublicKeys, signed_bytes


class Seals:
    """Seals envelopes of one agent in one episode, and verifies those of others.

    Args:
        me: The agent.
        private: Its key.
        public: Public key of each agent, 32 bytes.
        episode: Number of the episode.
    """

    def __init__(self, me: int, private: Ed25519PrivateKey, public: tuple[bytes, ...], episode: int) -> None:
        self._me, self._private, self._episode = me, private, episode
        self._public = Ed25519PublicKeys([Ed25519PublicKey.from_public_bytes(key) for key in public])

    def seal(self, envelope: Envelope) -> Envelope:
        """The envelope with this agent's seal."""
        tag = self._private.sign(signed_bytes(envelope, self._me, self._episode))
        return envelope.model_copy(update={"key": self._me, "seal": tag})

    def valid(self, envelope: Envelope) -> bool:
        """Whether the claimed sender has sealed the envelope in this episode."""
        return self._public.verify(envelope, self._episode)
