"""A batch of tensors and real messages: the same verdicts, the same ledger, the same inboxes."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from builders import Attacked, comms, defense, known_attack, known_channel, known_defenses, team_shape
from forms import MESSAGE_FORMS, TEAM_FORMS, one_of_each_kind
from hypothesis import given, settings
from hypothesis import strategies as st
from thinning import one_of_each_plugin, thinned

from agentcomm.base import registry
from agentcomm.base.errors import PluginError
from agentcomm.conformance.conversations import Exchange, carry, conversation, heard
from agentcomm.contracts.shape import TeamShape

TRANSPORTS = ("batch", "objects")
CHANNELS = registry.forms("channel")


def agree(
    s: TeamShape, exchanges: list[Exchange], forms: list[str], defenses: str | list[str], seed: int, **more: Any
) -> Attacked:
    """Run a conversation over both transports and compare everything; returns the batch's network."""
    made, inboxes = [], []
    for transport in TRANSPORTS:
        attacks = [known_attack(form, s) for form in forms]
        channels = [known_channel(form, s, slots_of(s, forms)) for form in more.get("channels", ())]
        chosen = known_defenses(defenses, s) if isinstance(defenses, str) else [defense(name, s) for name in defenses]
        network = comms(s, attacks, chosen, seed, channels, transport=transport)
        network.network.trace = []
        inboxes.append(carry(network, exchanges))
        made.append(network)
    batch, real = (network.ledger for network in made)
    assert torch.equal(batch.messages, real.messages)
    assert torch.equal(batch.bytes, real.bytes)
    assert torch.equal(batch.seconds, real.seconds)
    assert batch.refused_by.keys() == real.refused_by.keys()
    assert all(torch.equal(count, real.refused_by[by]) for by, count in batch.refused_by.items())
    for one, other in zip(*inboxes, strict=True):
        assert torch.equal(one.mask, other.mask)
        torch.testing.assert_close(heard(one), heard(other), rtol=0, atol=1e-6)
    for first, second in zip(made[0].trace or [], made[1].trace or [], strict=True):
        there = first.fields["fate"] > 0
        for name in ("fate", "accepted", "sender", "origin", "sequence", "sent_at", "hops"):
            assert (first.fields[name] == second.fields[name])[there].all(), name
        assert first.refused.keys() == second.refused.keys()
        assert all((where == second.refused[by]).all() for by, where in first.refused.items())
        assert first.scores.keys() == second.scores.keys()
        assert all(abs(score - second.scores[by]).max() < 1e-5 for by, score in first.scores.items())
    return made[0]


def slots_of(s: TeamShape, forms: list[str]) -> int:
    return s.degree + sum(known_attack(form, s).injections() for form in forms)


@pytest.mark.parametrize("form", [None, *TEAM_FORMS])
@given(seed=st.integers(0, 2**31), agents=st.integers(3, 5), steps=st.integers(1, 6))
@settings(max_examples=1, deadline=None)
def test_transports_agree_under_every_attack(form: str | None, seed: int, agents: int, steps: int) -> None:
    s = team_shape(worlds=2, agents=agents, degree=2, width=4)
    agree(s, conversation(s, steps, seed=seed), [] if form is None else [form], "both", seed)


@pytest.mark.parametrize("form", thinned(TEAM_FORMS, one_of_each_kind(TEAM_FORMS)))
def test_every_attack_keeps_to_its_threat_model_and_its_messages_add_up(form: str) -> None:
    s = team_shape(worlds=2, agents=5)
    network = agree(s, conversation(s, 12), [form], "none", 0)
    assert not network.guards[0].violations
    assert network.guards[0].spent.any() or form not in MESSAGE_FORMS, "it did something"
    network.reset(torch.arange(s.num_worlds))  # what is still kept back will never come
    n = network.ledger
    assert torch.equal(n["sent"] + n["forged"] + n["replayed"], n["dropped"] + n["late"] + n["refused"] + n["accepted"])


USED = list(
    product(
        ("median", "hold_last", "quarantine"),
        ("noise sometimes", "noise at node", "impersonate stale", "delay at node"),
    )
)


@pytest.mark.parametrize(("used", "form"), thinned(USED, USED[::5] + USED[2::5] + USED[4::5]))
def test_transports_agree_on_every_hook_of_defenses(used: str, form: str) -> None:
    s = team_shape(worlds=3, agents=5, degree=4)
    n = agree(s, conversation(s, 8, seed=5), [form], ["authenticate", used], 2)
    assert int(n.ledger["accepted"].sum()) > 0


@pytest.mark.parametrize("channel", thinned(CHANNELS, one_of_each_plugin(CHANNELS)))
def test_transports_agree_on_every_channel(channel: str) -> None:
    """Bytes wait, take hops and are lost as tensors do."""
    s = team_shape(worlds=2)
    forms = ["impersonate stale", "noise"]
    n = agree(s, conversation(s, 8, seed=4), forms, "both", 7, channels=[channel, "delay jitter"])
    assert int(n.ledger.steps.sum()) > 0


def test_transports_agree_under_several_attacks_at_once() -> None:
    s = team_shape(worlds=3)
    forms = ["noise at node", "replay alongside", "impersonate stale", "delay"]
    n = agree(s, conversation(s, 8, seed=3), forms, "both", 1).ledger
    assert int(n["accepted_forged"].sum() + n["refused"].sum()) > 0


def test_bytes_on_their_way_are_saved_and_restored() -> None:
    s = team_shape()
    exchanges = conversation(s, 12, seed=2)

    def build() -> Attacked:
        return comms(s, [known_attack("delay", s)], known_defenses("both", s), transport="objects")

    first, second = build(), build()
    carry(first, exchanges[:13])
    carry(second, conversation(s, 5, seed=3))
    second.restore(first.snapshot())
    for one, other in zip(carry(first, exchanges[13:]), carry(second, exchanges[13:]), strict=True):
        assert torch.equal(heard(one), heard(other))
    assert torch.equal(first.ledger.messages, second.ledger.messages)


def test_what_a_transport_cannot_carry_is_refused() -> None:
    s = team_shape()
    codec = registry.find("codec", "int8")(registry.build_config("codec", "int8", {}), s)
    for more in ({"codec": codec}, {"numbers": 1}):
        with pytest.raises(ValueError, match="whole float32 payloads"):
            comms(s, [], [defense("clip", s)], transport="objects", **more)
    with pytest.raises(PluginError, match="unknown transport 'pigeon'; known: a2a, batch, mcp, objects"):
        comms(s, transport="pigeon")
