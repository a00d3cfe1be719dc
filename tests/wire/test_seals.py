"""A seal holds for exactly one message by exactly one holder, with either scheme."""

from __future__ import annotations

from typing import Any

import pytest
from envelopes import envelope, envelopes
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from agentcomm.base.errors import MessageError
from agentcomm.wire.envelope import Envelope
from agentcomm.wire.seals import DOMAIN, Ed25519Keys, HmacKeys, Keys, signed_bytes

N = 5
SCHEMES: dict[str, Keys] = {"hmac": HmacKeys(7, N), "ed25519": Ed25519Keys(7, N)}
schemes = pytest.mark.parametrize("keys", SCHEMES.values(), ids=SCHEMES)
CHANGES = {
    "sent_round": 0,
    "sender": 2,
    "audience": 0,
    "sequence": 301,
    "sent_at": 151,
    "expiry": 153,
    "codec": "plai",
    "key": 2,
    "payload": bytes(256),
    "seal": bytes(32),
}


EPISODE = 5


def changed(original: Envelope, **fields: Any) -> Envelope:
    return Envelope(**(original.model_dump() | fields))


@schemes
@given(original=envelopes(), sender=st.integers(0, N))
@settings(max_examples=150, deadline=None)
def test_what_is_sealed_verifies(keys: Keys, original: Envelope, sender: int) -> None:
    original = changed(original, sender=sender)
    sealed = keys.seal(original, sender, EPISODE)
    assert sealed.key == sender
    assert keys.verify(sealed, EPISODE)
    assert sealed == changed(original, key=sender, seal=sealed.seal), "nothing else is changed"
    assert Envelope(**sealed.model_dump()) == sealed, "and it is an envelope"


def test_all_fields_are_changed_below() -> None:
    assert set(CHANGES) == set(Envelope.model_fields) - {"version", "hops"}


@schemes
@pytest.mark.parametrize("field", CHANGES)
def test_each_field_is_sealed(keys: Keys, field: str) -> None:
    sealed = keys.seal(envelope(), 3, EPISODE)
    other = changed(sealed, **{field: CHANGES[field]})
    assert other != sealed
    assert not keys.verify(other, EPISODE)


@schemes
def test_the_version_is_sealed(keys: Keys) -> None:
    sealed = keys.seal(envelope(), 3, EPISODE)
    assert not keys.verify(sealed.model_copy(update={"version": 2}), EPISODE)


@schemes
@given(hops=st.integers(0, 255))
@settings(max_examples=20, deadline=None)
def test_hops_are_not_sealed(keys: Keys, hops: int) -> None:
    assert keys.verify(changed(keys.seal(envelope(), 3, EPISODE), hops=hops), EPISODE)


