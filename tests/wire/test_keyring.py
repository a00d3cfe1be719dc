"""A seal verifies with the claimed sender's key over exactly these fields, and with nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from agentcomm.contracts.traffic import Links, Traffic
from agentcomm.wire.keyring import Keyring, mix

N, D = 4, 3
HEADER = ("sender", "audience", "sequence", "sent_at", "sent_round", "key", "seal")


def keyring(seed: int = 0) -> Keyring:
    return Keyring(N, D, torch.Generator().manual_seed(seed), torch.device("cpu"))


def traffic(spoken: Tensor | None = None) -> Traffic:
    source = torch.tensor([[[1, 2], [0, 3], [3, 1], [0, 2]]])
    links = Links(source, torch.tensor([[True, True, False, True]]))
    spoken = torch.randn(1, N, D) if spoken is None else spoken
    return Traffic.on_links(spoken, links, torch.tensor([5]), 1, 2, 1)


def float_of(bits: int) -> float:
    return float(torch.tensor([bits], dtype=torch.int64).to(torch.int32).view(torch.float32))


def test_what_is_sealed_verifies_and_empty_slots_are_not_sealed() -> None:
    keys = keyring()
    sealed = keys.seal(traffic())
    assert torch.equal(keys.verify(sealed), sealed.present)
    assert torch.equal(sealed.key, torch.where(sealed.present, sealed.sender, -1))
    assert not sealed.seal[~sealed.present].any()


@given(field=st.sampled_from(HEADER), by=st.integers(-(2**62), 2**62).filter(bool), slot=st.integers(0, 1))
@settings(max_examples=200, deadline=None)
def test_any_other_header_is_refused(field: str, by: int, slot: int) -> None:
    keys = keyring()
    sealed = keys.seal(traffic())
    changed = getattr(sealed, field).clone()
    changed[0, 1, slot] += by
    good = keys.verify(replace(sealed, **{field: changed}))
    assert not good[0, 1, slot]
    rest = sealed.present.clone()
    rest[0, 1, slot] = False
    assert torch.equal(good, rest), "other messages are not affected"


@given(
    bits=st.lists(st.integers(0, 2**32 - 1), min_size=D, max_size=D),
    coordinate=st.integers(0, D - 1),
    flips=st.one_of(st.integers(0, 31).map(lambda n: 1 << n), st.integers(1, 2**32 - 1), st.just(2**32 - 1)),
)
@settings(max_examples=300, deadline=None)
def test_any_other_payload_is_refused(bits: list[int], coordinate: int, flips: int) -> None:
    """Also a NaN, an infinity or the complement of all bits; only the sign of zero says nothing."""
    keys = keyring()
    spoken = torch.randn(1, N, D)
    spoken[0, 0] = torch.tensor([float_of(b) for b in bits])
    sealed = keys.seal(traffic(spoken))
    assert keys.verify(sealed)[0, 1, 0]
    other = spoken.clone()
    other[0, 0, coordinate] = float_of(bits[coordinate] ^ flips)
    was, now = (x[0, 0, coordinate].view(torch.int32).item() & 0xFFFFFFFF for x in (spoken, other))
    assume(was != now)  # reading a signalling NaN may have made it a quiet one
    assume({was, now} != {0, 0x80000000})
    assume(not (spoken[0, 0, coordinate].isnan() and other[0, 0, coordinate].isnan()))
    assert not keys.verify(replace(sealed, spoken=other))[0, 1, 0]
    if not spoken.isfinite().all():
        return  # a replaced payload is 0 * spoken + new, so what is not finite stays so
    by_stage = sealed.edit_payload(sealed.source == 0, other[:, :1].unsqueeze(1).expand(1, N, 3, D))
    assert not keys.verify(by_stage)[0, 1, 0]


@pytest.mark.parametrize("number", [-0.0, 0.0, float("nan"), float("inf"), 1e-42])
def test_a_change_elsewhere_does_not_break_a_seal(number: float) -> None:
    """Editing one slot writes out scale and offset for all: -0.0 + 0 is 0.0, and must still verify."""
    keys = keyring()
    spoken = torch.full((1, N, D), number)
    sealed = keys.seal(traffic(spoken))
    elsewhere = torch.zeros_like(sealed.present)
    elsewhere[0, 3, 2] = True
    edited = sealed.edit_payload(elsewhere, torch.ones(1, N, 3, D))
    assert keys.verify(edited)[sealed.present].all()
    shifted = sealed.add_payload(elsewhere, torch.ones(1, N, 3, D))
    assert keys.verify(shifted)[sealed.present].all()


def test_the_sign_of_zero_says_nothing() -> None:
    keys = keyring()
    assert keys.digest(torch.tensor([0.0, 1.0, 2.0])) == keys.digest(torch.tensor([-0.0, 1.0, 2.0]))


def test_nan_is_a_payload_like_any_other() -> None:
    keys = keyring()
    spoken = torch.full((1, N, D), float("nan"))
    sealed = keys.seal(traffic(spoken))
    assert keys.verify(sealed)[sealed.present].all()
    assert not keys.verify(replace(sealed, spoken=torch.zeros(1, N, D)))[sealed.present].any()


def test_coordinates_are_not_interchangeable() -> None:
    keys = keyring()
    digests = {int(keys.digest(torch.tensor(p))) for p in ([1.0, 2.0, 3.0], [2.0, 1.0, 3.0], [3.0, 2.0, 1.0])}
    assert len(digests) == 3


def test_only_the_claimed_senders_key_will_do() -> None:
    keys = keyring()
    t = traffic()
    for holder in range(N + 1):
        own = torch.full_like(t.sender, holder)
        signed = replace(t, key=own, seal=keys.tag(t, own))
        assert torch.equal(keys.verify(signed), t.sender == holder)
        posing = replace(signed, key=t.sender)
        assert torch.equal(keys.verify(posing), t.sender == holder), "naming another key does not help"


def test_keys_differ_between_runs_and_agents() -> None:
    t = traffic()
    sealed = keyring(0).seal(t)
    assert not keyring(1).verify(sealed).any()
    spoken = torch.ones(1, N, D)
    same = replace(traffic(spoken), sender=torch.zeros(1, N, 3, dtype=torch.int64))
    tags = [int(keyring(0).tag(same, torch.full_like(same.sender, k))[0, 0, 0]) for k in range(N + 1)]
    assert len(set(tags)) == N + 1


@given(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**63), 2**63 - 1))
@settings(deadline=None)
def test_mixing_is_one_to_one(x: int, y: int) -> None:
    mixed = [int(mix(torch.tensor(v))) for v in (x, ~x, y)]
    assert mixed[0] != mixed[1]
    assert (mixed[0] == mixed[2]) == (x == y)


def test_mixing_is_splitmix64() -> None:
    """The finalizer's published constants, over unsigned numbers."""

    def reference(z: int) -> int:
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
        return z ^ (z >> 31)

    for x in (1, -1, 7, -(2**63), 2**63 - 1, 0x123456789ABCDEF):
        assert int(mix(torch.tensor(x))) % 2**64 == reference(x % 2**64)
