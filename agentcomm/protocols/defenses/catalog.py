"""Every defense by protocol and name, as functions that change the parts of servers and clients."""

from __future__ import annotations

from agentcomm.protocols.defenses.catalog_a2a import A2A
from agentcomm.protocols.defenses.catalog_mcp import MCP

DEFENSES = {"a2a": A2A, "mcp": MCP}
