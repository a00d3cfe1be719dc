"""Channels behave as theory says: within four standard errors where chance decides, exactly where it does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import channel, comms, team_shape
from torch import Tensor

from agentcomm.channels.profile import PROFILES, TRANSFER_BYTES
from agentcomm.channels.relay import distances
from agentcomm.conformance.conversations import carry, conversation
from agentcomm.contracts.channel import Channel, ChannelEffect, ChannelInput
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.traffic import HOPS
from agentcomm.network.link import compose

STEP = 0.1  # seconds


def drive(
    c: Channel,
    steps: int,
    present: Callable[[int], Tensor] | None = None,
    size: int | Tensor = 48,
    sender: Tensor | None = None,
    hops: int = HOPS,
    seed: int = 0,
) -> list[ChannelEffect]:
    """Fates of ``steps`` steps with one exchange each, in one episode; every slot holds a message unless told."""
    s = c.team_shape
    shape = (s.num_worlds, s.num_agents, c.slots)
    generator = torch.Generator().manual_seed(seed)
    everything, zero = torch.ones(shape, dtype=torch.bool), torch.zeros(shape, dtype=torch.int64)
    receiver = torch.arange(s.num_agents).view(1, -1, 1)
    if sender is None:
        sender = (receiver + 1 + torch.arange(c.slots)) % s.num_agents
    memory, out = c.memory(), []
    for step in range(steps):
        entering = ChannelInput(
            everything if present is None else present(step),
            sender.expand(shape),
            zero + size,
            zero + hops,
            torch.full(shape[:1], step, dtype=torch.int64),
            STEP,
            0,
            generator,
        )
        out.append(compose([c], [memory], entering))
    return out


def stacked(effects: Sequence[ChannelEffect], name: str) -> Tensor:
    """[T, B, N, M]."""
    return torch.stack([getattr(effect, name) for effect in effects])


def make(name: str, worlds: int = 64, agents: int = 4, slots: int = 2, **arguments: Any) -> Channel:
    return channel(name, team_shape(worlds, agents, min(slots, agents - 1), rounds=1), slots, **arguments)


def close(share: Tensor | float, expected: float, trials: float) -> None:
    """Within four standard errors of a share of independent trials."""
    error = max((expected * (1 - expected) / trials) ** 0.5, 1e-12)
    assert abs(float(share) - expected) <= 4 * error, f"{float(share)} is {expected} +- {error}?"


# ---- loss


@pytest.mark.parametrize("probability", [0.0, 0.05, 0.3, 1.0])
def test_loss_rate(probability: float) -> None:
    lost = stacked(drive(make("loss", probability=probability), 100), "lost")
    close(lost.float().mean(), probability, lost.numel())


@pytest.mark.parametrize(
    ("to_bad", "to_good", "good", "bad"), [(0.05, 0.25, 0.0, 1.0), (0.3, 0.2, 0.02, 0.7), (0.5, 0.5, 0.0, 1.0)]
)
def test_gilbert_elliott(to_bad: float, to_good: float, good: float, bad: float) -> None:
    """Loss rate (r g + p b) / (p + r); its correlation over d exchanges falls as (1 - p - r) ** d."""
    c = make("bursts", worlds=128, to_bad=to_bad, to_good=to_good, loss_good=good, loss_bad=bad)
    lost = stacked(drive(c, 400), "lost").float().flatten(1)
    stationary = to_bad / (to_bad + to_good)
    rate = (1 - stationary) * good + stationary * bad
    memory = 1 - to_bad - to_good
    # Neighbors in time say less than independent trials do.
    effective = lost.numel() * (1 - memory) / (1 + memory)
    close(lost.mean(), rate, effective)
    close(lost[0].mean(), rate, lost.shape[1])  # from the first exchange on
    variance = stationary * (1 - stationary) * (bad - good) ** 2
    for distance in (1, 3):
        together = ((lost[distance:] - rate) * (lost[:-distance] - rate)).mean()
        assert abs(float(together) - variance * memory**distance) < 4 / effective**0.5


def test_bursts_are_as_long_as_the_link_is_bad() -> None:
    """Mean 1 / r and share P(L > n) = (1 - r) ** n where bad links lose everything and good ones nothing."""
    rate, length = 0.1, 4.0
    c = make("bursts", worlds=128, to_good=1 / length, to_bad=rate / (length * (1 - rate)))
    lost = stacked(drive(c, 500), "lost").flatten(1).T.int()
    close(lost.float().mean(), rate, lost.numel() / (2 * length))
    runs = []
    for row in lost.tolist():
        lengths = [len(run) for run in "".join(map(str, row)).split("0")]
        runs += lengths[1:-1]  # those at the ends may be cut off
    bursts = torch.tensor([n for n in runs if n]).float()
    deviation = (1 - 1 / length) ** 0.5 * length
    assert (
        abs(float(bursts.mean()) - length) < 4 * deviation / len(bursts) ** 0.5 + 0.05
    )  # long ones are cut more often
    for n in (1, 2, 5):
        assert abs(float((bursts > n).float().mean()) - (1 - 1 / length) ** n) < 4 * 0.5 / len(bursts) ** 0.5 + 0.01


def test_links_go_bad_with_and_without_messages() -> None:
    """The chain moves at the same pace where nothing is sent."""
    c = make("bursts", worlds=8, to_bad=0.2)
    always = stacked(drive(c, 60), "lost")
    sometimes = stacked(drive(c, 60, lambda step: torch.full((8, 4, 2), step % 7 == 0)), "lost")
    assert torch.equal(always[::7], sometimes[::7])
    assert always[::7].any()


# ---- delay


def test_delay_and_jitter() -> None:
    """Shifted exponential: mean, deviation, and quantiles."""
    seconds = stacked(drive(make("delay", seconds=0.2, jitter=0.05), 100), "seconds")
    n = seconds.numel()
    assert abs(float(seconds.mean()) - 0.25) < 4 * 0.05 / n**0.5
    assert abs(float(seconds.std()) - 0.05) < 4 * 0.05 * (2 / n) ** 0.5
    assert float(seconds.min()) >= 0.2
    for quantile in (0.1, 0.5, 0.9):
        at = 0.2 - 0.05 * float(torch.log1p(torch.tensor(-quantile)))
        close((seconds < at).float().mean(), quantile, n)
    assert (stacked(drive(make("delay", seconds=0.2), 3), "seconds") == 0.2).all()


# ---- bandwidth


def one_line(
    present: Callable[[int], Tensor] | None = None, steps: int = 60, **arguments: Any
) -> tuple[Tensor, Tensor]:
    """Lost and seconds [T] on the uplink of agent 1, which sends 60 bytes to agent 0 per step."""
    c = make("bandwidth", worlds=1, agents=2, slots=1, **arguments)
    effects = drive(c, steps, present, size=60)
    return stacked(effects, "lost")[:, 0, 0, 0], stacked(effects, "seconds")[:, 0, 0, 0]


def test_below_capacity_a_message_takes_its_own_time() -> None:
    lost, seconds = one_line(bytes_per_second=800)  # 80 bytes per step
    assert not lost.any()
    torch.testing.assert_close(seconds, torch.full_like(seconds, 60 / 800))


def test_above_capacity_the_backlog_grows_until_the_queue_is_full() -> None:
    """With load S per step and capacity C per step: S + n (S - C) bytes, up to the queue's; then 1 - C / S is lost."""
    lost, seconds = one_line(bytes_per_second=400, queue=1000, steps=3000)
    full = int(lost.nonzero()[0])
    assert full == (1000 - 60) // 20 + 1
    expected = (60 + 20 * torch.arange(full)) / 400
    torch.testing.assert_close(seconds[:full], expected)
    assert (seconds[full:][~lost[full:]] > (1000 - 60) / 400).all()
    assert seconds.max() <= 1000 / 400
    assert abs(float(lost[full:].float().mean()) - (1 - 40 / 60)) < 1 / 1000


