"""Servers on loopback sockets: ASGI applications under uvicorn, at ports that are free."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from agentcomm.protocols.carrier import Application

HOST = "127.0.0.1"
KEEP_ALIVE = 75  # seconds until an idle connection is closed


@asynccontextmanager
async def serve(
    make: Callable[[str], Application], host: str = HOST, port: int = 0, **options: Any
) -> AsyncIterator[str]:
    """Serve an application while the block runs.

    Args:
        make: Makes the application, given the URL at which it will be served.
        host: Address to bind.
        port: Port to bind; 0 for a free one.
        options: Further options of ``uvicorn.Config``.

    Yields:
        The URL, without a slash at its end.
    """
    import uvicorn  # an extra

    class Server(uvicorn.Server):
        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            """Leave signals to the program that serves: Ctrl-C then cancels its main task, which ends this block."""
            yield

    with socket.create_server((host, port), backlog=256) as listening:
        url = f"http://{host}:{listening.getsockname()[1]}"
        defaults: dict[str, Any] = {"log_level": "critical", "access_log": False, "timeout_graceful_shutdown": 1}
        # Clients of httpx let go of a connection after 5 s, as servers of uvicorn do. The client has to be the first:
        # otherwise its next request may meet a connection that is just being closed, and fail.
        defaults["timeout_keep_alive"] = KEEP_ALIVE
        config = uvicorn.Config(make(url), **(defaults | options))
        server = Server(config)
        running = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            while not server.started:
                if running.done():
                    await running  # raises what kept it from starting
                    raise RuntimeError(f"the server at {url} ended before it started")
                await asyncio.sleep(0.005)
            yield url
        finally:
            server.should_exit = True
            await running
