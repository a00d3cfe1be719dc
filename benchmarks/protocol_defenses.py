"""What defenses cost per hop over A2A and MCP: python -m benchmarks.protocol_defenses; writes protocol_defenses.md.

One process serves the bare SDK and each defense at a port of its own. Only one client calls at a time, so the CPU time
that the process spends in a run is that defense's; runs take turns, so that the load of the machine is the same for
all. CPU time per call, of server and client together, is the figure to trust on a busy machine.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agentcomm.protocols.defenses.catalog import DEFENSES

ROWS = {
    "a2a": [
        *(
            "bare",
            "owners",
            "claims_hmac",
            "claims_ed25519",
            "http_signatures",
            "once",
            "contexts",
            "timeouts",
            "cards",
        ),
        *("limits", "browsers", "all"),
    ],
    "mcp": [
        *("bare", "claims_hmac", "claims_ed25519", "http_signatures", "once", "approvals", "pins", "versions"),
        *("limits", "browsers", "all"),
    ],
}
TOGETHER = {  # what "all" is
    "a2a": ["claims_hmac", "once", "contexts", "timeouts", "limits", "browsers"],
    "mcp": ["claims_hmac", "once", "approvals", "versions", "limits", "browsers"],
}


def lab(protocol: str) -> Any:
    """The module with the servers and clients of a protocol."""
    from agentcomm.protocols.attacks import a2a_lab, mcp_lab

    return a2a_lab if protocol == "a2a" else mcp_lab


def made(protocol: str, name: str) -> Any:
    """Parts with one defense, none (``bare``), or all that go together (``all``)."""
    parts = lab(protocol).A2AParts() if protocol == "a2a" else lab(protocol).MCPParts()
    functions: list[Any] = []
    for defense in {"bare": [], "all": TOGETHER[protocol]}.get(name, [name]):
        functions += [each for each in DEFENSES[protocol][defense] if each not in functions]
    for defend in functions:
        defend(parts)
    unbounded(parts)
    return parts


def unbounded(parts: Any) -> None:
    """Quotas that a benchmark does not run into."""
    from agentcomm.protocols.defenses.asgi import LimitRequests
    from agentcomm.protocols.defenses.limits import Quota

    def limited(app: Any) -> Any:
        return LimitRequests(app, quota=Quota(rate=1e6, burst=10**6, at_once=10**4))

    parts.middleware = [limited if isinstance(layer(None), LimitRequests) else layer for layer in parts.middleware]


async def serve(protocol: str) -> None:
    """Serve all rows; answer each line of standard input with the CPU time spent, until it is closed."""
    module, urls = lab(protocol), {}
    async with contextlib.AsyncExitStack() as stack:
        for name in ROWS[protocol]:
            parts = made(protocol, name)
            opened = module.server(parts) if protocol == "a2a" else module.serving(parts, json_response=True)
            urls[name] = (await stack.enter_async_context(opened)).url
        print(json.dumps(urls), flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            print(time.process_time(), flush=True)


@dataclass
class Row:
    """One defense.

    Attributes:
        call: One request.
        spent: Seconds of CPU time that its server has spent.
        server_ms: CPU time of the server per request of each run, in ms.
        client_ms: The same of the client.
        rate: Requests per second of each run.
    """

    call: Callable[[], Awaitable[Any]]
    spent: Callable[[], float]
    server_ms: list[float] = field(default_factory=list)
    client_ms: list[float] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)


@contextlib.asynccontextmanager
async def started(protocol: str) -> AsyncIterator[dict[str, Row]]:
    """A process with all servers, and a client of each."""
    command = [sys.executable, "-m", "benchmarks.protocol_defenses", "--serve", protocol]
    module, process = lab(protocol), subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    ask, told = process.stdin, process.stdout

    def spent() -> float:
        ask.write("\n")
        ask.flush()
        return float(told.readline())

    try:
        urls = json.loads(await asyncio.to_thread(process.stdout.readline))
        async with contextlib.AsyncExitStack() as stack:
            rows: dict[str, Row] = {}
            for name, url in urls.items():
                caller = await stack.enter_async_context(module.client(made(protocol, name), url, "alice"))
                rows[name] = Row(functools.partial(one_call, module, caller), spent)
            yield rows
    finally:
        process.stdin.close()
        process.wait(20)


async def one_call(module: Any, caller: Any) -> None:
    """Add two numbers."""
    if hasattr(module, "send"):
        assert module.result_of(await module.send(caller, {"a": 1, "b": 2})) == {"sum": 3.0}
    else:
        assert module.result_of(await caller.call_tool("add", {"a": 1, "b": 2})) == 3


async def run(row: Row, calls: int) -> None:
    """One run of a row."""
    before, own, begin = row.spent(), time.process_time(), time.perf_counter()
    for _ in range(calls):
        await row.call()
    row.rate.append(calls / (time.perf_counter() - begin))
    row.client_ms.append((time.process_time() - own) / calls * 1e3)
    row.server_ms.append((row.spent() - before) / calls * 1e3)


async def measure(protocol: str, calls: int, runs: int) -> dict[str, Row]:
    """All rows of a protocol, in turns."""
    async with started(protocol) as rows:
        for row in rows.values():
            await run(row, 10)
            row.server_ms.clear(), row.client_ms.clear(), row.rate.clear()
        for turn in range(runs):
            order = list(rows.values())
            for row in order[turn % len(order) :] + order[: turn % len(order)]:
                await run(row, calls)
        return rows


def interceptor(kind: str, repeats: int = 300) -> float:
    """CPU time of signing and verifying one A2A message, in ms, timed alone: the median of many."""
    from a2a.client.interceptors import BeforeArgs
    from a2a.server.context import ServerCallContext

    from agentcomm.protocols.attacks.a2a_lab import Worker, agent_card, request
    from agentcomm.protocols.defenses.a2a_claims import SignedHandler, SignMessages
    from agentcomm.protocols.defenses.catalog_parts import DerivedKeys
    from agentcomm.protocols.defenses.claims import Signer, Verifier

    keys, card, spent = DerivedKeys(kind), agent_card("http://127.0.0.1:1/"), []
    signer = SignMessages(Signer("alice", keys["alice"]), lambda card: card.name)
    handler = SignedHandler(
        verifier=Verifier("worker", keys),
        agent_executor=Worker(),
        task_store=object(),
        agent_card=card,  # type: ignore[arg-type]
    )
    context = ServerCallContext()

    async def once() -> None:
        args = BeforeArgs(request({"a": 1, "b": 2}), "send_message", card)
        begin = time.thread_time()
        await signer.before(args)
        handler._verified(args.input, context)
        spent.append((time.thread_time() - begin) * 1e3)

    async def all_of_them() -> None:
        for _ in range(repeats):
            await once()

    asyncio.run(all_of_them())
    return statistics.median(spent)


def table(protocol: str, rows: dict[str, Row]) -> list[str]:
    """Markdown."""
    bare = [s + c for s, c in zip(rows["bare"].server_ms, rows["bare"].client_ms, strict=True)]
    lines = [f"## {protocol.upper()}", "", "| defense | server ms | client ms | together | against bare | calls/s |"]
    lines.append("|---|---|---|---|---|---|")
    for name, row in rows.items():
        server, client = statistics.median(row.server_ms), statistics.median(row.client_ms)
        ratios = [(s + c) / b for s, c, b in zip(row.server_ms, row.client_ms, bare, strict=True)]  # of the same turn
        more = f"{(statistics.median(ratios) - 1) * 100:+.0f} %" if name != "bare" else ""
        rate = statistics.median(row.rate)
        lines.append(f"| {name} | {server:.2f} | {client:.2f} | {total(row):.2f} | {more} | {rate:.0f} |")
    return [*lines, ""]


def total(row: Row) -> float:
    """CPU time of a request in ms, server and client: median over the runs."""
    return statistics.median(s + c for s, c in zip(row.server_ms, row.client_ms, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--calls", type=int, default=40)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    if options.serve:
        return asyncio.run(serve(options.serve))
    a2a, mcp = (", ".join(TOGETHER[protocol]) for protocol in ("a2a", "mcp"))
    about = (
        f"`python -m benchmarks.protocol_defenses --calls {options.calls} --runs {options.runs}`: one client, one call"
        " at a time, loopback, servers in a process of their own. CPU time per call in ms; medians of the runs, which"
        f" take turns. Load of the {os.cpu_count()} cores at the start: {os.getloadavg()[0]:.1f}. `owners` is the SDK's"
        f" owner hook; `all` is {a2a} (A2A) and {mcp} (MCP). MCP servers answer in JSON."
    )
    lines = ["# Cost of defenses on A2A and MCP", "", about, ""]
    for protocol in ("a2a", "mcp"):
        rows = asyncio.run(measure(protocol, options.calls, options.runs))
        lines += table(protocol, rows)
        if protocol == "a2a":
            bare = total(rows["bare"])
            for kind in ("hmac", "ed25519"):
                alone = interceptor(kind)
                lines.append(
                    f"Signing and verifying alone ({kind}): {alone:.2f} ms, {alone / (bare + alone) * 100:.1f} % of a"
                    " signed call; the target is at most 10 %."
                )
                lines.append("")
    text = "\n".join(lines).rstrip() + "\n"
    Path(__file__).with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