@pytest.mark.parametrize("load", [0.3, 0.6, 0.9])
def test_waiting_times_are_lindleys(load: float) -> None:
    """W' = max(0, W + S - T): the same numbers as the recursion in plain Python, for random arrivals of random size."""
    c = make("bandwidth", worlds=1, agents=2, slots=1, bytes_per_second=600, queue=10**6)
    g = torch.Generator().manual_seed(1)
    arrives = torch.rand(500, generator=g) < load
    sizes = torch.randint(20, 120, (500,), generator=g)
    memory, waits, expected, backlog = c.memory(), [], [], 0.0
    generator = torch.Generator()
    for step in range(500):
        present = torch.zeros(1, 2, 1, dtype=torch.bool)
        present[0, 0, 0] = arrives[step]
        ones = torch.ones(1, 2, 1, dtype=torch.int64)
        entering = ChannelInput(present, ones, ones * sizes[step], ones, torch.tensor([step]), STEP, 0, generator)
        effect = c.carry(entering, memory)
        assert effect.seconds is not None
        backlog = max(0.0, backlog - 600 * STEP) if step else 0.0
        if arrives[step]:
            waits.append(float(effect.seconds[0, 0, 0]))
            backlog += int(sizes[step])
            expected.append(backlog / 600)
    torch.testing.assert_close(torch.tensor(waits), torch.tensor(expected))
    assert max(waits) > 0.2, "some wait"


