"""Conformance check of codecs."""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterator
from dataclasses import replace
from math import ceil
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agentcomm.base.calling import answered
from agentcomm.base.errors import MessageError
from agentcomm.conformance.common import check_memory, checked_config, require
from agentcomm.contracts.codec import Codec, CodecConfig, Coded, Received
from agentcomm.contracts.shape import TeamShape

WORLDS, AGENTS, ROUNDS, STEPS = 3, 4, 2, 6


def check_codec(
    codec: type[Codec], arguments: dict[str, Any] | None = None, width: int = 32, quick: bool = False
) -> None:
    """Check the contract of :class:`agentcomm.contracts.codec.Codec` on ordinary payloads and edge cases.

    Args:
        codec: The codec's class.
        arguments: Its arguments; None for the defaults.
        width: Width of the payloads.
        quick: Whether to make a part of the checks only, in a fraction of a second.

    Raises:
        AssertionError: If the codec breaks the contract.
    """
    config: CodecConfig = checked_config("codec", codec, Codec, arguments, quick)
    team_shape = TeamShape(WORLDS, AGENTS, AGENTS - 1, width, ROUNDS, torch.device("cpu"))
    made = codec(config, team_shape)
    check_memory(made.memory, WORLDS)
    ambient = _global_generators()
    _check_bytes(made, quick)
    if not quick:
        _check_garbage(made)
        _check_worlds(codec, config, team_shape)
        _check_receivers(made)
    require(ambient == _global_generators(), "randomness is drawn from a global generator")


def _global_generators() -> tuple[bytes, ...]:
    """The states of the global generators of torch, numpy and Python."""
    return torch.get_rng_state().numpy().tobytes(), pickle.dumps(np.random.get_state()), pickle.dumps(random.getstate())


def odd_payloads(width: int) -> dict[str, Tensor]:
    """Payloads [WORLDS, AGENTS, width]: edge cases and some ordinary ones."""
    g = torch.Generator().manual_seed(0)
    plain = torch.randn(WORLDS, AGENTS, width, generator=g)
    alternating = torch.ones_like(plain)
    alternating[..., ::2] = -1
    single = torch.zeros_like(plain)
    single[..., -1] = -3.0
    return {
        "random": plain,
        "like tokens": torch.nn.functional.layer_norm(plain, (width,)),
        "zero": torch.zeros_like(plain),
        "negative zero": -torch.zeros_like(plain),
        "zeros of both signs": torch.zeros_like(plain) * plain,
        "constant": torch.full_like(plain, 0.7),
        "negative constant": torch.full_like(plain, -0.7),
        "of equal magnitudes": alternating,
        "in a single place": single,
        "of few values": plain.round(),
        "tiny": plain * 1e-30,
        "subnormal": plain * 1e-42,
        "huge": plain * 1e30,
        "beyond float16": plain * 65504,
        "of all scales": plain * 10.0 ** (20 * torch.randn(plain.shape, generator=g)).clamp(-30, 30),
    }


def _conversation(width: int) -> Iterator[tuple[Tensor, Tensor, int]]:
    """Payload, step and round of exchanges with slowly changing payloads; world 1 starts a new episode midway."""
    g = torch.Generator().manual_seed(1)
    said = torch.randn(ROUNDS, WORLDS, AGENTS, width, generator=g)
    step = torch.zeros(WORLDS, dtype=torch.int64)
    for at in range(STEPS):
        if at == STEPS // 2:
            step[1] = 0
        said = said + 0.1 * torch.randn(said.shape, generator=g)
        for round_ in range(ROUNDS):
            yield said[round_], step.clone(), round_
        step = step + 1


