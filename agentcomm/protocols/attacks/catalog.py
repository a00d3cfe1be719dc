"""All attacks on real protocols; their SDKs are imported when they are asked for."""

from __future__ import annotations

import importlib
from typing import Any

from agentcomm.protocols.attacks.base import ProtocolAttack
from agentcomm.protocols.carrier import PROTOCOLS, Protocol
from agentcomm.protocols.extras import needs

_PLACES: dict[Protocol, dict[str, tuple[str, ...]]] = {
    "a2a": {
        "a2a_wire": ("Replay", "EditRequest", "EditAnswer", "StreamCut"),
        "a2a_strangers": ("Stranger", "ContextReuse"),
        "a2a_cards": ("CardOrigin", "CopiedCard", "ExtendedCard"),
        "a2a_load": ("HalfOpen", "PushSSRF", "HugeBody", "CrossSite"),
        "a2a_delegation": ("DelegationCycle",),
        "a2a_directive": ("Directive",),
    },
    "mcp": {
        "mcp_wire": ("Replay", "EditRequest", "EditAnswer", "CachePoisoning", "Downgrade"),
        "mcp_tools": ("RugPull", "NameCollision", "ApprovalReplayed", "ApprovalOmitted"),
        "mcp_sessions": ("SessionHijack", "ResumptionLeak", "CrossSite", "HugeBody"),
        "mcp_directive": ("Directive",),
    },
}


def attacks(*protocols: Protocol) -> list[ProtocolAttack[Any]]:
    """The attacks on protocols, all if none is named.

    Raises:
        PluginError: If the SDK of a protocol is not installed.
    """
    made: list[ProtocolAttack[Any]] = []
    for protocol in protocols or PROTOCOLS:
        for module, names in _PLACES[protocol].items():
            with needs(protocol):
                found = importlib.import_module(f"agentcomm.protocols.attacks.{module}")
            made += [getattr(found, name)() for name in names]
    return made
