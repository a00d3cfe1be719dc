"""An MCP server for callers with a token, which also binds sessions to their owners."""

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server import MCPServer
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings

from agentcomm.protocols.defenses import protect_mcp
from agentcomm.protocols.serving import serve

TOKENS = {"a-long-random-token": "alice"}


class KnownTokens:
    """Looks tokens up; in earnest asks your identity provider, or verifies a signed token and its audience."""

    async def verify_token(self, token):
        """Who holds a token; None if it is not known."""
        name = TOKENS.get(token)
        return None if name is None else AccessToken(token=token, client_id=name, subject=name, scopes=[])


def who(url):
    """The server's application."""
    auth = AuthSettings(
        issuer_url="https://login.example",  # who issues tokens; clients are told to get one there
        resource_server_url=f"{url}/mcp",
        validate_token_resource=False,  # True if verify_token returns AccessToken(resource=...)
    )
    server = MCPServer("who", log_level="WARNING", token_verifier=KnownTokens(), auth=auth)

    @server.tool()
    def am_i() -> str:
        """Name the caller."""
        return get_access_token().client_id

    return protect_mcp(server)


async def main():
    """What a caller with a token is answered, and the status for one without."""
    async with serve(who) as url, httpx2.AsyncClient(headers={"authorization": "Bearer a-long-random-token"}) as http:
        async with Client(streamable_http_client(f"{url}/mcp", http_client=http)) as client:
            result = await client.call_tool("am_i", {})
        async with httpx2.AsyncClient() as stranger:
            refused = await stranger.post(f"{url}/mcp", json={})
    return result.structured_content["result"], refused.status_code
