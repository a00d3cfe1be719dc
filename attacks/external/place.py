"""Arguments for the position of attacks on messages: on the path of links, or a compromised agent."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from agentcomm.contracts.attack import AttackConfig
from agentcomm.contracts.threat_model import Position


class PlaceConfig(AttackConfig):
    """Arguments of attacks that are either on the path of links or at a compromised agent."""

    node: int | None = Field(None, ge=0, description="the compromised agent; none for an attacker on the path of links")
    links: tuple[tuple[int, int], ...] | None = Field(
        None, description="attacked links as [sender, receiver]; all when not given"
    )
    probability: float = Field(1.0, ge=0, le=1, description="chance that a message in reach is attacked")

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.node is not None and self.links is not None:
            raise ValueError("links are for attackers on the path: leave out node or links")
        return self

    def position(self) -> Position:
        """The attacker's position."""
        return place(self.node, self.links)


def place(node: int | None, links: tuple[tuple[int, int], ...] | None) -> Position:
    """The position of a compromised agent, or without a node that of an attacker on the path of links."""
    return Position(kind="edge", links=links) if node is None else Position(kind="node", node=node)
