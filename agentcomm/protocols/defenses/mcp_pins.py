"""MCP tools in a namespace keyed by URL, each pinned to the digest of its description."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcp import Client

from agentcomm.protocols.defenses.errors import RefusedError
from agentcomm.protocols.defenses.pins import Pins

MAX_PAGES = 20


class PinnedTools:
    """A client that calls a tool only while the tool is what it was when it was pinned.

    Every call lists the tools anew, past the cache, because servers need not announce a change.

    Args:
        client: The client.
        url: The server's URL, as the user wrote it.
        pins: The digests.
    """

    def __init__(self, client: Client, url: str, pins: Pins) -> None:
        self._client, self._url, self._pins = client, url, pins

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def list_tools(self, **options: Any) -> Any:
        """List the tools; each that is listed is checked.

        Raises:
            RefusedError: If one changed.
        """
        page = await self._client.list_tools(**options)
        for tool in page.tools:
            self._check(tool)
        return page

    async def call_tool(self, name: str, arguments: dict[str, Any] | None = None, **options: Any) -> Any:
        """Call a tool.

        Raises:
            RefusedError: If it changed, or is not there.
        """
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            page = await self._client.list_tools(cursor=cursor, cache_mode="refresh")
            for tool in page.tools:
                if tool.name == name:
                    self._check(tool)
                    return await self._client.call_tool(name, arguments, **options)
            cursor = page.next_cursor
            if cursor is None:
                break
        raise RefusedError(f"{self._url} offers no tool {name[:80]!r}")

    def _check(self, tool: Any) -> None:
        self._pins.check(self._url, tool.name, tool.model_dump(by_alias=True, mode="json", exclude_none=True))


class ToolSpace:
    """Tools of several servers, called by the server's URL and the tool's name: no server can take another's name.

    Args:
        clients: Clients by URL.
        pins: The digests.
    """

    def __init__(self, clients: Mapping[str, Client], pins: Pins) -> None:
        self._tools = {url: PinnedTools(client, url, pins) for url, client in clients.items()}

    async def call(self, url: str, name: str, arguments: dict[str, Any]) -> Any:
        """Call a tool of one server.

        Raises:
            RefusedError: If there is no such server, or the tool changed.
        """
        if url not in self._tools:
            raise RefusedError(f"no server {url!r} was configured")
        return await self._tools[url].call_tool(name, arguments)
