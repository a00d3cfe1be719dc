"""Load and soak of a protected A2A server: python -m benchmarks.protocol_load [--seconds 600] [--tasks 1000].

First ``--tasks`` tasks are open at the same time; then callers send for ``--seconds``: plain calls, streams, messages
that arrive twice at once, and tasks that are left waiting for input. The server runs in a process of its own and says
at the start, in the middle and at the end what it holds. ``protocol_load.md`` gets what was seen. The exit status is 1
if anything was lost or executed twice, if tasks are left, or if memory grew in the second half.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import subprocess
import sys
import time
from contextlib import AsyncExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

AGE, PARKED = 5.0, 2.0  # seconds after which stored tasks and parked ones are let go
WINDOW = 20.0  # seconds for which message ids are remembered
GROWTH = 1.1  # of memory in the second half
CALLERS = 16


async def serve(tasks: int) -> None:
    """Serve until standard input closes; answer each line of it with what the server holds."""
    from a2a.server.tasks import InMemoryTaskStore

    from agentcomm.protocols.attacks.a2a_lab import A2AParts, Worker, server
    from agentcomm.protocols.defenses.a2a_server import ProtectedHandler
    from agentcomm.protocols.defenses.a2a_tasks import AgedTaskStore
    from agentcomm.protocols.defenses.a2a_users import BearerUsers
    from agentcomm.protocols.defenses.asgi import protect
    from agentcomm.protocols.defenses.limits import Quota
    from agentcomm.protocols.defenses.once import Once

    class Counting(Worker):
        """Counts executions, and holds the first tasks until all of them are there."""

        ran: dict[str, int]
        open = most = 0

        def __init__(self) -> None:
            super().__init__()
            self.ran, self.all_there = {}, asyncio.Event()

        async def execute(self, context: Any, event_queue: Any) -> None:
            key = context.message.message_id
            self.ran[key] = self.ran.get(key, 0) + 1
            self.open += 1
            self.most = max(self.most, self.open)
            if self.open >= tasks:
                self.all_there.set()
            try:
                if key.startswith("held"):
                    await asyncio.wait_for(self.all_there.wait(), 300)
                await super().execute(context, event_queue)
            finally:
                self.open -= 1
                self.calls.clear()

    class Handler(ProtectedHandler):
        def __init__(self, *, task_store: Any, **options: Any) -> None:
            aged = AgedTaskStore(InMemoryTaskStore(), seconds=AGE, share=4 * tasks)
            super().__init__(task_store=aged, interrupted_task_timeout=PARKED, **options)

    worker, once = Counting(), Once[Any](seconds=WINDOW)
    quota = Quota(rate=1e6, burst=10**6, at_once=10**4)
    parts = A2AParts(
        handler=Handler,
        handler_options={"once": once},
        route_options={"context_builder": BearerUsers(lambda token: token)},
        middleware=[lambda app: protect(app, quota=quota)],
    )
    async with server(parts, worker) as running:
        print(running.url, flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            handler: Any = running.handler
            ran = worker.ran
            await handler.task_store.forget_old()
            state = {
                "memory_mb": round(psutil.Process().memory_info().rss / 1e6, 1),
                "asyncio_tasks": len(asyncio.all_tasks()),
                "running": len(handler._active_task_registry._active_tasks),
                "stored": len(handler.task_store),
                "ids": len(once),
                "executed": len(ran),
                "twice": sum(count > 1 for count in ran.values()),
                "most_at_once": worker.most,
            }
            ran.clear()  # ids are random: what is executed twice is executed twice soon
            print(json.dumps(state), flush=True)


class Server:
    """The server's process."""

    def __init__(self, tasks: int) -> None:
        command = [sys.executable, "-m", "benchmarks.protocol_load", "--serve", "--tasks", str(tasks)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.url = self.line()

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    async def state(self) -> dict[str, Any]:
        """What the server holds."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        state: dict[str, Any] = json.loads(await asyncio.to_thread(self.line))
        return state

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(30)


class Load:
    """Callers of the server.

    Attributes:
        sent: Messages sent.
        lost: Those without the right answer.
        broken: Connections that broke; the message was sent again.
        errors: A few of the reasons.
    """

    def __init__(self, callers: list[Any], streams: list[Any]) -> None:
        self.callers, self.streams = callers, streams
        self.sent = self.lost = self.broken = 0
        self.errors: list[str] = []

    async def held(self, tasks: int) -> None:
        """Tasks that are all open at the same time."""
        await asyncio.gather(*(self.one(self.callers[n % CALLERS], f"held-{n}") for n in range(tasks)))

    async def attempt(self, caller: Any, data: dict[str, Any], key: str) -> Any:
        """Send a message, and again if the connection breaks, which is safe: it is executed once.

        A server closes idle connections after some seconds, and a request that is under way then fails.
        """
        from a2a.client.errors import A2AClientError

        from agentcomm.protocols.attacks.a2a_lab import send

        for _ in range(3):
            with contextlib.suppress(A2AClientError):
                return await send(caller, data, message_id=key)
            self.broken += 1
        return await send(caller, data, message_id=key)

    async def one(self, caller: Any, key: str, twice: bool = False) -> None:
        """One message; with ``twice``, two copies at once, which must have one outcome."""
        from agentcomm.protocols.attacks.a2a_lab import result_of, task_of

        self.sent += 1
        a = random.randrange(1000)
        try:
            calls = (self.attempt(caller, {"a": a, "b": 1}, key) for _ in range(1 + twice))
            answers = await asyncio.gather(*calls)
            if len({task_of(events).id for events in answers}) != 1 or result_of(answers[0]) != {"sum": a + 1.0}:
                raise ValueError(f"wrong answer to {key}")
        except Exception as error:
            self.lost += 1
            self.errors = [*self.errors, f"{type(error).__name__}: {error}"][:5]

    async def stream(self, caller: Any, key: str) -> None:
        """One message whose answer is a stream."""
        from agentcomm.protocols.defenses.a2a_streams import CompleteStreams

        self.sent += 1
        try:
            await self.attempt(CompleteStreams(caller), {"a": 1, "b": 1}, key)
        except Exception as error:
            self.lost += 1
            self.errors = [*self.errors, f"{type(error).__name__}: {error}"][:5]

    async def soak(self, seconds: float, seed: int) -> None:
        """All callers, until the time is over."""
        end = time.monotonic() + seconds

        async def loop(place: int) -> None:
            draw = random.Random(f"{seed}/{place}")
            while time.monotonic() < end:
                kind, key = draw.random(), f"{draw.getrandbits(64):x}"
                if kind < 0.1:
                    await self.one(self.callers[place], key, twice=True)
                elif kind < 0.2:
                    await self.stream(self.streams[place], key)
                elif kind < 0.25:
                    self.sent += 1
                    await self.attempt(self.callers[place], {"wait": True}, key)
                else:
                    await self.one(self.callers[place], key)

        await asyncio.gather(*map(loop, range(CALLERS)))


async def load(seconds: float, tasks: int, seed: int) -> bool:
    """Load, then soak; whether all went well."""
    from agentcomm.protocols.attacks import a2a_lab

    server, parts = await asyncio.to_thread(Server, tasks), a2a_lab.A2AParts()
    try:
        async with AsyncExitStack() as stack:
            made: list[list[Any]] = [[], []]
            for streaming in (False, True):
                for n in range(CALLERS):
                    opened = a2a_lab.client(parts, server.url, f"caller-{n}", streaming)
                    made[streaming].append(await stack.enter_async_context(opened))
            callers = Load(*made)
            for each in made[0]:
                each._transport.httpx_client.timeout = 300  # all tasks of the first phase wait for the last one
            states = {"at rest": await show(server, "at rest")}
            begin = time.monotonic()
            await callers.held(tasks)
            took = time.monotonic() - begin
            states[f"{tasks} tasks were open at once, for {took:.0f} s"] = await show(server, "tasks")
            for half in (1, 2):
                await callers.soak(seconds / 2, seed + half)
                await asyncio.sleep(2 * AGE)
                states[f"after {half * seconds / 2:.0f} s of calls"] = await show(server, f"soak, half {half}")
    finally:
        server.stop()
    return judge(states, callers, tasks)


def judge(states: dict[str, dict[str, Any]], callers: Load, tasks: int) -> bool:
    """Write what was seen; whether all went well."""
    rest, held, first, last = states.values()
    twice = held["twice"] + first["twice"] + last["twice"]
    grew = last["memory_mb"] > GROWTH * first["memory_mb"]
    left = last["running"] + last["stored"] > 0 or last["asyncio_tasks"] > rest["asyncio_tasks"] + 2 * CALLERS
    verdict = (
        f"{callers.sent} messages of {CALLERS} callers; connections that broke, whose message was sent again:"
        f" {callers.broken}. Lost: {callers.lost}. Executed twice: {twice}. Tasks left: {'yes' if left else 'none'}."
        f" Memory grew by more than {GROWTH - 1:.0%} in the second half: {'yes' if grew else 'no'}."
    )
    names = list(rest)
    lines = [
        "# Load and soak of a protected A2A server",
        "",
        f"`python -m benchmarks.protocol_load`, a2a-sdk {version('a2a-sdk')}, `ProtectedHandler` behind `protect`.",
        "",
        f"| | {' | '.join(name.replace('_', ' ') for name in names)} |",
        "|---" * (len(names) + 1) + "|",
        *(f"| {what} | {' | '.join(str(state[name]) for name in names)} |" for what, state in states.items()),
        "",
        verdict,
        *(f"- {error}" for error in callers.errors),
    ]
    Path(__file__).with_suffix(".md").write_text("\n".join(lines) + "\n")
    print(verdict)
    return not (callers.lost or twice or left or grew) and held["most_at_once"] >= tasks


async def show(server: Server, what: str) -> dict[str, Any]:
    """Print what the server holds."""
    state = await server.state()
    print(f"{what}: " + ", ".join(f"{name} {value}" for name, value in state.items()), flush=True)
    return state


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        return asyncio.run(serve(options.tasks))
    sys.exit(0 if asyncio.run(load(options.seconds, options.tasks, options.seed)) else 1)


if __name__ == "__main__":
    main()