def _encode(codec: Codec, payload: Tensor, memory: dict[str, Tensor], step: Tensor, round_: int) -> Coded:
    """Encode, and check that nothing else changes."""
    said, places = payload.clone(), dict(memory)
    coded = answered(codec.encode(payload, memory, step, round_), Coded, f"codec {codec.name!r}", "encode", "a Coded")
    require(_same(said, payload), "encode changes its input")
    kept = places.keys() == memory.keys() and all(memory[name] is value for name, value in places.items())
    require(kept, "encode replaces tensors of its memory; they must be changed in place")
    shape = payload.shape[:2]
    fits = coded.values.shape[:2] == shape and coded.values.dim() == 3 and coded.values.dtype == torch.float32
    require(fits, f"encode returns values {coded.values.dtype} {tuple(coded.values.shape)}, not float32 [B, N, W]")
    fits = coded.bits.shape == shape and coded.bits.dtype == torch.int64
    require(fits, f"encode returns bits {coded.bits.dtype} {tuple(coded.bits.shape)}, not int64 [B, N]")
    require((coded.bits >= 0).all(), "a payload has fewer than 0 bits")
    require(coded.values.isfinite().all(), "finite payloads are encoded as numbers that are not finite")
    return coded


def _same(first: Tensor, second: Tensor) -> bool:
    """Equal to the last bit, signs of zeros included."""
    return torch.equal(first, second) and torch.equal(first.signbit(), second.signbit())


def _packed(codec: Codec, payload: Tensor, coded: Coded) -> Iterator[tuple[bytes, Tensor, int]]:
    """For each payload of a batch: its bytes, the values they represent, and their size in bits from ``encode``."""
    travels = coded.values if codec.stateful else payload
    for world, agent in np.ndindex(*payload.shape[:2]):
        data = codec.pack(travels[world, agent].numpy())
        yield data, coded.values[world, agent], int(coded.bits[world, agent])


def _check_bytes(codec: Codec, quick: bool) -> None:
    """Bytes and batch agree to the last bit."""
    cases: list[tuple[str, Tensor, dict[str, Tensor], Tensor, int]] = [
        (name, payload, codec.memory(), torch.full((WORLDS,), step, dtype=torch.int64), 0)
        for name, payload in odd_payloads(codec.team_shape.width).items()
        for step in (0, 1)
        if not quick or (name in ("like tokens", "zero") and step == 0)
    ]
    memory = codec.memory()
    spoken = [] if quick else _conversation(codec.team_shape.width)
    cases += [("slowly changing", said, memory, step, kind) for said, step, kind in spoken]
    for name, payload, kept, step, kind in cases:
        for data, values, bits in _packed(codec, payload, _encode(codec, payload, kept, step, kind)):
            require(isinstance(data, bytes), f"pack returns {type(data).__name__}, not bytes")
            require(len(data) == ceil(bits / 8), f"a payload ({name}) has {len(data)} bytes, but {bits} bits")
            read = codec.unpack(data)
            fits = read.shape == tuple(values.shape) and read.dtype == np.float32
            require(fits, f"unpack returns {read.dtype} {read.shape}, not float32 {tuple(values.shape)}")
            same = _same(torch.from_numpy(read.copy()), values)
            require(same, f"unpack returns other values than encode for a payload ({name})")


