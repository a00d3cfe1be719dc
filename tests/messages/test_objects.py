"""A batch of tensors and real messages: the same verdicts, the same ledger, the same inboxes."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from parts import DEFENSES, KINDS, OTHERS, carry, comms, conversation, heard, known_attack, known_defenses, setting

from agentcomm.messages.network import Network
from agentcomm.messages.objects import ObjectNetwork


@pytest.mark.parametrize(("form", "defense"), [*product((None, *KINDS), DEFENSES), *product(OTHERS, ("none", "both"))])
@given(seed=st.integers(0, 2**31), agents=st.integers(3, 5), steps=st.integers(1, 6))
@settings(max_examples=4, deadline=None)
def test_both_paths_agree(form: str | None, defense: str, seed: int, agents: int, steps: int) -> None:
    s = setting(worlds=2, agents=agents, degree=2, width=4)
    exchanges = conversation(s, steps, seed=seed)
    attacks = [] if form is None else [known_attack(form, s)]
    made = [comms(s, attacks, known_defenses(defense, s), seed, kind=kind) for kind in (Network, ObjectNetwork)]
    first, second = (carry(network, exchanges) for network in made)
    batch, real = (network.ledger for network in made)
    assert torch.equal(batch.messages, real.messages)
    assert torch.equal(batch.bytes, real.bytes)
    assert batch.refused_by.keys() == real.refused_by.keys()
    assert all(torch.equal(count, real.refused_by[by]) for by, count in batch.refused_by.items())
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.mask, other.mask)
        torch.testing.assert_close(heard(one), heard(other), rtol=0, atol=1e-6)


def test_two_attacks_at_once_agree_too() -> None:
    s = setting(worlds=3)
    exchanges = conversation(s, 8, seed=3)
    made = []
    for kind in (Network, ObjectNetwork):
        attacks = [known_attack(form, s) for form in ("noise at node", "replay besides", "impersonate stale")]
        made.append(comms(s, attacks, known_defenses("both", s), 1, kind=kind))
        carry(made[-1], exchanges)
    assert torch.equal(made[0].ledger.messages, made[1].ledger.messages)
    assert torch.equal(made[0].ledger.bytes, made[1].ledger.bytes)
    assert int(made[0].ledger["accepted_forged"].sum() + made[0].ledger["refused"].sum()) > 0
