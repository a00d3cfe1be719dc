"""Where the values of a tool call come from: from what the user said, or from what tools have shown since.

A call with effects is refused if one of its arguments was read from a tool's output and never said by the user: the
trace that an injected instruction leaves, whatever its words are. This is the taint of message content
(:mod:`agentcomm.defenses.taint`) for text, and coarse as that: it also refuses honest calls whose values come from a
document, and it lets through those whose values the attacker needs not name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

SHORTEST = 3  # characters of a value that says where it comes from; shorter ones occur in any text
# parts of longer texts that identify something: with a digit, an at sign, or a dot, dash or slash within
IDENTIFIER = re.compile(r"(?=[^\s]*[\d@./-])[\w@.:/+-]{5,}")


class Provenance:
    """The texts of one conversation, by whether they are trusted.

    Args:
        effects: Tools that change something; others may be called with any arguments.
        limit: Characters that are kept of what tools show. Beyond it, all calls with effects are refused.
    """

    def __init__(self, effects: Collection[str], limit: int = 1_000_000) -> None:
        self.effects, self.limit = frozenset(effects), limit
        self.said = ""
        self.read = ""
        self.full = False

    def trust(self, text: str) -> None:
        """Add what the user or the developer said."""
        self.said += "\n" + _plain(text)

    def observe(self, text: str) -> None:
        """Add what a tool has shown."""
        self.full = self.full or len(self.read) + len(text) > self.limit
        if not self.full:
            self.read += "\n" + _plain(text)

    def refusal(self, tool: str, arguments: Mapping[str, Any]) -> str | None:
        """Why a call is refused, or None."""
        if tool not in self.effects:
            return None
        if self.full:
            return f"{tool} is refused: tools have shown more text than can be followed"
        for name, value in arguments.items():
            if any(part in self.read and part not in self.said for part in _parts(value)):
                return f"{tool} is refused: its argument {name!r} was read from a tool's output, not said by the user"
        return None


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _parts(value: Any) -> Iterator[str]:
    """What identifies a value: its texts as a whole, and the identifiers in them."""
    if isinstance(value, str):
        text = _plain(value)
        if len(text) >= SHORTEST:
            yield text
        yield from (found[0].strip(".:-/") for found in IDENTIFIER.finditer(text))
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _parts(inner)
    elif isinstance(value, Sequence | set | frozenset) and not isinstance(value, bytes):
        for inner in value:
            yield from _parts(inner)
    elif isinstance(value, int | float) and not isinstance(value, bool) and len(f"{value:g}") >= SHORTEST:
        yield f"{value:g}"
