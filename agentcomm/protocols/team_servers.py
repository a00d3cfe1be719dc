"""The servers of a team's agents and a client of each, in a thread of this process."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

from agentcomm.base.errors import ProtocolError
from agentcomm.protocols.carrier import Carrier, Handle, Sender
from agentcomm.protocols.serving import serve

T = TypeVar("T")
START = 300.0  # seconds in which all servers have to be up; on an idle machine, they are after a few


class TeamServers:
    """One server per agent on a free port of the loopback interface, each with one connected client.

    They start at once, and end with :meth:`close`, with this object, or with the process.

    Args:
        carrier: The protocol.
        handles: What each agent does with the bytes that it receives; called in the servers' thread.

    Attributes:
        senders: A client of each agent, to be used in the servers' thread; see :meth:`run`.
        urls: Where agents are served.

    Raises:
        ProtocolError: If a server does not start.
    """

    def __init__(self, carrier: Carrier, handles: list[Handle]) -> None:
        self.senders: list[Sender] = []
        self.urls: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        started: Future[None] = Future()
        host = _host(carrier, handles, self.senders, self.urls, self._stop, started)
        self._thread = threading.Thread(target=_run, args=(self._loop, host, started), name="agentcomm", daemon=True)
        self._thread.start()
        self._end: Callable[[], object] = weakref.finalize(self, _close, self._loop, self._stop, self._thread)
        try:
            started.result(START)
        except BaseException as error:
            self.close()
            if isinstance(error, Exception) and not isinstance(error, ProtocolError):
                raise ProtocolError(f"servers of the agents did not start: {error or type(error).__name__}") from error
            raise

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the servers' thread, and wait for its result.

        Raises:
            ProtocolError: If the servers have ended, as they do when a connection breaks.
        """
        if self._loop.is_closed():
            work.close()
            raise ProtocolError("the servers of the agents have ended")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except CancelledError:
            raise ProtocolError("the servers of the agents have ended") from None
        except BaseException:  # Ctrl-C
            future.cancel()
            raise

    def close(self) -> None:
        """Close clients, servers and sockets, and end the thread; may be called again."""
        self._end()


async def _host(
    carrier: Carrier,
    handles: list[Handle],
    senders: list[Sender],
    urls: list[str],
    stop: asyncio.Event,
    started: Future[None],
) -> None:
    """Serve all agents until they are to stop."""
    up: dict[int, tuple[str, Sender]] = {}

    async def one(agent: int, handle: Handle) -> None:
        async with (
            serve(lambda url: carrier.application(f"agent_{agent}", handle, url)) as url,
            carrier.connect(url) as sender,
        ):
            up[agent] = url, sender
            if len(up) == len(handles):
                senders.extend(up[a][1] for a in range(len(handles)))
                urls.extend(up[a][0] for a in range(len(handles)))
                started.set_result(None)
            await stop.wait()

    async with asyncio.TaskGroup() as tasks:
        for agent, handle in enumerate(handles):
            tasks.create_task(one(agent, handle))


def _run(loop: asyncio.AbstractEventLoop, host: Coroutine[Any, Any, None], started: Future[None]) -> None:
    try:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:  # cancels what still waits at the end
            runner.run(host)
    except BaseException as error:
        if not started.done():
            started.set_exception(_leaf(error))


def _leaf(error: BaseException) -> BaseException:
    """The first error in nested groups."""
    return _leaf(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


def _close(loop: asyncio.AbstractEventLoop, stop: asyncio.Event, thread: threading.Thread) -> None:
    if thread.is_alive() and not loop.is_closed():
        loop.call_soon_threadsafe(stop.set)
    thread.join(10)
