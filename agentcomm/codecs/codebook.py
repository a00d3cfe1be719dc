"""Codebooks of vector quantization, for the codec ``vq`` and the defense ``codeword``.

A payload of width D is split into groups, each D / groups wide, and every group has its own codewords (product
quantization, Jegou et al. 2011). A codebook is an array [groups, codewords, D / groups]. Without a file it is random,
standard normal and determined by the seed, the scale of tokens after layer normalization.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, field_validator
from torch import Tensor

from agentcomm.base.documents import read_array
from agentcomm.base.errors import ConfigError
from agentcomm.base.inputs import InputPath, find_input
from agentcomm.base.plugin import PluginConfig

ITERATIONS = 25


class CodebookConfig(PluginConfig):
    """Choice of a codebook; sender and receivers need the same one."""

    groups: int = Field(8, ge=1, description="parts of a payload that are coded separately; must divide its width")
    codewords: int = Field(64, ge=2, description="codewords of each group; a power of two")
    seed: int = Field(0, ge=0, description="seed of a random codebook, if there is no file")
    codebook: Annotated[Path | None, InputPath()] = Field(
        None, description="a codebook's .npz file, from fit_codebook; null for a random one"
    )

    @field_validator("codewords")
    @classmethod
    def _whole_bits(cls, value: int) -> int:
        if value & (value - 1):
            raise ValueError("must be a power of two")
        return value


def get_codebook(config: CodebookConfig, width: int) -> Tensor:
    """[groups, codewords, width / groups] float32.

    Raises:
        ConfigError: If the groups do not divide the width, or the file cannot be used or is of another shape.
    """
    if width % config.groups:
        raise ConfigError(f"groups={config.groups} does not divide payloads of width {width}")
    shape = (config.groups, config.codewords, width // config.groups)
    if config.codebook is None:
        return torch.randn(shape, generator=torch.Generator().manual_seed(config.seed))
    try:
        saved = read_array(find_input(config.codebook), "codebook", f"codebook {config.codebook}", ConfigError)
    except FileNotFoundError:
        raise ConfigError(f"there is no codebook at {config.codebook}; make one with fit_codebook") from None
    if saved.shape != shape or saved.dtype != np.float32 or not np.isfinite(saved).all():
        raise ConfigError(
            f"codebook {config.codebook} holds {saved.dtype} {list(saved.shape)};"
            f" needed are finite float32 {list(shape)}: groups, codewords, width / groups"
        )
    return torch.from_numpy(saved)


def nearest(payload: Tensor, codebook: Tensor) -> Tensor:
    """[..., groups] int64, index of the nearest codeword of each group of payloads [..., D]; the lowest if tied.

    Distances are summed coordinate by coordinate, so that they are equal for any batch (which a matrix product does not
    guarantee). Needs memory for [..., groups, codewords].
    """
    groups, codewords, width = codebook.shape
    parts = payload.reshape(*payload.shape[:-1], groups, width)
    distance = torch.zeros(*parts.shape[:-1], codewords, device=payload.device)
    for i in range(width):
        distance += (parts[..., i, None] - codebook[..., i]).square()
    number = torch.arange(codewords, device=payload.device)
    return torch.where(distance == distance.amin(-1, keepdim=True), number, codewords).amin(-1)


def look_up(code: Tensor, codebook: Tensor) -> Tensor:
    """[..., D] the codewords with the indices [..., groups]."""
    return codebook[torch.arange(len(codebook), device=code.device), code].flatten(-2)


def fit_codebook(
    path: Path, samples: Tensor, groups: int, codewords: int, generator: torch.Generator
) -> NDArray[np.float32]:
    """Fit a codebook to payloads by k-means (Lloyd's iterations from samples drawn at random), and write it.

    Args:
        path: The .npz file to write.
        samples: [S, D] payloads of agents, with S at least ``codewords``; thousands are better.
        groups: Parts of a payload; must divide D.
        codewords: Codewords of each group; a power of two.
        generator: Draws the initial samples.

    Returns:
        [groups, codewords, D / groups]. Codewords without any nearest sample keep their value.

    Raises:
        ConfigError: If there are too few samples, or the groups do not divide D.
    """
    count, width = samples.shape
    if count < codewords or width % groups:
        raise ConfigError(f"{codewords} codewords in {groups} groups cannot be fitted to samples {list(samples.shape)}")
    samples = samples.detach().cpu().float().contiguous()
    parts = samples.view(count, groups, width // groups)
    start = torch.randperm(count, generator=generator)[:codewords]
    codebook = parts[start].transpose(0, 1).contiguous()
    offset = torch.arange(groups) * codewords
    for _ in range(ITERATIONS):
        place = (nearest(samples, codebook) + offset).flatten()
        total = torch.zeros(groups * codewords, width // groups).index_add_(0, place, parts.flatten(0, 1))
        size = place.bincount(minlength=groups * codewords).unsqueeze(-1)
        codebook = torch.where(size > 0, total / size.clamp_min(1), codebook.flatten(0, 1)).view_as(codebook)
    saved: NDArray[np.float32] = codebook.numpy()
    with path.open("wb") as file:
        np.savez(file, codebook=saved)
    return saved
