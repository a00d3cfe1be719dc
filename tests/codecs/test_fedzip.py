"""Huffman codes are the shortest and can be read; clusters are what a plain k-means finds; sizes tell of content."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from math import comb, log2

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agentcomm.base import registry
from agentcomm.base.errors import MessageError
from agentcomm.codecs.bits import BitReader, BitWriter
from agentcomm.codecs.fedzip import ITERATIONS, FedZip, assign, cluster
from agentcomm.codecs.huffman import Code, code_lengths
from agentcomm.contracts.shape import TeamShape


def build(width: int = 32, k: float = 8) -> FedZip:
    return FedZip(registry.build_config("codec", "fedzip", {"k": k}), TeamShape(1, 1, 0, width, 1, torch.device("cpu")))


# ---- Huffman


@cache
def full_codes(symbols: int) -> frozenset[tuple[int, ...]]:
    """Sorted word lengths of all full binary trees with that many leaves."""
    if symbols == 1:
        return frozenset({(0,)})
    trees = set()
    for left in range(1, symbols):
        for a in full_codes(left):
            trees |= {tuple(sorted(n + 1 for n in a + b)) for b in full_codes(symbols - left)}
    return frozenset(trees)


@given(st.lists(st.integers(1, 50), min_size=2, max_size=7))
@settings(max_examples=150, deadline=None)
def test_no_prefix_free_code_is_shorter(weights: list[int]) -> None:
    """Any such code is a tree, and the heavier a symbol, the shorter its word in the best one."""
    lengths = code_lengths(weights)
    size = sum(w * n for w, n in zip(weights, lengths, strict=True))
    heaviest_first = sorted(weights, reverse=True)
    best = min(sum(w * n for w, n in zip(heaviest_first, t, strict=True)) for t in full_codes(len(weights)))
    assert size == best


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=40).filter(lambda w: sum(x > 0 for x in w) > 1))
def test_mean_length_is_between_entropy_and_one_more(weights: list[int]) -> None:
    total = sum(weights)
    entropy = -sum(w / total * log2(w / total) for w in weights if w)
    mean = sum(w * n for w, n in zip(weights, code_lengths(weights), strict=True)) / total
    assert entropy - 1e-9 <= mean < entropy + 1


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=40).filter(any), st.data())
def test_words_are_prefix_free_and_are_read_back(weights: list[int], data: st.DataObject) -> None:
    code = Code(code_lengths(weights))
    words = sorted(f"{word:0{length}b}" for word, length in code.words.values())
    assert len(words) == sum(w > 0 for w in weights)
    assert not any(b.startswith(a) for a, b in pairwise(words))
    said = data.draw(st.lists(st.sampled_from(sorted(code.words)), max_size=30))
    writer = BitWriter()
    for symbol in said:
        code.write(writer, symbol)
    reader = BitReader(writer.to_bytes())
    assert [code.read(reader) for _ in said] == said
    reader.end()


def test_bits_that_are_no_word_are_refused() -> None:
    with pytest.raises(MessageError, match="not a word"):
        Code(code_lengths([0, 3])).read(BitReader(b"\x80"))


def test_the_law_of_gaps_is_the_one_of_uniform_places() -> None:
    """Counted over all 3 places out of 7: first gaps and later ones alike."""
    places = torch.combinations(torch.arange(7), 3)
    gaps = places.diff(dim=-1, prepend=torch.full((len(places), 1), -1)) - 1
    expected = [comb(6 - gap, 2) for gap in range(5)]
    for column in gaps.T:
        assert column.bincount(minlength=5).tolist() == expected
    lengths = code_lengths(expected)
    assert {symbol: length for symbol, (_, length) in build(7, 3).gap_code.words.items()} == dict(enumerate(lengths))


# ---- k-means


def plain_kmeans(values: list[float]) -> list[float]:
    """Lloyd's iterations as one would write them down."""
    ordered, n = sorted(values), len(values)
    centroids = [ordered[n // 6], ordered[n // 2], ordered[5 * n // 6]]
    for _ in range(ITERATIONS):
        members: list[list[float]] = [[], [], []]
        for value in values:
            distances = [abs(value - c) for c in centroids]
            members[distances.index(min(distances))].append(value)
        centroids = [sum(m) / len(m) if m else c for m, c in zip(members, centroids, strict=True)]
    return centroids


@pytest.mark.parametrize("count", [1, 2, 3, 8, 17])
def test_clusters_are_those_of_a_plain_reference(count: int) -> None:
    values = torch.randn(20, 3, count, generator=torch.Generator().manual_seed(count))
    found = cluster(values)
    for world in range(20):
        for agent in range(3):
            expected = torch.tensor(plain_kmeans(values[world, agent].double().tolist()))
            assert torch.allclose(found[world, agent].double(), expected.double(), atol=1e-6)


def test_three_heaps_are_found_and_values_go_to_the_nearest() -> None:
    values = torch.tensor([-2.1, 5.0, 1.0, -1.9, 5.2, 0.8, 4.8, 1.2, -2.0]).view(1, 1, -1)
    centroids = cluster(values)
    assert torch.allclose(centroids, torch.tensor([[[-2.0, 1.0, 5.0]]]), atol=1e-6)
    nearest = (values.unsqueeze(-1) - centroids.unsqueeze(-2)).abs().argmin(-1)
    assert torch.equal(assign(values, centroids), nearest)


# ---- sizes


def test_equal_payloads_compress_better_and_sizes_tell() -> None:
    """Variable size leaks content."""
    codec = build()
    g, step = torch.Generator().manual_seed(0), torch.zeros(1, dtype=torch.int64)
    sizes = set()
    for _ in range(50):
        payload = torch.randn(1, 1, 32, generator=g)
        sizes.add(int(codec.encode(payload, {}, step, 0).bits))
    assert len(sizes) > 5
    constant = int(codec.encode(torch.ones(1, 1, 32), {}, step, 0).bits)
    assert constant == 48 + 6 + 8 + 8 * codec.gap_code.words[0][1] < min(sizes)


def test_a_large_heavy_tailed_payload_against_the_reference() -> None:
    """Measured by a script of its own, for this size: 131072 -> 1512 bits, error 0.71; its tables are not told."""
    g = torch.Generator().manual_seed(0)
    normal = torch.randn(1, 1, 4096, generator=g)
    chi = torch.randn(3, 4096, generator=g).square().sum(0)
    heavy = normal / (chi / 3).sqrt()
    coded = build(4096, 0.05).encode(heavy, {}, torch.zeros(1, dtype=torch.int64), 0)
    error = float((coded.values - heavy).norm() / heavy.norm())
    assert 131072 / int(coded.bits) > 60
    assert 0.5 < error < 0.8
