"""Huffman codes (Huffman 1952): the shortest prefix-free words for symbols of known weights, in canonical form."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from agentcomm.base.errors import MessageError
from agentcomm.codecs.bits import BitReader, BitWriter


def code_lengths(weights: Sequence[int]) -> list[int]:
    """Length of each symbol's word; 0 for symbols of weight 0, which have none. A single symbol gets one bit."""
    heap = [(weight, symbol, [symbol]) for symbol, weight in enumerate(weights) if weight]
    lengths = [0] * len(weights)
    if len(heap) == 1:
        lengths[heap[0][1]] = 1
    heapq.heapify(heap)
    while len(heap) > 1:
        weight, first, below = heapq.heappop(heap)
        other, _, more = heapq.heappop(heap)
        for symbol in below + more:
            lengths[symbol] += 1
        heapq.heappush(heap, (weight + other, first, below + more))
    return lengths


class Code:
    """The canonical Huffman code with the given word lengths.

    Args:
        lengths: Word length of each symbol, 0 for none; a prefix-free code must exist.
    """

    def __init__(self, lengths: Sequence[int]) -> None:
        self.words: dict[int, tuple[int, int]] = {}  # symbol -> word, its length
        word, before = 0, 0
        for length, symbol in sorted((length, symbol) for symbol, length in enumerate(lengths) if length):
            word <<= length - before
            self.words[symbol] = word, length
            word, before = word + 1, length
        self._symbols = {word: symbol for symbol, word in self.words.items()}
        self._longest = before

    def write(self, writer: BitWriter, symbol: int) -> None:
        """Append the symbol's word."""
        writer.write(*self.words[symbol])

    def read(self, reader: BitReader) -> int:
        """The symbol whose word comes next.

        Raises:
            MessageError: If the next bits are not a word.
        """
        word = 0
        for length in range(1, self._longest + 1):
            word = word << 1 | reader.read(1)
            if (word, length) in self._symbols:
                return self._symbols[word, length]
        raise MessageError("coded payload contains bits that are not a word of its Huffman code")