@pytest.mark.parametrize("shared", ["sender", "receiver"])
def test_a_shared_line_is_a_queue_in_order_of_slots(shared: str) -> None:
    """Against a loop over worlds and messages; sizes are equal, so that what is lost blocks nobody else."""
    agents, slots, worlds, rate, limit = 4, 3, 5, 700.0, 250
    c = make("bandwidth", worlds, agents, slots, bytes_per_second=rate, queue=limit, shared=shared)
    g = torch.Generator().manual_seed(0)
    memory, generator = c.memory(), torch.Generator()
    backlog = torch.zeros(worlds, agents + 1, dtype=torch.float64)
    dropped = 0
    for exchange in range(60):
        step, kind = divmod(exchange, 2)
        present = torch.rand(worlds, agents, slots, generator=g) < 0.6
        sender = torch.randint(agents + 1, present.shape, generator=g)
        size = torch.full(present.shape, 41)
        at = torch.full((worlds,), step)
        effect = c.carry(ChannelInput(present, sender, size, size, at, STEP, kind, generator), memory)
        assert effect.lost is not None
        assert effect.seconds is not None
        if kind == 0 and step:
            backlog = (backlog - rate * STEP).clamp(min=0)
        for world in range(worlds):
            for receiver in range(agents):
                for slot in range(slots):
                    place = (world, receiver, slot)
                    if not present[place]:
                        assert not effect.lost[place]
                        assert effect.seconds[place] == 0
                        continue
                    line = int(sender[place]) if shared == "sender" else receiver
                    fits = bool(backlog[world, line] + 41 <= limit)
                    assert bool(effect.lost[place]) == (not fits)
                    backlog[world, line] += 41 * fits
                    expected = float(backlog[world, line]) / rate if fits else 0.0
                    assert float(effect.seconds[place]) == pytest.approx(expected, rel=1e-6)
                    dropped += not fits
    assert dropped > 20


def test_a_long_message_that_does_not_fit_takes_those_behind_it_along() -> None:
    c = make("bandwidth", worlds=1, agents=4, slots=1, bytes_per_second=100, queue=100)
    size = torch.tensor([50, 60, 10, 10]).view(1, 4, 1)
    (effect,) = drive(c, 1, size=size, sender=torch.tensor([3, 3, 3, 2]).view(1, 4, 1))
    assert effect.lost is not None
    assert effect.lost.flatten().tolist() == [False, True, True, False]


# ---- fragments


@pytest.mark.parametrize("packets", [1, 2, 5])
@pytest.mark.parametrize("loss", [0.0, 0.1, 0.4])
def test_delivery_of_fragmented_messages(packets: int, loss: float) -> None:
    """(1 - p) ** F, with buffers for everybody."""
    c = make("fragments", mtu=28, header=8, loss=loss, buffers=64, timeout=1)
    effects = drive(c, 100, size=20 * packets)
    lost = stacked(effects, "lost")
    close(1 - lost.float().mean(), (1 - loss) ** packets, lost.numel())
    extra = packets * 8 if packets > 1 else 0
    assert (stacked(effects, "extra") == extra).all()


@pytest.mark.parametrize(("size", "packets"), [(27, 1), (28, 1), (29, 2), (40, 2), (41, 3), (1000, 50)])
def test_what_does_not_fit_is_cut(size: int, packets: int) -> None:
    (effect,) = drive(make("fragments", mtu=28, header=8), 1, size=size)
    assert effect.extra is not None
    assert (effect.extra == (8 * packets if packets > 1 else 0)).all()
    assert packets == (1 if size <= 28 else ceil(size / 20))


