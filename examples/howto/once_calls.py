"""An MCP server that executes each call once, and a client that gives each call a key."""

from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server import MCPServer

from agentcomm.protocols.defenses import OnceCalls, keyed, protect_mcp
from agentcomm.protocols.onpath import OnPath
from agentcomm.protocols.serving import serve
from agentcomm.protocols.tampering import read_rules
from agentcomm.protocols.taps import tampered

paid: list[str] = []


def bank(url):
    """The server's application."""
    server = MCPServer("bank", log_level="WARNING", middleware=[OnceCalls()])  # refuses calls without a key

    @server.tool()
    def pay(to: str) -> str:
        """Pay 10 euros."""
        paid.append(to)
        return f"paid {to}"

    return protect_mcp(server)


async def main():
    """Pay twice over a network that sends each call twice; return what was paid, and how many calls were repeated."""
    twice = OnPath("mcp", read_rules(["duplicate:direction=request,method=tools/call"]))
    async with serve(bank) as url:
        network = tampered(streamable_http_client(f"{url}/mcp"), twice)
        # Without the attacker: Client(keyed(streamable_http_client(f"{url}/mcp")))
        # With pins: protected_client(url, pins, transport=keyed(streamable_http_client(url)))
        async with Client(keyed(network), mode="2026-07-28") as client:
            await client.call_tool("pay", {"to": "bob"})
            await client.call_tool("pay", {"to": "bob"})  # another call: it gets a key of its own
    return paid, twice.done["duplicated"]
