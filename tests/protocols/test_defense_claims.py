import os
import time

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentcomm.base.errors import ConfigError
from agentcomm.protocols.defenses.canonical import canonical, digest
from agentcomm.protocols.defenses.claims import DOMAIN, Claims, Signer, Verifier, encode
from agentcomm.protocols.defenses.errors import RefusedError, StoreError
from agentcomm.protocols.defenses.keys import PrivateKey, SharedKey
from agentcomm.protocols.defenses.store import MemoryStore, SQLiteStore, Store

SHARED, PRIVATE = SharedKey(b"k" * 32), PrivateKey(b"s" * 32)
PAIRS = pytest.mark.parametrize(("key", "public"), [(SHARED, SHARED), (PRIVATE, PRIVATE.public)])
MESSAGE = digest(b"message")


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


class Down(Store):
    def _update(self, *_):
        raise OSError("disk gone")


@PAIRS
@settings(deadline=None, max_examples=50)
@given(names=st.lists(st.text(min_size=1, max_size=60), min_size=2, max_size=2), content=st.binary(max_size=200))
def test_claims_round_trip(key, public, names, content):
    sender, audience = names
    claims = Verifier(audience, {sender: public}).verify(
        Signer(sender, key).sign(audience, digest(content)), digest(content)
    )
    assert (claims.sender, claims.audience, claims.sequence, claims.digest) == (sender, audience, 1, digest(content))


@PAIRS
@given(where=st.integers(0, 10_000), bit=st.integers(0, 6))
@settings(deadline=None, max_examples=150)
def test_any_changed_bit_is_refused(key, public, where, bit):
    token = Signer("alice", key).sign("bob", MESSAGE)
    where %= len(token)
    changed = token[:where] + chr(ord(token[where]) ^ 1 << bit) + token[where + 1 :]
    with pytest.raises(RefusedError):
        Verifier("bob", {"alice": public}).verify(changed, MESSAGE)


def test_replay_other_audience_other_message_and_other_sender_are_refused():
    signer, token = Signer("alice", PRIVATE), None
    token = signer.sign("bob", MESSAGE)
    bob, carol = (Verifier(name, {"alice": PRIVATE.public, "mallory": SHARED}) for name in ("bob", "carol"))
    assert bob.verify(token, MESSAGE).sender == "alice"
    for verifier, message, again in [(bob, MESSAGE, token), (carol, MESSAGE, token), (bob, digest(b"other"), token)]:
        with pytest.raises(RefusedError):
            verifier.verify(again, message)
    forged = Claims("alice", "bob", "s", 1, time.time(), time.time() + 9, MESSAGE)
    body = msgspec.msgpack.encode(forged)
    with pytest.raises(RefusedError, match="not the sender's"):
        bob.verify(f"{encode(body)}.{encode(SHARED.sign(DOMAIN + body))}", MESSAGE)


def test_pieces_of_valid_tokens_do_not_make_another():
    signer = Signer("alice", SHARED)
    one, two = signer.sign("bob", MESSAGE), signer.sign("bob", digest(b"two"))
    verifier = Verifier("bob", {"alice": SHARED})
    mixed = [one + two, one + "." + two, one.split(".")[0] + "." + two.split(".")[1], "." + one, one + ".", "", None]
    for token in mixed:
        with pytest.raises(RefusedError):
            verifier.verify(token, MESSAGE)
    assert verifier.verify(one, MESSAGE).sequence == 1


def test_reordered_messages_pass_inside_the_window_once():
    signer, late, strict = (
        Signer("a", SHARED),
        Verifier("b", {"a": SHARED}, window=4),
        Verifier("b", {"a": SHARED}, window=1),
    )
    tokens = [signer.sign("b", MESSAGE) for _ in range(6)]
    for place in (1, 0, 5, 2):
        assert late.verify(tokens[place], MESSAGE).sequence == place + 1
    for place in (1, 0, 5, 2):
        with pytest.raises(RefusedError, match="received before"):
            late.verify(tokens[place], MESSAGE)
    strict.verify(tokens[1], MESSAGE)
    with pytest.raises(RefusedError):
        strict.verify(tokens[0], MESSAGE)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 30), max_size=80), st.integers(1, 40))