@pytest.mark.parametrize("buffers", [1, 2])
@pytest.mark.parametrize("timeout", [1, 3])
def test_buffers_fill_and_empty_as_in_a_loop(buffers: int, timeout: int) -> None:
    worlds, agents, slots, loss = 6, 3, 4, 0.35
    c = make("fragments", worlds, agents, slots, mtu=28, header=8, loss=loss, buffers=buffers, timeout=timeout)
    g, mirror = torch.Generator().manual_seed(5), torch.Generator().manual_seed(5)
    h = torch.Generator().manual_seed(6)
    memory = c.memory()
    held: dict[tuple[int, int], list[int]] = {}
    starved = 0
    for exchange in range(80):
        step, kind = divmod(exchange, 2)
        shape = (worlds, agents, slots)
        present = torch.rand(shape, generator=h) < 0.8
        size = torch.randint(10, 90, shape, generator=h)
        at = torch.full((worlds,), step)
        effect = c.carry(ChannelInput(present, size * 0, size, size * 0 + HOPS, at, STEP, kind, g), memory)
        chance = torch.rand(shape, generator=mirror)
        assert effect.lost is not None
        for world in range(worlds):
            for receiver in range(agents):
                places = held.setdefault((world, receiver), [])
                places[:] = [until for until in places if until > step]
                for slot in range(slots):
                    at_ = (world, receiver, slot)
                    if not present[at_]:
                        assert not effect.lost[at_]
                        continue
                    packets = 1 if size[at_] <= 28 else ceil(int(size[at_]) / 20)
                    complete = float(chance[at_]) < (1 - loss) ** packets
                    begun = float(chance[at_]) < 1 - loss**packets
                    if packets == 1:
                        arrives = complete
                    elif len(places) == buffers:
                        arrives, starved = False, starved + complete
                    else:
                        arrives = complete
                        if begun and not complete:
                            places.append(step + timeout)
                    assert bool(effect.lost[at_]) == (not arrives)
    assert starved > 10, "some were complete and found no buffer"


# ---- relay


def test_distances() -> None:
    assert distances("line", 4)[0].tolist() == [0, 1, 2, 3]
    assert distances("ring", 5)[0].tolist() == [0, 1, 2, 2, 1]
    assert distances("grid", 6)[0].tolist() == [0, 1, 2, 1, 2, 3]  # 0 1 2 / 3 4 5
    for layout in ("line", "ring", "grid"):
        apart = distances(layout, 7)  # type: ignore[arg-type]
        assert torch.equal(apart, apart.T)
        assert ((apart == 0) == torch.eye(7, dtype=torch.bool)).all()


def test_relaying_loses_and_delays_per_hop() -> None:
    c = make("relay", worlds=512, agents=5, slots=4, loss=0.1, seconds=0.03)
    effects = drive(c, 20)
    sender = (torch.arange(5).view(-1, 1) + 1 + torch.arange(4)) % 5
    hops = (sender - torch.arange(5).view(-1, 1)).abs()
    lost, seconds = stacked(effects, "lost"), stacked(effects, "seconds")
    assert torch.equal(stacked(effects, "hops"), hops.expand_as(lost))
    torch.testing.assert_close(seconds, (0.03 * hops).expand_as(seconds))
    for n in (1, 2, 3, 4):
        of = lost[..., hops == n]
        close(1 - of.float().mean(), 0.9**n, of.numel())


@pytest.mark.parametrize(("limit", "hops"), [(2, 8), (8, 2), (2, 2)])
def test_who_is_too_far_away_is_not_reached(limit: int, hops: int) -> None:
    (effect,) = drive(make("relay", agents=5, slots=4, limit=limit), 1, hops=hops)
    assert effect.lost is not None
    assert effect.hops is not None
    assert torch.equal(effect.lost, effect.hops > 2)


def test_a_newcomer_stands_next_to_everybody_and_hops_are_used_up() -> None:
    c = make("relay", agents=5, slots=1, limit=1)
    (effect,) = drive(c, 1, sender=torch.full((1, 5, 1), 5))
    assert effect.hops is not None
    assert (effect.hops == 1).all()
    assert not (effect.lost is not None and effect.lost.any())
    s = team_shape(worlds=2, agents=5, degree=4, rounds=1)
    relays = [channel("relay", s, s.degree, seconds=0) for _ in range(2)]
    n = comms(s, channels=relays)
    inbox = carry(n, conversation(s, 1, closed=0))[0]
    assert n.link is not None
    far = (inbox.source - torch.arange(5).view(1, -1, 1)).abs() * 2 > HOPS
    assert not far.any(), "four hops twice are eight"


# ---- profiles


