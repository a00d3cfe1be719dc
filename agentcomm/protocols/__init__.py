"""Agent protocols: the team's messages over A2A and MCP, with the protocols' own SDKs.

The SDKs are extras (``agentcomm[a2a]``, ``agentcomm[mcp]``). Only the modules that speak a protocol import them, and
only when they are used.
"""