def _check_garbage(codec: Codec) -> None:
    """Bytes of a wrong length are rejected, and other damaged bytes are rejected or decoded to finite values."""
    rng = np.random.default_rng(0)
    memory, steps = codec.memory(), torch.zeros(WORLDS, dtype=torch.int64)
    payload = odd_payloads(codec.team_shape.width)["random"]
    coded = _encode(codec, payload, memory, steps, 0)
    for data, values, _ in _packed(codec, payload, coded):
        for wrong in (b"", data[:-1], data + b"\0", data + b"\xff", data + data):
            require(_read(codec, wrong, len(values)) is None or wrong == data, f"{len(wrong)} bytes are not rejected")
        for _ in range(20):
            _read(codec, rng.bytes(len(data)), len(values))
            damaged = bytearray(data)
            damaged[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
            _read(codec, bytes(damaged), len(values))


def _read(codec: Codec, data: bytes, width: int) -> NDArray[np.float32] | None:
    """What the bytes say, if they say anything."""
    try:
        values = codec.unpack(data)
    except MessageError:
        return None
    except Exception as error:
        raise AssertionError(f"unpack raises {type(error).__name__} ({error}) for garbage, not MessageError") from error
    fits = values.shape == (width,) and values.dtype == np.float32 and bool(np.isfinite(values).all())
    require(fits, "unpack reads garbage as something else than finite float32 values [W]")
    return values


def _check_worlds(codec: type[Codec], config: CodecConfig, team_shape: TeamShape) -> None:
    """Encoding is deterministic, independent of the other worlds, and independent of earlier episodes."""

    def talk(made: Codec, worlds: slice) -> list[Coded]:
        memory, out = made.memory(), []
        fresh = {name: value.clone() for name, value in memory.items()}
        for payload, step, kind in _conversation(team_shape.width):
            again = (step[worlds] == 0).nonzero().squeeze(-1) if kind == 0 else step[:0]
            for name, value in memory.items():
                value[again] = fresh[name][again]
            out.append(_encode(made, payload[worlds], memory, step[worlds], kind))
        return out

    whole, again = talk(codec(config, team_shape), slice(None)), talk(codec(config, team_shape), slice(None))
    alone = talk(codec(config, replace(team_shape, num_worlds=1)), slice(1, 2))
    restarted = codec(config, replace(team_shape, num_worlds=1))
    fresh = restarted.memory()
    for at, (first, second, single, said) in enumerate(
        zip(whole, again, alone, _conversation(team_shape.width), strict=True)
    ):
        same = _same(first.values, second.values) and torch.equal(first.bits, second.bits)
        require(same, "the same payloads are encoded differently the second time")
        same = _same(first.values[1:2], single.values) and torch.equal(first.bits[1:2], single.bits)
        require(same, "a payload is encoded differently without the other worlds of its batch")
        if at >= ROUNDS * (STEPS // 2):
            new = _encode(restarted, said[0][1:2], fresh, said[1][1:2], said[2])
            require(_same(new.values, single.values), "memory of an episode affects the next one")


def _check_receivers(codec: Codec) -> None:
    """All agents receive all messages; claimed senders and sequence numbers may be wrong, and slots empty."""
    width, g = codec.team_shape.width, torch.Generator().manual_seed(2)
    source = torch.arange(AGENTS).view(1, 1, -1).expand(WORLDS, AGENTS, -1)
    sending, hearing = codec.memory(), codec.memory()
    for payload, step, kind in _conversation(width):
        coded = _encode(codec, payload, sending, step, kind)
        values = coded.values.unsqueeze(1).expand(-1, AGENTS, -1, -1).clone()
        at = step.view(-1, 1, 1)
        everything = torch.ones_like(source, dtype=torch.bool)
        sequence = (at * ROUNDS + kind).expand_as(source)
        heard = _decode(codec, Received(values, everything, source, sequence, step, kind), hearing)
        require(_same(heard, heard[:, :1].expand_as(heard)), "receivers of the same messages decode different payloads")
        if not codec.stateful:
            require(_same(heard, values), "decode changes values, but the codec is not stateful")
    for payload, step, kind in _conversation(width):
        coded = _encode(codec, payload, sending, step, kind)
        values = coded.values.unsqueeze(1).expand(-1, AGENTS, -1, -1) + torch.randn(1, generator=g)
        present = torch.rand(source.shape, generator=g) < 0.7
        claimed = torch.randint(AGENTS + 1, source.shape, generator=g)
        sequence = torch.randint(-1, 2**40, source.shape, generator=g)
        _decode(codec, Received(values, present, claimed, sequence, step, kind), hearing)


def _decode(codec: Codec, received: Received, memory: dict[str, Tensor]) -> Tensor:
    """Decode, and check that the input is not changed."""
    arrived, places = received.values.clone(), dict(memory)
    heard = codec.decode(received, memory)
    shape = (*received.present.shape, codec.team_shape.width)
    require(heard.shape == shape, f"decode returns {tuple(heard.shape)}, not {shape}")
    require(heard.dtype == torch.float32, f"decode returns {heard.dtype}, not torch.float32")
    require(heard[received.present].isfinite().all(), "decode turns finite numbers into numbers that are not finite")
    require(_same(arrived, received.values), "decode changes its input")
    kept = places.keys() == memory.keys() and all(memory[name] is value for name, value in places.items())
    require(kept, "decode replaces tensors of its memory; they must be changed in place")
    return heard