@schemes
@given(
    field=st.sampled_from(["sent_round", "sender", "audience", "sequence", "sent_at", "expiry", "payload", "seal"]),
    by=st.integers(0, 2**20),
)
@settings(max_examples=200, deadline=None)
def test_no_bit_can_be_turned(keys: Keys, field: str, by: int) -> None:
    sealed = keys.seal(envelope(), 3, EPISODE)
    value = getattr(sealed, field)
    if isinstance(value, bytes):
        turned: Any = bytearray(value)
        turned[by // 8 % len(turned)] ^= 1 << by % 8
        turned = bytes(turned)
    else:
        turned = value ^ 1 << by % (8 if field == "sent_round" else 16)
    assert not keys.verify(changed(sealed, **{field: turned}), EPISODE)


@schemes
def test_only_the_claimed_senders_key_will_do(keys: Keys) -> None:
    for holder in range(N + 1):
        sealed = keys.seal(envelope(), holder, EPISODE)
        assert keys.verify(sealed, EPISODE) == (holder == 3)
        assert keys.verify(changed(sealed, key=3), EPISODE) == (holder == 3), "naming another key does not help"
        assert keys.verify(keys.seal(envelope(sender=holder), holder, EPISODE), EPISODE)


@schemes
def test_seals_cannot_be_moved_to_another_message(keys: Keys) -> None:
    one, two = (keys.seal(envelope(sequence=n), 3, EPISODE) for n in (300, 301))
    assert not keys.verify(changed(one, seal=two.seal), EPISODE)
    assert not keys.verify(changed(one, payload=b"", seal=keys.seal(envelope(payload=b"x"), 3, EPISODE).seal), EPISODE)


@schemes
@given(cut=st.integers(0, 63), extra=st.binary(max_size=8))
@settings(max_examples=100, deadline=None)
def test_seals_of_other_lengths_are_refused(keys: Keys, cut: int, extra: bytes) -> None:
    sealed = keys.seal(envelope(), 3, EPISODE)
    other = (sealed.seal[:cut] + extra)[:64]
    assume(other != sealed.seal)
    assert not keys.verify(changed(sealed, seal=other), EPISODE)


@schemes
def test_without_a_known_key_nothing_verifies(keys: Keys) -> None:
    sealed = keys.seal(envelope(), 3, EPISODE)
    assert not keys.verify(envelope(), EPISODE)
    assert not keys.verify(changed(sealed, key=None), EPISODE)
    assert not keys.verify(changed(sealed, sender=N + 1, key=N + 1), EPISODE)
    assert not keys.verify(changed(sealed, sender=0xFFFF, key=0xFFFF), EPISODE)
    for stranger in (-1, N + 1):
        with pytest.raises(MessageError, match=f"no key {stranger}"):
            keys.seal(envelope(), stranger, EPISODE)


@pytest.mark.parametrize("scheme", [HmacKeys, Ed25519Keys])
def test_a_seed_makes_the_same_keys_again_and_no_two_alike(scheme: Any) -> None:
    sealed = [scheme(7, N).seal(envelope(), holder, EPISODE).seal for holder in range(N + 1)]
    assert sealed == [scheme(7, N + 3).seal(envelope(), holder, EPISODE).seal for holder in range(N + 1)]
    assert len(set(sealed)) == N + 1
    assert not scheme(8, N).verify(
        SCHEMES["hmac" if scheme is HmacKeys else "ed25519"].seal(envelope(), 3, EPISODE), EPISODE
    )


def test_one_scheme_does_not_take_the_others_seals() -> None:
    hmac, ed25519 = SCHEMES.values()
    assert not ed25519.verify(hmac.seal(envelope(), 3, EPISODE), EPISODE)
    assert not hmac.verify(ed25519.seal(envelope(), 3, EPISODE), EPISODE)


def test_receivers_get_public_keys_only() -> None:
    keys = Ed25519Keys(7, N)
    assert keys.public.verify(keys.seal(envelope(), 3, EPISODE), EPISODE)
    assert not hasattr(keys.public, "seal")
    assert {type(key).__name__ for key in keys.public._keys} == {"Ed25519PublicKey"}


@schemes
def test_a_seal_is_for_one_episode(keys: Keys) -> None:
    sealed = keys.seal(envelope(), 3, EPISODE)
    assert keys.verify(sealed, EPISODE)
    assert not keys.verify(sealed, EPISODE + 1)
    assert not keys.verify(sealed, EPISODE - 1)


def test_known_answers() -> None:
    """The layout is fixed."""
    assert signed_bytes(envelope(), 3, EPISODE).hex() == (
        DOMAIN.hex()
        + "0000000000000005"
        + "01"
        + "01"
        + "0003"
        + "0004"
        + "0000012c"
        + "00000096"
        + "00000098"
        + "0003"
        "666c6f61743332" + "00" * 24 + "40aff2e9d2d8922e47afd4648e6967497158785fbd1da870e7110266bf944880"
    )
    import hashlib
    import hmac

    secret = hashlib.sha256(b"agentcomm/hmac/7/3").digest()
    assert SCHEMES["hmac"].seal(envelope(), 3, EPISODE).seal == hmac.digest(
        secret, signed_bytes(envelope(), 3, EPISODE), "sha256"
    )


@given(one=envelopes(), two=envelopes(), keys=st.tuples(st.integers(0, N), st.integers(0, N)))
@settings(max_examples=300, deadline=None)
def test_no_two_messages_give_the_same_signed_bytes(one: Envelope, two: Envelope, keys: tuple[int, int]) -> None:
    one, two = (e.model_copy(update={"hops": 0, "key": k, "seal": b""}) for e, k in zip((one, two), keys, strict=True))
    assert (signed_bytes(one, keys[0], EPISODE) == signed_bytes(two, keys[1], EPISODE)) == (one == two)
