"""Facts about signed cards of a2a-sdk: one test per finding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from a2a.types import AgentCard
from a2a.utils.signing import (
    InvalidSignaturesError,
    NoSignatureError,
    create_agent_card_signer,
    create_signature_verifier,
)
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from facts import fact
from servers import a2a_card

KEY, OTHER = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
PEM = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def signed(key: Any = KEY, **header: Any) -> AgentCard:
    card = a2a_card("http://worker")
    create_agent_card_signer(key, {"alg": "ES256", "kid": "k1", "jku": None, "typ": "JOSE", **header})(card)
    return card


def verifier(provider: Callable[[Any, Any], Any] = lambda kid, jku: PEM) -> Callable[[AgentCard], None]:
    return create_signature_verifier(provider, ["ES256"])


def garbage_first() -> AgentCard:
    card = signed()
    card.signatures.insert(0, type(card.signatures[0])(protected="e30", signature="AA"))
    return card


@fact("a2a-card-forged")
def test_forged_cards_are_refused() -> None:
    check = verifier()
    check(signed())
    edited = signed()
    edited.supported_interfaces[0].url = "http://evil.example/"
    for card in (edited, signed(OTHER), signed(OTHER, jku="http://evil.example/jwks")):
        with pytest.raises(InvalidSignaturesError):
            check(card)
    stripped = signed()
    del stripped.signatures[:]
    with pytest.raises(NoSignatureError):
        check(stripped)
    check(garbage_first())


@fact("a2a-card-copied")
def test_copied_cards_are_accepted() -> None:
    copy = AgentCard()
    copy.ParseFromString(signed().SerializeToString())  # served by another host: nothing asks which
    verifier()(copy)


@fact("a2a-card-kid")
def test_providers_that_raise_block_good_cards() -> None:
    def provider(kid: Any, jku: Any) -> str:
        return {"k1": PEM}[kid]

    verifier(provider)(signed())
    with pytest.raises(KeyError):
        verifier(provider)(garbage_first())
