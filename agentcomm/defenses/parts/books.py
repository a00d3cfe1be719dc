"""Books of what receivers have heard, by place (a sender, or a link) and round, read and written row by row."""

from __future__ import annotations

import torch
from torch import Tensor


def read(book: Tensor, place: Tensor, round_: int) -> Tensor:
    """[B, N, M, D], what the book [B, N, P, R, D] holds in the places [B, N, M] int64."""
    return book.flatten(0, 3).index_select(0, _rows(book, place, round_)).view(*place.shape, book.shape[-1])


def write(book: Tensor, place: Tensor, round_: int, values: Tensor) -> None:
    """Put values [B, N, M, D] into the places [B, N, M] int64 of a book [B, N, P, R, D].

    Of several in one place any may be kept, so name places twice only if they are emptied afterwards.
    """
    book.view(-1, book.shape[-1]).index_copy_(0, _rows(book, place, round_), values.flatten(0, 2))


def _rows(book: Tensor, place: Tensor, round_: int) -> Tensor:
    worlds, agents, places, rounds = book.shape[:4]
    receiver = torch.arange(worlds * agents, device=place.device).view(worlds, agents, 1)
    return ((receiver * places + place) * rounds + round_).flatten()
