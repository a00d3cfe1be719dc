"""Directives in the results of an MCP tool."""

from __future__ import annotations

import base64

from agentcomm.protocols.attacks.base import Outcome
from agentcomm.protocols.attacks.directives import OWN, WANTED, action_after, message
from agentcomm.protocols.attacks.mcp_lab import MCPAttack, MCPParts, calculator, client, result_of, serving
from agentcomm.protocols.attacks.trying import tried


class Directive(MCPAttack):
    """A tool that the client trusts puts a directive into its result."""

    name = "directive"
    finding = "a directive in a tool's result reaches the member, whoever signed it"

    async def attempt(self, parts: MCPParts) -> Outcome:
        """Read an ordinary result, then one with a directive."""
        served = calculator(parts)

        def observe(poisoned: bool) -> str:
            return base64.b64encode(message(poisoned)).decode()

        served.server.add_tool(observe, name="observe", description="Observe.")
        async with serving(parts, served) as target, client(parts, target.url, "alice") as alice:
            results = [await tried(alice.call_tool("observe", {"poisoned": bad})) for bad in (False, True)]
        done = [action_after(base64.b64decode(result_of(got.value))) if got.worked else None for got in results]
        return Outcome(done[1] == WANTED, done[0] == OWN, {"actions": done})