def test_no_place_is_ever_accepted_twice(places, window):
    signer, verifier = Signer("a", SHARED), Verifier("b", {"a": SHARED}, window=window)
    tokens, accepted = [signer.sign("b", MESSAGE) for _ in range(31)], []
    for place in places:
        try:
            accepted.append(verifier.verify(tokens[place], MESSAGE).sequence)
        except RefusedError:
            continue
    assert len(accepted) == len(set(accepted))
    assert bool(accepted) == bool(places)


def test_a_token_outlives_neither_its_expiry_nor_the_memory_of_it():
    clock = Clock()
    signer = Signer("a", SHARED, lifetime=60, clock=clock)
    verifier = Verifier("b", {"a": SHARED}, MemoryStore(clock=clock), max_lifetime=60)
    token = signer.sign("b", MESSAGE)
    verifier.verify(token, MESSAGE)
    for later in (0, 30, 64, 66, 71, 500):
        clock.now = 1000.0 + later
        with pytest.raises(RefusedError):
            verifier.verify(token, MESSAGE)
    with pytest.raises(RefusedError, match="longer"):
        verifier.verify(Signer("a", SHARED, lifetime=61, clock=clock).sign("b", MESSAGE), MESSAGE)
    early = signer.sign("b", MESSAGE)
    clock.now -= 6
    with pytest.raises(RefusedError, match="future"):
        verifier.verify(early, MESSAGE)


def test_a_store_that_is_down_or_full_refuses():
    token = Signer("a", SHARED).sign("b", MESSAGE)
    with pytest.raises(StoreError, match="disk gone"):
        Verifier("b", {"a": SHARED}, Down()).verify(token, MESSAGE)
    verifier = Verifier("b", {"a": SHARED, "c": SHARED}, MemoryStore(share=2))
    for _ in range(2):
        verifier.verify(Signer("a", SHARED).sign("b", MESSAGE), MESSAGE)
    with pytest.raises(StoreError, match="no room"):
        verifier.verify(token, MESSAGE)
    verifier.verify(Signer("c", SHARED).sign("b", MESSAGE), MESSAGE)  # another sender's share


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_stores_forget_in_time_and_never_early(kind, tmp_path):
    clock = Clock()
    store = MemoryStore(2, clock=clock) if kind == "memory" else SQLiteStore(tmp_path / "s", 2, clock=clock)
    assert store.add("a", "k", 10)
    assert store.add("a", "m", 20)
    assert not store.add("a", "k", 10)
    with pytest.raises(StoreError):
        store.add("b", "k", 10)
    clock.now += 11
    assert store.add("b", "k", 10)
    clock.now += 1000
    assert store.add("a", "k", 10)
    if kind == "memory":
        assert len(store) == 1


def test_a_file_outlasts_a_restart_and_is_shared(tmp_path):
    first, second = SQLiteStore(tmp_path / "s"), SQLiteStore(tmp_path / "s")
    token = Signer("a", SHARED).sign("b", MESSAGE)
    Verifier("b", {"a": SHARED}, first).verify(token, MESSAGE)
    with pytest.raises(RefusedError, match="received before"):
        Verifier("b", {"a": SHARED}, second).verify(token, MESSAGE)
    first.close()
    with pytest.raises(StoreError):
        first.add("a", "k", 1)


def test_canonical_form_refuses_what_has_none():
    deep = []
    for _ in range(5000):
        deep = [deep]
    for value in (float("nan"), float("inf"), 2**53, "\ud800", deep, {1: 2}, object()):
        with pytest.raises(RefusedError, match="canonical"):
            canonical({"x": value})
    assert canonical({"b": 5.0, "a": [1e21, "é"]}) == '{"a":[1e+21,"é"],"b":5}'.encode()


def test_short_secrets_and_odd_windows_are_config_errors():
    with pytest.raises(ConfigError, match="32"):
        SharedKey(os.urandom(16))
    with pytest.raises(ConfigError, match="window"):
        Verifier("b", {}, window=0)
