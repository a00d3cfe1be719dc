"""HTTP message signatures in one line: ``auth=`` of an HTTP client, and ASGI middleware."""

from __future__ import annotations

from typing import Any, TypeVar

from starlette.authentication import AuthCredentials, SimpleUser

from agentcomm.protocols.carrier import Application, Scope
from agentcomm.protocols.defenses.asgi import Receive, Refusal, Send, read_body, replay
from agentcomm.protocols.defenses.errors import RefusedError
from agentcomm.protocols.defenses.http_signatures import Request, RequestVerifier, sign
from agentcomm.protocols.defenses.keys import SignKey

Outgoing = TypeVar("Outgoing", bound=Any)  # a request of httpx (A2A) or httpx2 (MCP), which have one interface


class SignRequests:
    """The ``auth=`` of an ``httpx.AsyncClient`` or ``httpx2.AsyncClient``: signs every request over its exact bytes.

    Args:
        name: Name of the key.
        key: The key.
        seconds: Until a signature expires.
    """

    def __init__(self, name: str, key: SignKey, seconds: float = 60.0) -> None:
        self._name, self._key, self._seconds = name, key, seconds

    def __call__(self, request: Outgoing) -> Outgoing:
        """Add the headers."""
        headers = {key.lower(): value for key, value in request.headers.items()}
        whole = Request(request.method, str(request.url), headers, request.content)
        request.headers.update(sign(whole, self._name, self._key, self._seconds))
        return request


class VerifyRequests:
    """ASGI middleware that lets signed requests through only; the key's name becomes the user.

    The user is in ``scope["user"]``, where the A2A SDK looks for the owner of tasks.

    Args:
        app: The application.
        verifier: Verifies signatures.
        public: Paths that need no signature, such as the agent card's.
        scheme: Of the server's URL, as clients write it.
        max_body: Bytes.
        seconds: For a request to arrive.
    """

    def __init__(
        self,
        app: Application,
        verifier: RequestVerifier,
        public: tuple[str, ...] = ("/.well-known/agent-card.json",),
        scheme: str = "http",
        max_body: int = 1 << 20,
        seconds: float = 10.0,
    ) -> None:
        self._app, self._verifier, self._public = app, verifier, public
        self._scheme, self._max_body, self._seconds = scheme, max_body, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Verify a request, then pass it on."""
        if scope["type"] != "http" or (scope["method"] in ("GET", "HEAD") and scope["path"] in self._public):
            return await self._app(scope, receive, send)
        try:
            body = await read_body(scope, receive, self._max_body, self._seconds)
            name = self._verifier.verify(self._request(scope, body))
        except Refusal as refusal:
            return await refusal.answer(send)
        except RefusedError as error:
            return await Refusal(401, str(error)).answer(send)
        signed = {**scope, "user": SimpleUser(name), "auth": AuthCredentials(["authenticated"])}
        await self._app(signed, replay(body, receive), send)

    def _request(self, scope: Scope, body: bytes) -> Request:
        headers: dict[str, str] = {}
        for raw, value in scope["headers"]:
            key = raw.decode("latin-1").lower()
            text = value.decode("latin-1").strip()
            headers[key] = f"{headers[key]}, {text}" if key in headers else text  # RFC 9421, section 2.1
        path = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
        query = scope.get("query_string", b"").decode("latin-1")
        url = f"{self._scheme}://{headers.get('host', '')}{path}" + (f"?{query}" if query else "")
        return Request(scope["method"], url, headers, body)
