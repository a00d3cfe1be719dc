"""The table of attacks, defenses and protocols: which attack succeeds where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentcomm.protocols.attacks.base import Defense, Outcome, ProtocolAttack


@dataclass(frozen=True)
class Cell:
    """One attack under one defense.

    Attributes:
        attack: Name of the attack.
        protocol: The attacked protocol.
        defense: Name of the defense; empty for none.
        outcome: What the attack achieved.
    """

    attack: str
    protocol: str
    defense: str
    outcome: Outcome


async def table(
    attacks: Sequence[ProtocolAttack[Any]], defenses: Mapping[str, Mapping[str, Sequence[Defense[Any]]]]
) -> list[Cell]:
    """Carry out every attack undefended and under every defense of its protocol, one after the other.

    Args:
        attacks: The attacks.
        defenses: By protocol and name: the functions that change the parts of servers and clients.
    """
    cells = []
    for attack in attacks:
        for name, group in {"": (), **defenses.get(attack.protocol, {})}.items():
            cells.append(Cell(attack.name, attack.protocol, name, await attack.run(group)))
    return cells
