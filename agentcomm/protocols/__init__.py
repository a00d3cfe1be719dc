"""A2A and MCP: the protocols that agents speak."""
