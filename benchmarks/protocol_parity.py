"""Attacks and defenses on the batch, A2A and MCP, side by side: python -m benchmarks.protocol_parity.

Writes protocol_parity.md. Fails if the three disagree where ``REASONS`` does not say why.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

from agentcomm.protocols.attacks.catalog import attacks
from agentcomm.protocols.carrier import Protocol
from agentcomm.protocols.defenses.catalog import DEFENSES
from agentcomm.protocols.parity import table
from benchmarks.batch_parity import COUNTERPARTS, WITHOUT, outcome

PLACES = ("batch", "a2a", "mcp")
Row = tuple[str, str]  # attack and defense
Words = dict[Row, dict[str, str]]  # by row and place

# Why outcomes differ, by attack and defenses.
REASONS: dict[tuple[str, tuple[str, ...]], str] = {
    ("edit_request", ("signed_answers",)): "A2A and MCP sign requests and answers apart; the batch seals every message",
    (
        "edit_answer",
        ("claims_hmac", "claims_ed25519", "http_signatures"),
    ): "A2A and MCP sign requests and answers apart; the batch seals every message",
    ("stream_cut", ("signed_answers",)): "a signed stream has a signed end; the batch's exchanges have no end to miss",
    ("huge_body", ("", "*")): "mcp limits bodies to 4 MiB by itself, a2a-sdk has no limit",
    (
        "cross_site",
        ("once",),
    ): "over MCP the key is the client's own and obligatory; the messageId of A2A anybody can make",
}


async def protocols(names: Iterable[str] = (), *of: Protocol) -> Words:
    """Outcomes over A2A and MCP.

    Args:
        names: Names of attacks; all if empty.
        of: Protocols; all if none is named.
    """
    chosen = [attack for attack in attacks(*of) if not names or attack.name in set(names)]
    words: Words = {}
    for cell in await table(chosen, DEFENSES):
        words.setdefault((cell.attack, cell.defense), {})[cell.protocol] = cell.outcome.word
    return words


def with_batch(words: Words) -> Words:
    """The same with the batch's outcomes."""
    return {row: {"batch": outcome(*row), **found} for row, found in words.items()}


def reason(attack: str, defense: str) -> str:
    """Why the outcomes of a row differ; empty if that is not known."""
    for (name, defenses), text in REASONS.items():
        if name == attack and (defense in defenses or "*" in defenses):
            return text
    return ""


def verdict(row: Row, found: dict[str, str]) -> str:
    """``yes`` if all outcomes agree, else the reason; empty with one outcome, ``UNEXPLAINED`` without a reason."""
    given = {word for word in found.values() if word}
    if sum(map(bool, found.values())) < 2:
        return ""
    return "yes" if len(given) == 1 else reason(*row) or "UNEXPLAINED"


def unexplained(words: Words) -> list[Row]:
    """Rows whose outcomes differ for no known reason, or in which honest callers are not served."""
    return [
        row for row, found in words.items() if verdict(row, found) == "UNEXPLAINED" or "inconclusive" in found.values()
    ]


def page(words: Words) -> str:
    """Markdown."""
    head = [
        "# Attacks and defenses on the batch, A2A and MCP",
        "",
        "`python -m benchmarks.protocol_parity`: each attack on the SDKs of A2A and MCP, and its counterpart in the"
        " batch (`benchmarks/batch_parity.py`), without defenses and with each. **succeeded**: the attacker got what it"
        " is after; stopped: it did not, and honest callers were served. Left out: defenses without a counterpart in"
        " the batch under which an attack fares as without any. An empty cell: there is no such attack or defense.",
        "",
        f"{len(words)} rows with {sum(bool(word) for found in words.values() for word in found.values())} outcomes;"
        f" {sum(verdict(row, found) == 'yes' for row, found in words.items())} rows have two or three, which agree.",
        "",
        "| attack | defense | batch | A2A | MCP | agree, or why not |",
        "|---|---|---|---|---|---|",
    ]
    lines, names = [], list(dict.fromkeys(attack for attack, _ in words))
    for name in names:
        bare = words[name, ""]
        for row, found in ((row, found) for row, found in words.items() if row[0] == name):
            same = all(word in ("", bare.get(place)) for place, word in found.items())
            if row[1] and same and not found["batch"]:
                continue
            cells = [found.get(place, "").replace("succeeded", "**succeeded**") for place in PLACES]
            lines.append(f"| {name} | {row[1] or 'none'} | {' | '.join(cells)} | {verdict(row, found)} |")
    counterparts = [
        f"| {name} | `{of.attack}` | `{of.counts}` above 0 | "
        + "; ".join(f"{defense}: `{'+'.join(chosen)}`" for defense, chosen in of.defenses.items())
        + " |"
        for name, of in COUNTERPARTS.items()
    ]
    tail = [
        "",
        "## Counterparts in the batch",
        "",
        "| attack | in the batch | success | defenses |",
        "|---|---|---|---|",
    ]
    none = ["", "Attacks without a counterpart, and why:", "", *(f"- {name}: {why}" for name, why in WITHOUT.items())]
    return "\n".join(chain(head, lines, tail, counterparts, none)) + "\n"


def main() -> None:
    logging.disable(logging.CRITICAL)  # SDKs log attacks as errors, with tracebacks
    words = with_batch(asyncio.run(protocols()))
    text = page(words)
    Path(__file__).with_suffix(".md").write_text(text)
    print(text)
    if rows := unexplained(words):
        raise SystemExit(f"unexplained or inconclusive: {rows}")


if __name__ == "__main__":
    main()
