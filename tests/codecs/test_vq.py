"""Codebooks: nearest codewords, fitting, files; and the defense that knows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import attack, comms, defense, team_shape
from torch import Tensor

from agentcomm.base import registry
from agentcomm.base.errors import ConfigError
from agentcomm.codecs.codebook import fit_codebook, look_up, nearest
from agentcomm.codecs.vq import VectorQuantization
from agentcomm.conformance import check_codec
from agentcomm.conformance.conversations import carry, conversation
from agentcomm.contracts.shape import TeamShape

D = 8


def build(width: int = D, **arguments: Any) -> VectorQuantization:
    config = registry.build_config("codec", "vq", arguments)
    return VectorQuantization(config, TeamShape(3, 4, 2, width, 2, torch.device("cpu")))


def samples(count: int, seed: int = 0) -> Tensor:
    """Payloads in a few heaps, so that there is something to fit."""
    g = torch.Generator().manual_seed(seed)
    heaps = torch.randn(6, D, generator=torch.Generator().manual_seed(99)) * 2
    return heaps[torch.randint(6, (count,), generator=g)] + 0.1 * torch.randn(count, D, generator=g)


# ---- codewords


def test_every_part_becomes_its_nearest_codeword() -> None:
    codec = build(groups=4, codewords=16)
    payload = torch.randn(3, 4, D, generator=torch.Generator().manual_seed(0))
    values = codec.encode(payload, {}, torch.zeros(3), 0).values
    for world, agent in np.ndindex(3, 4):
        for group in range(4):
            part = payload[world, agent, 2 * group : 2 * group + 2].double()
            distances = [float((part - word.double()).square().sum()) for word in codec.codebook[group]]
            expected = codec.codebook[group, distances.index(min(distances))]
            assert torch.equal(values[world, agent, 2 * group : 2 * group + 2], expected)


def test_of_equally_near_codewords_the_first_is_taken() -> None:
    book = torch.tensor([[[1.0], [-1.0], [1.0]]])
    assert nearest(torch.tensor([[0.0], [0.9], [-0.2]]), book).flatten().tolist() == [0, 0, 1]


def test_what_a_codec_says_it_would_say_again() -> None:
    codec = build()
    payload = torch.randn(3, 4, D, generator=torch.Generator().manual_seed(0))
    values = codec.encode(payload, {}, torch.zeros(3), 0).values
    assert torch.equal(codec.encode(values, {}, torch.zeros(3), 0).values, values)


def test_seeds_make_codebooks() -> None:
    assert torch.equal(build(seed=1).codebook, build(seed=1).codebook)
    assert not torch.equal(build(seed=1).codebook, build(seed=2).codebook)


# ---- fitting


def test_a_fitted_codebook_is_kept_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "book.npz"
    book = fit_codebook(path, samples(500), 2, 8, torch.Generator().manual_seed(0))
    again = fit_codebook(tmp_path / "again.npz", samples(500), 2, 8, torch.Generator().manual_seed(0))
    assert np.array_equal(book, again)
    fitted, random = build(groups=2, codewords=8, codebook=path), build(groups=2, codewords=8)
    assert np.array_equal(fitted.codebook.numpy(), book)
    new = samples(300, seed=1).view(3, 100, D)
    errors = [
        float((c.encode(new, {}, torch.zeros(3), 0).values - new).square().sum() / new.square().sum())
        for c in (fitted, random)
    ]
    assert errors[0] < 0.3 * errors[1]
    check_codec(VectorQuantization, {"groups": 2, "codewords": 8, "codebook": path}, D)


def test_fitting_ends_where_every_codeword_is_the_mean_of_what_is_nearest(tmp_path: Path) -> None:
    data = samples(400)
    book = torch.from_numpy(fit_codebook(tmp_path / "b.npz", data, 2, 4, torch.Generator().manual_seed(1)))
    code, parts = nearest(data, book), data.view(-1, 2, D // 2)
    for group in range(2):
        for word in range(4):
            mine = parts[code[:, group] == word, group]
            if len(mine):
                assert torch.allclose(mine.mean(0), book[group, word], atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"groups": 3}, "groups=3 does not divide payloads of width 8"),
        ({"codewords": 12}, "power of two"),
        ({"groups": 4, "codewords": 8, "codebook": "book.npz"}, r"float32 \[2, 8, 4\].*\[4, 8, 2\]"),
        ({"codebook": "missing.npz"}, "no codebook at .*missing.npz"),
        ({"codebook": "text.npz"}, "text.npz is damaged"),
        ({"codebook": "other.npz"}, "other.npz is damaged"),
    ],
)
def test_codebooks_that_do_not_fit(arguments: dict[str, Any], says: str, tmp_path: Path) -> None:
    fit_codebook(tmp_path / "book.npz", samples(50), 2, 8, torch.Generator().manual_seed(0))
    (tmp_path / "text.npz").write_text("no codebook")
    np.savez(tmp_path / "other.npz", something=np.zeros(3))
    if "codebook" in arguments:
        arguments = arguments | {"codebook": tmp_path / arguments["codebook"]}
    with pytest.raises(ConfigError, match=says):
        build(**arguments)


def test_too_few_samples(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="16 codewords"):
        fit_codebook(tmp_path / "b.npz", samples(15), 2, 16, torch.Generator())


# ---- the defense


@pytest.mark.parametrize("form", [None, "noise", "replay"])
def test_noise_is_refused_and_codewords_pass(form: str | None) -> None:
    """Replayed messages are codewords: the limit of this defense."""
    s = team_shape(worlds=6)
    attacks = [] if form is None else [attack(form, s)]
    network = comms(s, attacks, [defense("codeword", s)], codec=build_for(s))
    carry(network, conversation(s, 20, seed=9, closed=0))
    n = network.ledger
    attacked = n["forged"] + n["replayed"] + n["tampered"]
    assert attacked.any() == (form is not None)
    assert torch.equal(n["refused"], attacked if form == "noise" else torch.zeros_like(attacked))


def test_a_codeword_in_place_of_another_passes_and_another_codebook_does_not() -> None:
    s = team_shape()
    codec = build_for(s)
    code = torch.randint(64, (3, 4, 8), generator=torch.Generator().manual_seed(0))
    words = look_up(code, codec.codebook)
    exchange = conversation(s, 1, closed=0, ends=0)[0]
    for seed, passes in ((0, True), (1, False)):
        network = comms(s, [], [defense("codeword", s, seed=seed)])
        inbox = network.exchange(words, exchange.links, exchange.step, 0)
        assert bool(inbox.mask.all()) == bool(inbox.mask.any()) == passes


def build_for(s: TeamShape) -> VectorQuantization:
    return VectorQuantization(registry.build_config("codec", "vq", {}), s)
