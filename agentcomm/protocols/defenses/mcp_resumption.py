"""Resumable MCP streams that only their own session and principal can resume.

The SDK gives an event store neither session nor principal, and its stream ids are JSON-RPC ids, which are equal in
every session. ASGI middleware around the application knows both: it puts them where the store finds them.
"""

from __future__ import annotations

from contextvars import ContextVar

from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp.types import JSONRPCMessage

from agentcomm.protocols.carrier import Application, Scope
from agentcomm.protocols.defenses.asgi import Receive, Refusal, Send, header
from agentcomm.protocols.defenses.errors import RefusedError
from agentcomm.protocols.defenses.resumption import EventLog, Peer

SESSION = b"mcp-session-id"
_peer: ContextVar[Peer | None] = ContextVar("peer", default=None)


class SessionEvents(EventStore):
    """An event store and the middleware that it needs.

    ``events = SessionEvents(); app = events.guard(server.streamable_http_app(event_store=events))``

    Args:
        log: Where the events are; bounded and aged.
    """

    def __init__(self, log: EventLog[JSONRPCMessage | None] | None = None) -> None:
        self._log: EventLog[JSONRPCMessage | None] = EventLog() if log is None else log

    def guard(self, app: Application) -> Application:
        """The application with the middleware around it."""

        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                return await app(scope, receive, send)
            try:
                peer = _Lazy(scope, header(scope, SESSION) or "")
            except Refusal as refusal:
                return await refusal.answer(send)

            async def watched(message: Scope) -> None:
                if message["type"] == "http.response.start" and not peer.session:
                    given = dict(message.get("headers", ()))
                    peer.session = given.get(SESSION, b"").decode("latin-1")
                await send(message)

            # the task that serves a session inherits what its opening request sets, and so its peer
            mark = _peer.set(peer)
            try:
                await app(scope, receive, watched)
            finally:
                _peer.reset(mark)

        return guarded

    async def store_event(self, stream_id: str, message: JSONRPCMessage | None) -> str:
        """Keep an event for the peer that it is sent to.

        Raises:
            RefusedError: If the middleware is missing.
        """
        return self._log.add(_current(), stream_id, message)

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        """Send what followed an event, to the peer that the event was sent to; nothing to any other."""
        try:
            stream, events = self._log.after(_current(), last_event_id)
        except RefusedError:
            return None
        for name, message in events:
            if message is not None:
                await send_callback(EventMessage(message, name))
        return stream


class _Lazy(Peer):
    """A peer whose principal is read when it is needed: authentication runs inside the middleware."""

    def __init__(self, scope: Scope, session: str) -> None:
        self._scope = scope
        super().__init__(session)

    @property
    def principal(self) -> str:
        user = self._scope.get("user")
        return user.display_name if user is not None and user.is_authenticated else ""

    @principal.setter
    def principal(self, value: str) -> None:
        """The scope says it."""


def _current() -> Peer:
    peer = _peer.get()
    if peer is None:
        raise RefusedError("serve SessionEvents.guard(app), not the application itself")
    return peer
