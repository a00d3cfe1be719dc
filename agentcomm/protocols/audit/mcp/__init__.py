"""Probes of MCP over Streamable HTTP."""
