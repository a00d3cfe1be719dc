"""Channels keep their contract, alone and in a row, and refuse what they cannot use."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import (
    Attacked,
    channel,
    comms,
    defense,
    known_attack,
    known_channel,
    same_inbox,
    team,
    team_shape,
    team_shape_of,
)
from thinning import one_of_each_plugin, thinned
from torch import Tensor

from agentcomm.base import registry
from agentcomm.base.errors import AgentcommError, ConfigError
from agentcomm.channels.trace import read
from agentcomm.conformance import check_channel
from agentcomm.conformance.conversations import carry, conversation, same_heard
from agentcomm.contracts.channel import Channel, ChannelConfig, ChannelEffect, ChannelInput
from agentcomm.contracts.shape import TeamShape
from agentcomm.runs.assembly import make_comms
from agentcomm.runs.choices import Choice, TransportConfig
from agentcomm.runs.ppo_settings import PPOSettings
from agentcomm.step.replay import reevaluate
from agentcomm.training.rollout import Sampler

HARMLESS: dict[str, dict[str, Any]] = {
    "loss": {"probability": 0},
    "bursts": {"to_bad": 0},
    "delay": {"seconds": 0},
    "bandwidth": {"bytes_per_second": 1e9},
    "fragments": {"mtu": 20},
    "relay": {"seconds": 0},
}
STEP_SECONDS = 0.05


def network(
    s: TeamShape, forms: list[str], attacked: str | None = None, sealed: bool = False, seed: int = 0
) -> Attacked:
    attacks = [] if attacked is None else [known_attack(attacked, s)]
    slots = s.degree + sum(a.injections() for a in attacks)
    defenses = [defense("authenticate", s, window=16)] if sealed else []
    return comms(
        s, attacks, defenses, seed, channels=[known_channel(f, s, slots) for f in forms], step_seconds=STEP_SECONDS
    )


# ---- the contract


FORMS = registry.forms("channel")


@pytest.mark.parametrize("form", thinned(FORMS, one_of_each_plugin(FORMS)))
def test_conformance(form: str) -> None:
    name, arguments = FORMS[form]
    check_channel(registry.find("channel", name), arguments, HARMLESS.get(name))


class Broken(Channel):
    """Breaks one rule or another."""

    Config = ChannelConfig
    name = "broken"

    def memory(self) -> dict[str, Tensor]:
        return {"past": torch.zeros(self.team_shape.num_worlds)}


def absent(self: Channel, entering: ChannelInput, memory: dict[str, Tensor]) -> ChannelEffect:
    return ChannelEffect(seconds=torch.ones(entering.present.shape))


def dtype(self: Channel, entering: ChannelInput, memory: dict[str, Tensor]) -> ChannelEffect:
    return ChannelEffect(seconds=entering.present.double())


def shape(self: Channel, entering: ChannelInput, memory: dict[str, Tensor]) -> ChannelEffect:
    return ChannelEffect(lost=entering.present[:, :1])


def past(self: Channel, entering: ChannelInput, memory: dict[str, Tensor]) -> ChannelEffect:
    return ChannelEffect(seconds=-1.0 * entering.present)


def endless(self: Channel, entering: ChannelInput, memory: dict[str, Tensor]) -> ChannelEffect:
    return ChannelEffect(seconds=torch.where(entering.present, torch.inf, 0.0))


def ambient(self: Channel, entering: ChannelInput, memory: dict[str, Tensor]) -> ChannelEffect:
    return ChannelEffect(lost=entering.present & (torch.rand(entering.present.shape) < 0.5))


def swapped(self: Channel, entering: ChannelInput, memory: dict[str, Tensor]) -> ChannelEffect:
    memory["past"] = memory["past"] + 1
    return ChannelEffect()


def edited(self: Channel, entering: ChannelInput, memory: dict[str, Tensor]) -> ChannelEffect:
    entering.present[0] = False
    return ChannelEffect()


def crowded(self: Channel, entering: ChannelInput, memory: dict[str, Tensor]) -> ChannelEffect:
    return ChannelEffect(lost=entering.present & (entering.present.sum() > 12))


def drawing(self: Channel, entering: ChannelInput, memory: dict[str, Tensor]) -> ChannelEffect:
    """Draws as many numbers as there are messages, so that every world's depend on the others' gates."""
    lost = torch.zeros_like(entering.present)
    lost[entering.present] = torch.rand(int(entering.present.sum()), generator=entering.generator) < 0.5
    return ChannelEffect(lost=lost)


def remembering(self: Channel, entering: ChannelInput, memory: dict[str, Tensor]) -> ChannelEffect:
    self.count = getattr(self, "count", 0) + 1  # type: ignore[attr-defined]
    return ChannelEffect(lost=entering.present & (self.count % 3 == 0))  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("breaks", "problem"),
    [
        (absent, "seconds is not zero for empty slots"),
        (dtype, "seconds is torch.float64"),
        (shape, "lost is torch.bool"),
        (past, "seconds must be finite and at least 0"),
        (endless, "seconds must be finite and at least 0"),
        (ambient, "global generator"),
        (swapped, "replaces tensors of its memory"),
        (edited, "changes present of its input"),
        (crowded, "not independent of each other"),
        (drawing, "not independent of each other"),
        (remembering, "a restored run differs"),
    ],
)
def test_conformance_finds_what_is_broken(breaks: Callable[..., ChannelEffect], problem: str) -> None:
    with pytest.raises(AssertionError, match=problem):
        check_channel(type("Broken", (Broken,), {"carry": breaks}))


# ---- in a row


EVERYTHING = ["relay", "fragments", "bandwidth", "bursts", "delay jitter", "trace", "profile"]


def test_channels_in_a_row_lose_what_any_of_them_loses() -> None:
    s = team_shape(worlds=16)
    both = network(s, ["loss", "bursts"])
    carry(both, conversation(s, 20))
    assert both.ledger["lost"].sum() / both.ledger["sent"].sum() > 0.5
    assert torch.equal(both.ledger["lost"] + both.ledger["accepted"], both.ledger["sent"])


def test_delays_add_up() -> None:
    s = team_shape(rounds=1)
    delays = [channel("delay", s, s.degree, seconds=0.1), channel("delay", s, s.degree, seconds=0.2)]
    n = comms(s, channels=delays, step_seconds=0.1)
    exchanges = conversation(s, 6, closed=0, ends=0)
    for number, inbox in enumerate(carry(n, exchanges)):
        assert inbox.mask.all() if number >= 3 else not inbox.mask.any()
    assert torch.equal(n.ledger.steps, 3 * n.ledger["accepted"])
    torch.testing.assert_close(n.ledger.seconds, 0.3 * n.ledger["accepted"].double())


def test_what_is_lost_before_takes_no_bandwidth_and_headers_of_fragments_do() -> None:
    s = team_shape(rounds=1)

    def backlog_and_sizes(*before: Channel) -> tuple[int, Tensor]:
        n = comms(s, channels=[*before, channel("bandwidth", s, s.degree, bytes_per_second=1)])
        n.network.trace = []
        carry(n, conversation(s, 1, closed=0))
        sizes = torch.as_tensor(n.network.trace[0].fields["size"])
        assert torch.equal(sizes.sum((1, 2)), n.ledger.bytes)
        assert n.link is not None
        return int(n.link.memories[-1].tensors["backlog"].sum()), sizes

    backlog, sizes = backlog_and_sizes()
    assert backlog == sizes.sum()
    backlog, lost = backlog_and_sizes(channel("loss", s, s.degree, probability=1))
    assert backlog == 0
    assert torch.equal(lost, sizes), "bytes are counted as sent"
    backlog, longer = backlog_and_sizes(channel("fragments", s, s.degree, mtu=20, header=4))
    assert torch.equal(longer, sizes + 4 * (sizes / 16).ceil().long())
    assert backlog == longer.sum()


# Under every attack once, and with and without seals.
ATTACKED = list(product((None, "drop", "replay alongside", "impersonate", "noise"), (False, True)))


@pytest.mark.parametrize(("attacked", "sealed"), thinned(ATTACKED, ATTACKED[::4] + ATTACKED[3::4]))
def test_books_balance_on_a_long_way(attacked: str | None, sealed: bool) -> None:
    s = team_shape(worlds=8)
    n = network(s, EVERYTHING, attacked, sealed)
    exchanges = conversation(s, 40)
    heard = sum(i.mask.sum((1, 2)) for i in carry(n, exchanges))
    c, path = n.ledger, n.link
    assert path is not None
    assert torch.equal(heard, c["accepted"])
    on_the_way = path.transit.waiting
    fared = c["dropped"] + c["lost"] + c["late"] + c["refused"] + c["accepted"] + on_the_way
    assert torch.equal(c["sent"] + c["forged"] + c["replayed"], fared)
    assert all(int(count.sum()) > 0 for count in (c["lost"], c["late"], c["refused"] + c["accepted"]))
    plain = network(s, [], attacked, sealed)
    carry(plain, exchanges)
    assert all(torch.equal(c[name], plain.ledger[name]) for name in ("sent", "dropped", "forged"))
    assert (c.bytes > plain.ledger.bytes).all(), "fragments have headers"
    n.reset(torch.arange(s.num_worlds))
    assert not path.transit.waiting.any()
    assert torch.equal(
        c["sent"] + c["forged"] + c["replayed"], c["dropped"] + c["lost"] + c["late"] + c["refused"] + c["accepted"]
    )


@pytest.mark.parametrize("attacked", [None, "replay alongside", "impersonate"])
def test_state_continues_bit_for_bit(attacked: str | None) -> None:
    s = team_shape()
    exchanges = conversation(s, 14, seed=2)
    first, other = network(s, EVERYTHING, attacked), network(s, EVERYTHING, attacked)
    carry(first, exchanges[:13])
    carry(other, conversation(s, 5, seed=3))
    saved = first.snapshot()
    expected = carry(first, exchanges[13:])
    other.restore(saved)
    assert all(same_inbox(a, b) for a, b in zip(expected, carry(other, exchanges[13:]), strict=True))
    for name in ("messages", "bytes", "steps", "seconds"):
        assert torch.equal(getattr(first.ledger, name), getattr(other.ledger, name))


def test_resetting_one_world_leaves_the_others_alone() -> None:
    s = team_shape()
    first, other = network(s, EVERYTHING), network(s, EVERYTHING)
    for number, e in enumerate(conversation(s, 14, seed=4, ends=0)):
        a = first.exchange(e.spoken, e.links, e.step, e.round)
        b = other.exchange(e.spoken, e.links, e.step, e.round)
        assert same_heard([a], [b], [0, 2])
        if number == 11:
            other.reset(torch.tensor([1]))


def test_harmless_channels_leave_inboxes_bit_identical() -> None:
    s = team_shape()
    exchanges = conversation(s, 10)
    n = comms(s, channels=[channel(name, s, s.degree, **arguments) for name, arguments in HARMLESS.items()])
    for a, b in zip(carry(n, exchanges), carry(comms(s), exchanges), strict=True):
        assert same_inbox(a, b)
    assert torch.equal(n.ledger["accepted"], n.ledger["sent"])


# ---- in runs


def test_a_config_chooses_channels() -> None:
    world, policy = team()
    path = TransportConfig(
        channels=(Choice.parse("loss:probability=1"), Choice.parse("profile:network=5g")), step_seconds=0.2
    )
    path.check()
    made = make_comms(world, policy, attacks=[Choice.parse("impersonate")], transport=path)
    s = Sampler(world, policy, made, PPOSettings(), 0)
    fragment = s.collect(4)
    assert fragment.messages["lost"] == fragment.messages["sent"] + fragment.messages["forged"] > 0
    assert path.label == "loss(probability=1)+profile(network=5g)+0.2 s per step"


@pytest.mark.parametrize("attacked", [None, "noise", "replay", "impersonate"])
@pytest.mark.parametrize("gate", [None, {"initial_logit": 0.0}])
def test_recorded_decisions_are_replayed(attacked: str | None, gate: dict[str, float] | None) -> None:
    world, policy = team(6, gate=gate)
    n = network(team_shape_of(world, policy), ["delay jitter", "loss", "bandwidth"], attacked)
    s = Sampler(world, policy, n, PPOSettings(held_out=0.25), 0)
    late = 0
    for _ in range(3):
        fragment = s.collect(8)
        late += fragment.messages["late"]
        again = reevaluate(policy, fragment.columns)
        torch.testing.assert_close(
            again.log_probability, fragment.columns["log_probability"], rtol=0, atol=1e-5, check_stride=False
        )
        assert "delta" in fragment.columns, "what came late is part of the record"
    assert late > 0
    assert n.ledger["lost"].sum() > 0
    assert n.ledger.steps.sum() > 0


def test_a_saved_sampler_goes_on_identically() -> None:
    def make() -> Sampler:
        world, policy = team(5)
        return Sampler(world, policy, network(team_shape_of(world, policy), EVERYTHING), PPOSettings(), 0)

    first, other = make(), make()
    first.collect(9)
    other.collect(4)
    saved = first.snapshot()
    expected = first.collect(6)
    other.restore(saved)
    got = other.collect(6)
    assert all(torch.equal(expected.columns[name], got.columns[name]) for name in expected.columns)
    assert expected.messages == got.messages


# ---- arguments


@pytest.mark.parametrize(
    ("name", "arguments", "problem"),
    [
        ("loss", {"probability": 1.5}, r"probability.*from 0 to 1"),
        ("loss", {"probability": float("nan")}, "probability"),
        ("bursts", {"to_good": 0}, "to_good.*above 0"),
        ("delay", {"seconds": -1}, "seconds.*at least 0"),
        ("delay", {"jitter": float("inf")}, "jitter"),
        ("bandwidth", {"bytes_per_second": 0}, "bytes_per_second.*above 0"),
        ("bandwidth", {"shared": "nobody"}, "shared.*sender or receiver"),
        ("fragments", {"mtu": 8, "header": 8}, "header=8 leaves no room in packets of mtu=8 bytes"),
        ("fragments", {"buffers": 0}, "buffers.*at least 1|from 1"),
        ("relay", {"layout": "star"}, "layout.*line, ring or grid"),
        ("profile", {"network": "6g"}, "network.*ethernet, wifi or 5g"),
        ("trace", {}, "file: is missing"),
        ("trace", {"fille": "x"}, "did you mean 'file'"),
    ],
)
def test_wrong_arguments_are_named(name: str, arguments: dict[str, Any], problem: str) -> None:
    with pytest.raises(AgentcommError, match=problem):
        registry.build_config("channel", name, arguments)


HEAD = "seconds,latency_ms,loss,mbit\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", r"line 1: '' must be seconds,latency_ms,loss\[,mbit\]"),
        ("0,10,0,1\n", "line 1: '0,10,0,1' must be seconds"),
        ("seconds,loss,latency_ms\n0,0,0\n", "line 1: 'seconds,loss,latency_ms' must be"),
        (HEAD, "is empty; give at least one row"),
        (HEAD + "0,10,0\n", "line 2: '0,10,0' has 3 values; give 4: seconds,latency_ms,loss,mbit"),
        (HEAD + "0,10,0,1\n\n2,10,0,1\n", "line 3: '' has 0 values; give 4"),
        (HEAD + "0,10,0,1\n1,nan,0,1\n", "line 3: latency_ms 'nan' must be a finite number of at least 0"),
        (HEAD + "0,10,0,1\n1,inf,0,1\n", "line 3: latency_ms 'inf' must be a finite"),
        (HEAD + "0,10,0,1\n1,-3,0,1\n", "line 3: latency_ms '-3' must be a finite number of at least 0"),
        (HEAD + "0,10,,1\n", "line 2: loss '' is not a number"),
        (HEAD + "0,10,2%,1\n", "line 2: loss '2%' is not a number"),
        (HEAD + "0,10,2,1\n", "line 2: loss '2' must be a probability, at most 1"),
        (HEAD + "0,10,0,0\n", "line 2: mbit '0' must be above 0; write loss 1 where nothing passes"),
        (HEAD + "0,1,0,1\n2,1,0,1\n1,1,0,1\n", "line 4: seconds '1' do not come after 2; sort the rows by time"),
        (HEAD + "0,1,0,1\n0,1,0,1\n", "line 3: seconds '0' do not come after 0"),
    ],
)
def test_traces_that_cannot_be_used_are_explained(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "trace.csv"
    file.write_text(text)
    with pytest.raises(ConfigError, match=problem):
        read(str(file))


def test_files_that_are_no_traces_are_explained(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.csv: there is no such file"):
        read("nowhere.csv")
    with pytest.raises(ConfigError, match="it is a folder, not a file"):
        read(str(tmp_path))
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="line 1: not UTF-8 text"):
        read(str(tmp_path / "binary.csv"))
    world, policy = team()
    with pytest.raises(ConfigError, match="no such file"):
        make_comms(world, policy, transport=TransportConfig(channels=(Choice.parse("trace:file=nowhere.csv"),)))


def test_traces_from_spreadsheets_are_read(tmp_path: Path) -> None:
    (tmp_path / "trace.csv").write_bytes("\ufeffseconds, latency_ms ,loss\r\n0, 10,0.5\r\n".encode())
    assert read(str(tmp_path / "trace.csv")) == [[0.0, 10.0, 0.5]]