def test_transfer_times_have_the_measured_ratios() -> None:
    """Means over chance, of a message that waits for no other; the deviation of a mean is jitter / sqrt(n)."""
    mean, error = {}, {}
    for network, numbers in PROFILES.items():
        c = make("profile", worlds=256, slots=1, network=network)
        effects = drive(c, 400, size=TRANSFER_BYTES)
        arrived = ~stacked(effects, "lost")
        seconds = stacked(effects, "seconds")[arrived].double()
        mean[network], error[network] = float(seconds.mean()), numbers.jitter / len(seconds) ** 0.5
        assert abs(mean[network] - numbers.transfer) < 4 * error[network] + 1e-8
        lost = 1 - arrived.float().mean()
        memory = 1 - 1 / numbers.burst - numbers.loss / (numbers.burst * (1 - numbers.loss))
        close(lost, numbers.loss, arrived.numel() * (1 - memory) / (1 + memory))
    for other, ratio in (("ethernet", 33.3), ("wifi", 17.8)):
        tolerance = 4 * (error["5g"] / mean["5g"] + error[other] / mean[other])
        assert mean["5g"] / mean[other] == pytest.approx(ratio, rel=tolerance)
        assert tolerance < 0.01
    assert mean["5g"] > mean["wifi"] > mean["ethernet"]


# ---- traces


def trace(tmp_path: Path, text: str, worlds: int = 64) -> Channel:
    (tmp_path / "trace.csv").write_text(text)
    return make("trace", worlds, slots=1, file=str(tmp_path / "trace.csv"))


def test_a_trace_runs_in_a_circle_from_a_random_moment(tmp_path: Path) -> None:
    c = trace(tmp_path, "seconds,latency_ms,loss\n5,100,0\n5.2,200,1\n5.7,300,0\n", worlds=4000)
    effects = drive(c, 25)
    seconds = stacked(effects, "seconds")[:, :, 0, 0]
    row = (seconds * 10).round() - 1
    assert torch.equal(stacked(effects, "lost")[:, :, 0, 0], row == 1)
    # 0.2, 0.5 and 0.5 s of 1.2 s, in every step
    for number, length in enumerate((0.2, 0.5, 0.5)):
        for step in (0, 7):
            close((row[step] == number).float().mean(), length / 1.2, 4000)
    assert torch.equal(row[:12], row[12:24]), "1.2 s later it is the same again"
    moves = (row[1:] - row[:-1]) % 3
    assert (moves <= 1).all()


def test_one_row_holds_forever(tmp_path: Path) -> None:
    effects = drive(trace(tmp_path, "seconds,latency_ms,loss\n7,30,0\n"), 40)
    torch.testing.assert_close(stacked(effects, "seconds"), torch.full((40, 64, 4, 1), 0.03))


def test_a_traces_bandwidth_is_that_of_the_moment(tmp_path: Path) -> None:
    """0.00384 Mbit/s are 480 bytes per second: 48 bytes take a step."""
    c = trace(tmp_path, "seconds,latency_ms,loss,mbit\n0,100,0,0.00384\n1,100,0,0.00192\n", worlds=200)
    seconds = stacked(drive(c, 9), "seconds")[:, :, 0, 0]
    fast = (seconds - 0.2).abs() < 1e-5
    assert (fast[0] | ((seconds[0] - 0.3).abs() < 1e-5)).all()
    close(fast[0].float().mean(), 0.5, 200)
    slow = (~fast).all(0)
    assert not slow.all()
    # As long as it is slow, half a message more waits in every step.
    begins_slow = ~fast[0] & ((seconds[1] - seconds[0] - 0.1).abs() < 1e-5)
    assert begins_slow.any()


# ---- the ledger


def expected_steps(seconds: float) -> int:
    return int(seconds / STEP + 1e-9)


@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.1, 0.25, 0.3, 0.7, 1.3, 1.6])
def test_latency_in_the_ledger(seconds: float) -> None:
    s: TeamShape = team_shape(worlds=2, rounds=2)
    n, plain = comms(s, channels=[channel("delay", s, s.degree, seconds=seconds)], step_seconds=STEP), comms(s)
    length = 24
    exchanges = conversation(s, length, closed=0, ends=0)
    carry(plain, exchanges)
    heard = [i.mask for i in carry(n, exchanges)]
    steps = expected_steps(seconds)
    for number, mask in enumerate(heard):
        assert mask.all() if number // 2 >= steps else not mask.any()
    each = s.num_agents * s.degree
    arrived = (length - steps) * s.rounds * each
    assert n.ledger["accepted"].tolist() == [arrived] * 2
    assert n.ledger.steps.tolist() == [arrived * steps] * 2
    assert n.ledger.seconds.tolist() == pytest.approx([arrived * seconds] * 2, rel=1e-6)
    assert torch.equal(n.ledger.bytes, plain.ledger.bytes), "counted as sent, whether it arrives or not"
