"""The protocol MCP, over the package ``mcp``."""
