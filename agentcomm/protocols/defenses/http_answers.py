"""Signed answers: HTTP message signatures (RFC 9421) over what a server answers, bound to the request by a nonce.

The client sends a fresh nonce with each request, and accepts only an answer that the server's key signed over status,
content type, digest of the body and that nonce. A stream has no digest before its end: its events are signed one by one
(:mod:`agentcomm.protocols.defenses.http_streams`).
"""

from __future__ import annotations

import base64
import importlib
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from agentcomm.protocols.carrier import Application, Scope
from agentcomm.protocols.defenses.asgi import Receive, Refusal, Send, header
from agentcomm.protocols.defenses.errors import RefusedError
from agentcomm.protocols.defenses.http_signatures import content_digest, parse_signature, signature_base
from agentcomm.protocols.defenses.http_streams import SignedStream, StreamSigner
from agentcomm.protocols.defenses.keys import SignKey, VerifyKey

NONCE = "agentcomm-nonce"  # request header
COVERED = ("@status", "content-digest", "content-type")
LABEL, TAG = "agentcomm", "agentcomm-answer"


@dataclass(frozen=True)
class Answer:
    """What of an answer is signed.

    Attributes:
        status: HTTP status.
        headers: Values by lower-case name.
    """

    status: int
    headers: Mapping[str, str]

    def component(self, name: str) -> str:
        """The value of a component."""
        return str(self.status) if name == "@status" else self.headers.get(name, "").strip()


class SignAnswers:
    """ASGI middleware that signs each answer to a request with a nonce, and the events of a stream one by one.

    Args:
        app: The application.
        name: Name of the server's key.
        key: The key.
        max_body: Bytes; a larger answer becomes an error.
    """

    def __init__(self, app: Application, name: str, key: SignKey, max_body: int = 4 << 20) -> None:
        self._app, self._name, self._key, self._max_body = app, name, key, max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, and sign the answer."""
        try:
            nonce = header(scope, NONCE.encode()) if scope["type"] == "http" else None
        except Refusal as refusal:
            return await refusal.answer(send)
        if nonce is None or not nonce.isalnum() or len(nonce) > 64:
            return await self._app(scope, receive, send)
        start: Scope = {}
        parts: list[bytes] = []
        stream = StreamSigner(self._key, nonce)

        async def signing(message: Scope) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                if _is_stream(message):
                    await send(message)
                return
            if message["type"] != "http.response.body":
                await send(message)
                return
            if _is_stream(start):
                more = message.get("more_body", False)
                await send({**message, "body": stream.feed(message.get("body", b""), last=not more)})
                return
            parts.append(message.get("body", b""))
            if sum(map(len, parts)) > self._max_body:
                raise RefusedError(f"the answer is larger than {self._max_body} bytes")
            if not message.get("more_body", False):
                body = b"".join(parts)
                await send({**start, "headers": [*start.get("headers", ()), *self._signature(start, body, nonce)]})
                await send({"type": "http.response.body", "body": body})

        await self._app(scope, receive, signing)

    def _signature(self, start: Scope, body: bytes, nonce: str) -> list[tuple[bytes, bytes]]:
        headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in start.get("headers", ())}
        headers["content-digest"] = content_digest(body)
        covered = " ".join(f'"{name}"' for name in COVERED)
        params = f'({covered});created={int(time.time())};nonce="{nonce}";keyid="{self._name}";tag="{TAG}"'
        made = self._key.sign(signature_base(Answer(start["status"], headers), COVERED, params))
        signature = base64.b64encode(made).decode()
        added = {
            "content-digest": headers["content-digest"],
            "signature-input": f"{LABEL}={params}",
            "signature": f"{LABEL}=:{signature}:",
        }
        return [(name.encode(), value.encode()) for name, value in added.items()]


class VerifyAnswers:
    """A transport of httpx or httpx2 that accepts signed answers only: ``AsyncClient(transport=VerifyAnswers(...))``.

    Args:
        inner: The transport that sends, such as ``httpx.AsyncHTTPTransport()``.
        name: Name of the server's key.
        key: The key.
        max_body: Bytes.
    """

    def __init__(self, inner: Any, name: str, key: VerifyKey, max_body: int = 4 << 20) -> None:
        self._inner, self._name, self._key, self._max_body = inner, name, key, max_body

    async def __aenter__(self) -> VerifyAnswers:
        await self._inner.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._inner.__aexit__(kind, error, trace)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()

    async def handle_async_request(self, request: Any) -> Any:
        """Send a request with a nonce, and check the answer; one that is refused becomes HTTP 502 with the reason.

        An exception would end the whole session of an MCP client, not the one call. A stream of which an event is
        refused has begun already, and breaks off as if the connection were lost.
        """
        nonce = request.headers[NONCE] = secrets.token_hex(16)
        answer = await self._inner.handle_async_request(request)
        headers = {key.lower(): value for key, value in answer.headers.items()}
        if answer.status_code == 200 and headers.get("content-type", "").startswith("text/event-stream"):
            return _streamed(answer, SignedStream(answer.stream.__aiter__(), self._key, nonce), request)
        try:
            raw = b""
            async for part in answer.stream:  # the exact bytes, before anything is decompressed
                raw += part
                if len(raw) > self._max_body:
                    raise RefusedError(f"the answer is larger than {self._max_body} bytes")
            self._check(Answer(answer.status_code, headers), raw, nonce)
        except RefusedError as error:
            return type(answer)(502, json={"error": str(error)}, request=request)
        finally:
            await answer.aclose()
        return type(answer)(answer.status_code, headers=answer.headers, content=raw, request=request)

    def _check(self, answer: Answer, body: bytes, nonce: str) -> None:
        components, params, text, signature = parse_signature(answer.headers)
        if tuple(components) != COVERED or params.get("keyid") != self._name or params.get("tag") != TAG:
            raise RefusedError("the answer's signature is another's, or covers too little")
        if params.get("nonce") != nonce:
            raise RefusedError("the answer is not for this request")
        if answer.headers.get("content-digest") != content_digest(body):
            raise RefusedError("the answer is not the one that was signed")
        if not self._key.verify(signature, signature_base(answer, COVERED, text)):
            raise RefusedError("the signature of the answer is not the server's")


def _streamed(answer: Any, signed: SignedStream, request: Any) -> Any:
    """An answer of the same library whose stream is checked as it arrives."""
    library = importlib.import_module(type(answer).__module__.partition(".")[0])

    class Checked(library.AsyncByteStream):  # type: ignore[misc, name-defined]
        async def __aiter__(self) -> AsyncIterator[bytes]:
            try:
                async for event in signed.events():
                    yield event
            except RefusedError as error:
                raise library.RemoteProtocolError(str(error), request=request) from error

        async def aclose(self) -> None:
            await answer.aclose()

    headers = [(key, value) for key, value in answer.headers.multi_items() if key.lower() != "content-length"]
    return type(answer)(answer.status_code, headers=headers, stream=Checked(), request=request)


def _is_stream(start: Scope) -> bool:
    """Whether an answer is a stream of events."""
    return any(key == b"content-type" and value.startswith(b"text/event-stream") for key, value in start["headers"])
