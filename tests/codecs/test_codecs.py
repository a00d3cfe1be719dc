"""Every registered codec keeps its contract, the check notices those that do not; sizes and errors are as stated."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from thinning import one_of_each_plugin, thinned
from torch import Tensor

from agentcomm.base import registry
from agentcomm.base.errors import ConfigError, MessageError
from agentcomm.codecs.bits import BitReader, BitWriter, sizes, tree_sum
from agentcomm.codecs.plain import Float32
from agentcomm.conformance import check_codec
from agentcomm.conformance.codecs import odd_payloads
from agentcomm.contracts.codec import Codec, Coded
from agentcomm.contracts.shape import TeamShape

D = 32
FORMS = registry.forms("codec")
# Bits of an ordinary payload, where these are the same for all.
BITS = {
    "float32": 32 * D,
    "float16": 16 * D,
    "int8": 32 + 8 * D,
    "sign": 32 + D,
    "top_k": 8 * (5 + 16),
    "top_k of one": 5 + 32,
    "top_k of all": D * (5 + 16),
    "vq": 8 * 6,
    "vq fine": 16 * 6,
    "vq coarse": 1,
}


def build(form: str, worlds: int = 3, agents: int = 4, width: int = D) -> Codec:
    name, arguments = FORMS[form]
    team_shape = TeamShape(worlds, agents, agents - 1, width, 2, torch.device("cpu"))
    made: Codec = registry.find("codec", name)(registry.build_config("codec", name, arguments), team_shape)
    return made


def encode(codec: Codec, payload: Tensor, step: int = 0) -> Coded:
    return codec.encode(payload, codec.memory(), torch.full((len(payload),), step), 0)


@pytest.mark.parametrize("form", thinned(FORMS, one_of_each_plugin(FORMS)))
def test_registered_codecs_conform(form: str) -> None:
    name, arguments = FORMS[form]
    check_codec(registry.find("codec", name), arguments)


ODD = list(product(registry.names("codec"), (1, 7, 48)))


@pytest.mark.parametrize(("name", "width"), thinned(ODD, ODD[::2]))
def test_they_conform_at_odd_widths(name: str, width: int) -> None:
    check_codec(registry.find("codec", name), {"groups": 1} if name == "vq" else {}, width)


@pytest.mark.parametrize(("form", "bits"), BITS.items())
def test_sizes_are_what_the_formula_says(form: str, bits: int) -> None:
    for payload in odd_payloads(D).values():
        assert (encode(build(form), payload).bits == bits).all()


@given(data=st.binary(max_size=2 * 4 * D))
@settings(max_examples=150, deadline=None)
@pytest.mark.parametrize("form", FORMS)
def test_garbage_is_refused_or_is_values(form: str, data: bytes) -> None:
    codec = build(form)
    try:
        values = codec.unpack(data)
    except MessageError:
        return
    assert values.dtype == np.float32
    assert values.shape == (D,)
    assert np.isfinite(values).all()


@given(values=st.lists(st.floats(width=32, min_value=-(2.0**126), max_value=2.0**126), min_size=D, max_size=D))
@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize("form", [f for f in FORMS if not f.startswith(("delta", "ddcl"))])
def test_any_payload_travels_as_the_batch_says(form: str, values: list[float]) -> None:
    codec = build(form, worlds=1, agents=2)
    payload = torch.tensor(values, dtype=torch.float32).expand(1, 2, D)
    coded = encode(codec, payload)
    data = codec.pack(payload[0, 0].numpy())
    assert len(data) == -(-int(coded.bits[0, 0]) // 8)
    assert codec.unpack(data).tobytes() == coded.values[0, 0].numpy().tobytes()


# ---- what each of them loses


def test_float32_loses_nothing() -> None:
    for payload in odd_payloads(D).values():
        assert encode(build("float32"), payload).values.numpy().tobytes() == payload.numpy().tobytes()


def test_float16_rounds_and_clamps() -> None:
    payload = torch.randn(3, 4, D, generator=torch.Generator().manual_seed(0)) * 100
    error = (encode(build("float16"), payload).values - payload).abs()
    assert (error <= payload.abs() * 2**-11 + 3e-8).all()
    huge = encode(build("float16"), payload.sign() * 1e30).values
    assert torch.equal(huge, payload.sign() * 65504)


def test_int8_is_off_by_half_a_step_at_most() -> None:
    for name, payload in odd_payloads(D).items():
        if name != "subnormal":
            scale = payload.double().abs().amax(-1, keepdim=True) / 127
            error = (encode(build("int8"), payload).values.double() - payload.double()).abs()
            # Scale, quotient and product are rounded: 127 steps of three half-ulps.
            assert (error <= scale * (0.5 + 127 * 3 * 2**-24)).all(), name


def test_sign_is_the_contraction_of_its_source() -> None:
    payload = odd_payloads(D)["random"].double()
    error = (encode(build("sign"), payload.float()).values - payload).square().sum(-1)
    norm = payload.square().sum(-1)
    density = payload.abs().sum(-1).square() / (D * norm)
    assert torch.allclose(error, (1 - density) * norm, rtol=1e-5)


def test_top_k_keeps_the_largest_and_of_equals_the_first() -> None:
    payload = torch.tensor([1.0, -5, 3, 5, -3, 0, 3, 2]).expand(1, 1, 8)
    codec = registry.find("codec", "top_k")(
        registry.build_config("codec", "top_k", {"k": 3}), TeamShape(1, 1, 0, 8, 1, torch.device("cpu"))
    )
    assert encode(codec, payload).values.tolist() == [[[0, -5, 3, 5, 0, 0, 0, 0]]]


@pytest.mark.parametrize("form", ["top_k", "top_k of one", "fedzip", "delta that adds"])
def test_more_numbers_than_there_are_cannot_be_kept(form: str) -> None:
    name = FORMS[form][0]
    config = registry.build_config("codec", name, {"k": 9})
    codec = registry.find("codec", name)
    with pytest.raises(ConfigError, match="k=9 exceeds the width of payloads"):
        codec(config, TeamShape(1, 1, 0, 8, 1, torch.device("cpu")))


@pytest.mark.parametrize("k", [0, 0.0, 1.5, -1])
def test_shares_and_numbers_are_checked(k: float) -> None:
    with pytest.raises(ConfigError, match="k"):
        registry.build_config("codec", "top_k", {"k": k})


# ---- bits


@given(st.lists(st.tuples(st.integers(0, 2**40 - 1), st.integers(40, 48))))
def test_bits_are_read_as_they_were_written(words: list[tuple[int, int]]) -> None:
    writer = BitWriter()
    for value, bits in words:
        writer.write(value, bits)
    data = writer.to_bytes()
    assert len(data) == -(-writer.bits // 8)
    reader = BitReader(data)
    assert [reader.read(bits) for _, bits in words] == [value for value, _ in words]
    reader.end()


@given(st.integers(1, 70))
def test_tree_sum_is_a_sum_and_the_same_for_any_batch(width: int) -> None:
    values = torch.randn(5, 3, width, generator=torch.Generator().manual_seed(width))
    total = tree_sum(values)
    assert torch.allclose(total.double(), values.double().sum(-1), atol=1e-5)
    assert torch.equal(tree_sum(values[2, 1]), total[2, 1])
    assert torch.equal(tree_sum(values.transpose(0, 1)), total.T)


# ---- codecs that break the contract


class Forgetful(Float32):
    """Says half of it."""

    name = "forgetful"

    def encode(self, payload: Tensor, memory: dict[str, Tensor], step: Tensor, round_: int) -> Coded:
        return Coded(payload / 2, sizes(payload, 32 * self.team_shape.width))


class Small(Float32):
    name = "small"

    def encode(self, payload: Tensor, memory: dict[str, Tensor], step: Tensor, round_: int) -> Coded:
        return Coded(payload, sizes(payload, 16 * self.team_shape.width))


class InPlace(Float32):
    name = "in_place"

    def encode(self, payload: Tensor, memory: dict[str, Tensor], step: Tensor, round_: int) -> Coded:
        return super().encode(payload.mul_(2), memory, step, round_)


class Dithered(Float32):
    name = "dithered"

    def encode(self, payload: Tensor, memory: dict[str, Tensor], step: Tensor, round_: int) -> Coded:
        torch.rand(1)
        return super().encode(payload, memory, step, round_)


class Centered(Float32):
    """Each payload is told relative to the others of the batch."""

    name, stateful = "centered", True  # so that bytes are made of what travels

    def encode(self, payload: Tensor, memory: dict[str, Tensor], step: Tensor, round_: int) -> Coded:
        return super().encode(payload - payload.mean(0) * float(len(payload) > 1), memory, step, round_)


class Crashing(Float32):
    name = "crashing"

    def unpack(self, data: bytes) -> NDArray[np.float32]:
        return np.frombuffer(data, dtype=">f4", count=self.team_shape.width).astype(np.float32)


class Trusting(Float32):
    name = "trusting"

    def unpack(self, data: bytes) -> NDArray[np.float32]:
        values = np.frombuffer(data[: 4 * self.team_shape.width].ljust(4 * self.team_shape.width), dtype=">f4")
        return values.astype(np.float32)


class Elephant(Float32):
    """Its memory is its own."""

    name, stateful = "elephant", True

    def encode(self, payload: Tensor, memory: dict[str, Tensor], step: Tensor, round_: int) -> Coded:
        self.said = getattr(self, "said", 0) + 1
        return super().encode(payload * self.said, memory, step, round_)


class Deciding(Float32):
    name = "deciding"

    def decode(self, received: Any, memory: dict[str, Tensor]) -> Tensor:
        return received.values + 1  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (Forgetful, "returns other values"),
        (Small, "bytes, but 512 bits"),
        (InPlace, "encode changes its input"),
        (Dithered, "global generator"),
        (Centered, "without the other worlds"),
        (Crashing, "raises ValueError"),
        (Trusting, "are not rejected"),
        (Elephant, "affects the next one"),
        (Deciding, "decode changes values"),
    ],
)
def test_the_check_notices(broken: type[Codec], says: str) -> None:
    with pytest.raises(AssertionError, match=says):
        check_codec(broken)
