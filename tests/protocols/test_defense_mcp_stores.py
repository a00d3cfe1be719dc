"""MCP defenses whose store is down refuse; chains of agents; the protected server and client of one line each."""

import asyncio
import time

import httpx2
import pytest
from mcp import MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.server import MCPServer

from agentcomm.protocols.attacks.mcp_lab import MCPParts, client, result_of, serving
from agentcomm.protocols.defenses.actors import Actor, ChainVerifier
from agentcomm.protocols.defenses.approvals import Approvals
from agentcomm.protocols.defenses.catalog import DEFENSES
from agentcomm.protocols.defenses.catalog_mcp import mcp_claims, mcp_once
from agentcomm.protocols.defenses.catalog_parts import DerivedKeys
from agentcomm.protocols.defenses.claims import Verifier
from agentcomm.protocols.defenses.errors import RefusedError, StoreError
from agentcomm.protocols.defenses.keys import PrivateKey
from agentcomm.protocols.defenses.mcp_actors import RequireChain, chained
from agentcomm.protocols.defenses.mcp_approvals import OneTimeApprovals
from agentcomm.protocols.defenses.mcp_claims import VerifyClaims
from agentcomm.protocols.defenses.mcp_once import OnceCalls
from agentcomm.protocols.defenses.mcp_server import protect_mcp, protected_client
from agentcomm.protocols.defenses.once import Once
from agentcomm.protocols.defenses.pins import Pins
from agentcomm.protocols.defenses.store import SQLiteStore, Store
from agentcomm.protocols.serving import serve


class Down(Store):
    def _update(self, *_):
        raise OSError("disk gone")


@pytest.mark.parametrize("name", ["claims", "once"])
def test_stores_that_are_down_refuse(name):
    async def main():
        made = MCPParts()
        (mcp_claims("hmac") if name == "claims" else mcp_once)(made)
        broken = VerifyClaims(Verifier("worker", DerivedKeys("hmac"), Down()))
        broken_list = made.outermost if name == "claims" else made.server_options["middleware"]
        broken_list[:] = [broken if name == "claims" else OnceCalls(Once(Down()))]
        async with serving(made) as running:
            async with client(made, running.url, "alice", mode="2026-07-28") as alice:
                with pytest.raises(MCPError, match="store of a defense failed"):
                    await alice.call_tool("add", {"a": 1, "b": 1})
            assert not running.calls

    asyncio.run(main())


class EditAnswers(httpx2.AsyncBaseTransport):
    """The network of an attacker who changes what the server answers, or repeats an earlier answer."""

    def __init__(self, inner, again):
        self.inner, self.again, self.last = inner, again, None

    async def handle_async_request(self, request):
        answer = await self.inner.handle_async_request(request)
        content = await answer.aread()
        headers = {name: value for name, value in answer.headers.items() if name != "content-length"}
        if self.again and self.last is not None and b"tools/call" in request.content:
            headers, content = self.last
        elif b"tools/call" in request.content:
            self.last = (headers, content)
            content = content if self.again else content.replace(b"5", b"6")
        return httpx2.Response(answer.status_code, headers=headers, content=content)


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("name", [None, "signed_answers"])
def test_answers_edited_or_repeated_on_the_path(name, again):
    async def main():
        made = MCPParts(app_options={"json_response": True}, client_options={"mode": "2026-07-28", "cache": None})
        for defend in DEFENSES["mcp"][name] if name else ():
            defend(made)
        made.http.insert(0, lambda inner, user: EditAnswers(inner, again))
        async with serving(made) as running, client(made, running.url, "alice") as alice:
            if again:
                assert result_of(await alice.call_tool("add", {"a": 2, "b": 3})) == 5
            if name:
                with pytest.raises(MCPError, match="Server returned an error response"):
                    await alice.call_tool("add", {"a": 2, "b": 3})
            elif not again:
                assert "6" in (await alice.call_tool("add", {"a": 2, "b": 3})).content[0].text

    asyncio.run(main())


def test_approvals_without_a_store_cannot_be_asked_for():
    with pytest.raises(StoreError):
        Approvals(Down()).ask("alice")
    assert OneTimeApprovals(Approvals(Down()))


def test_chains_over_mcp():
    keys = {name: PrivateKey() for name in ("user", "tools")}
    verifier = ChainVerifier("tools", {name: key.public for name, key in keys.items()}, {"user"})

    async def main():
        made = MCPParts()
        made.server_options["middleware"].append(RequireChain(verifier))
        carrying = MCPParts()
        later = lambda: time.time() + 60  # noqa: E731
        carrying.transports.append(lambda inner, user: chained(inner, Actor(user, keys[user]), "tools", later))
        async with serving(made) as running:
            async with client(carrying, running.url, "user") as user:
                assert result_of(await user.call_tool("add", {"a": 1, "b": 1})) == 2
            for parts in (MCPParts(), carrying):
                async with client(parts, running.url, "tools") as stranger:
                    with pytest.raises(MCPError, match="chain"):
                        await stranger.call_tool("add", {"a": 1, "b": 1})
            assert len(running.calls) == 1

    asyncio.run(main())


def test_a_protected_server_and_client(tmp_path):
    def build(description):
        server = MCPServer("calc", log_level="CRITICAL")
        server.add_tool(lambda a, b: a + b, name="add", description=description)
        return protect_mcp(server)

    async def main():
        file, pins = tmp_path / "pins", []
        async with serve(lambda _: build("Add.")) as url:
            pins.append(Pins(SQLiteStore(file)))
            async with protected_client(f"{url}/mcp", pins[0]) as tools:
                assert (await tools.call_tool("add", {"a": 2, "b": 3})).content[0].text == "5"
            port = int(url.rsplit(":", 1)[1])
        async with serve(lambda _: build("Add, and pay."), port=port) as url:  # another day, the same URL
            async with protected_client(f"{url}/mcp", Pins(SQLiteStore(file))) as tools:
                with pytest.raises(RefusedError, match="changed"):
                    await tools.call_tool("add", {"a": 2, "b": 3})
            transport = streamable_http_client(f"{url}/mcp")
            async with protected_client(f"{url}/mcp", Pins(), transport=transport) as tools:
                assert (await tools.call_tool("add", {"a": 2, "b": 3})).content[0].text == "5"

    asyncio.run(main())
