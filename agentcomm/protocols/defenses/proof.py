"""Proof of possession: the holder of a card's key signs a challenge for the origin at which it was asked.

A copied card does not help its copier, who lacks the key. Relaying the challenge does not help either: the true holder
signs for its own origin only, and the asker checks the origin that it asked.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping

from agentcomm.protocols.defenses.claims import decode, encode
from agentcomm.protocols.defenses.errors import RefusedError
from agentcomm.protocols.defenses.keys import SignKey, VerifyKey
from agentcomm.protocols.defenses.origins import origin

DOMAIN = b"agentcomm/possession/1\0"
PATH = "/.well-known/agentcomm-possession"
_NONCE = re.compile(r"[0-9a-f]{32}")


def challenge() -> str:
    """A fresh nonce, 32 hexadecimal digits."""
    return secrets.token_hex(16)


def answer(nonce: str, home: str, card: bytes, name: str, key: SignKey) -> dict[str, str]:
    """The holder's answer to a challenge.

    Args:
        nonce: The asker's nonce.
        home: The holder's own URL; never taken from the request.
        card: SHA-256 of the holder's card in canonical form.
        name: Name of the key.
        key: The key.

    Raises:
        RefusedError: For a malformed nonce, because the key must not sign what an asker composed.
    """
    if not _NONCE.fullmatch(nonce):
        raise RefusedError("the nonce must be 32 hexadecimal digits")
    return {"key": name, "signature": encode(key.sign(_message(nonce, home, card)))}


def check_answer(
    nonce: str, asked: str, card: bytes, given: Mapping[str, object], keys: Mapping[str, VerifyKey]
) -> None:
    """Verify an answer.

    Args:
        nonce: The nonce that was sent.
        asked: The URL that was asked.
        card: SHA-256 of the card that was received, in canonical form.
        given: The answer.
        keys: Trusted keys by name.

    Raises:
        RefusedError: If it does not prove that a trusted key is at home at ``asked`` with this card.
    """
    name, signature = given.get("key"), given.get("signature")
    key = keys.get(name) if isinstance(name, str) else None
    if key is None or not isinstance(signature, str):
        raise RefusedError(f"{asked} did not prove that it holds a trusted key")
    if not key.verify(decode(signature), _message(nonce, asked, card)):
        raise RefusedError(f"{asked} serves a card whose key it does not hold there")


def _message(nonce: str, home: str, card: bytes) -> bytes:
    return DOMAIN + nonce.encode() + card + origin(home).encode()
