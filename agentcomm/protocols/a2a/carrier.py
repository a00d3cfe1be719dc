"""Carries bytes over A2A: as a raw part of a message, which the agent answers with a message and no task."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import httpx
from a2a.client import Client, ClientCallInterceptor, ClientConfig, ClientFactory
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes
from a2a.server.routes.common import ServerCallContextBuilder
from a2a.server.tasks import InMemoryTaskStore
from a2a.types import (
    AgentCapabilities,
    AgentCard,
    AgentInterface,
    AgentSkill,
    Message,
    Part,
    Role,
    SendMessageRequest,
)
from a2a.utils.errors import A2AError, InvalidParamsError, UnsupportedOperationError
from starlette.applications import Starlette

from agentcomm.base.errors import MessageError, ProtocolError
from agentcomm.protocols.carrier import MAX_DATA, MEDIA_TYPE, TIMEOUT, Application, Carrier, Handle, Protocol, Sender
from agentcomm.protocols.defenses.asgi import bounded
from agentcomm.protocols.failures import failure

FAILURES = (A2AError, httpx.HTTPError, OSError)  # of a call; TimeoutError is an OSError


@dataclass(frozen=True)
class A2ACarrier(Carrier):
    """Carries bytes as ``Part(raw=...)`` of A2A 1.0, over its JSON-RPC binding.

    Attributes:
        interceptors: Of clients, such as those that sign.
        headers: HTTP headers of clients, such as credentials.
        handler: Makes the request handler of a server from the arguments of the SDK's.
        context_builder: Of servers, such as one that names the caller; None for the SDK's.
        middleware: Of servers: each takes an ASGI application and returns one; the first is the innermost. By default
            it limits requests to ``MAX_BODY``, because the SDK reads bodies of any length.
        timeout: Seconds that a client waits for an answer.
    """

    protocol: ClassVar[Protocol] = "a2a"

    interceptors: Sequence[ClientCallInterceptor] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    handler: Callable[..., DefaultRequestHandler] = DefaultRequestHandler
    context_builder: ServerCallContextBuilder | None = None
    middleware: Sequence[Callable[[Application], Application]] = (bounded,)
    timeout: float = TIMEOUT

    def application(self, name: str, handle: Handle, url: str) -> Application:
        """The server of one agent: its card, and the JSON-RPC endpoint at the root."""
        card = agent_card(name, url)
        handler = self.handler(agent_executor=Executor(handle), task_store=InMemoryTaskStore(), agent_card=card)
        routes = create_jsonrpc_routes(handler, "/", context_builder=self.context_builder)

        @asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncIterator[None]:
            yield
            await handler.aclose()

        application: Any = Starlette(routes=[*create_agent_card_routes(card), *routes], lifespan=lifespan)
        for wrap in self.middleware:
            application = wrap(application)
        return application  # type: ignore[no-any-return]

    @asynccontextmanager
    async def connect(self, url: str) -> AsyncIterator[Sender]:
        """A client that reads the agent's card first.

        Raises:
            ProtocolError: If there is no card.
        """
        async with httpx.AsyncClient(headers=dict(self.headers), timeout=self.timeout, trust_env=False) as http:
            factory = ClientFactory(ClientConfig(streaming=False, httpx_client=http))
            try:
                client = await factory.create_from_url(url, interceptors=list(self.interceptors))
            except FAILURES as error:
                raise ProtocolError(f"A2A agent at {url}: {failure(error, self.timeout)}") from error
            yield A2ASender(client, url, self.timeout)


make = A2ACarrier


class A2ASender(Sender):
    """Sends each request as one message.

    Args:
        client: The SDK's client.
        url: Of the agent, for errors.
        timeout: Of the client, for errors.
    """

    def __init__(self, client: Client, url: str, timeout: float) -> None:
        self._client, self._url, self._timeout = client, url, timeout

    async def send(self, data: bytes) -> bytes:
        """Send a message with one raw part, and return the raw part of the answer."""
        message = Message(message_id=uuid.uuid4().hex, role=Role.ROLE_USER, parts=[envelope_part(data)])
        try:
            answers = [answer async for answer in self._client.send_message(SendMessageRequest(message=message))]
        except InvalidParamsError as error:
            raise MessageError(str(error)) from error
        except FAILURES as error:
            raise ProtocolError(f"A2A agent at {self._url}: {failure(error, self._timeout)}") from error
        if len(answers) != 1 or not answers[0].HasField("message"):
            raise MessageError(f"A2A agent at {self._url} answered with a task; a message was expected")
        return raw_part(answers[0].message)


class Executor(AgentExecutor):
    """Gives the raw part of each message to an agent, and answers with a message.

    Args:
        handle: The agent.
    """

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Answer one message.

        Raises:
            InvalidParamsError: If the agent refuses it.
        """
        try:
            answer = await self._handle(raw_part(context.message))
        except MessageError as error:
            raise InvalidParamsError(str(error)) from error
        await event_queue.enqueue_event(
            Message(
                message_id=uuid.uuid4().hex,
                context_id=context.context_id,
                role=Role.ROLE_AGENT,
                parts=[envelope_part(answer)],
            )
        )

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Refuse: there are no tasks."""
        raise UnsupportedOperationError("this agent has no tasks")


def envelope_part(data: bytes) -> Part:
    """Bytes as a part of a message."""
    return Part(raw=data, media_type=MEDIA_TYPE)


def raw_part(message: Message | None) -> bytes:
    """The bytes in a message.

    Raises:
        MessageError: If it has another form.
    """
    parts = [] if message is None else message.parts
    if len(parts) != 1 or not parts[0].HasField("raw") or parts[0].media_type != MEDIA_TYPE:
        raise MessageError(f"wrong parts: a message carries one raw part of the type {MEDIA_TYPE}")
    if len(parts[0].raw) > MAX_DATA:
        raise MessageError(f"too long: {len(parts[0].raw)} bytes; at most {MAX_DATA} are read")
    return bytes(parts[0].raw)


def agent_card(name: str, url: str) -> AgentCard:
    """The card of an agent that takes envelopes."""
    skill = AgentSkill(id="deliver", name="deliver", description="Takes an envelope", tags=["agentcomm"])
    return AgentCard(
        name=name,
        description="An agent of a team",
        version="1",
        capabilities=AgentCapabilities(streaming=False),
        supported_interfaces=[AgentInterface(url=f"{url}/", protocol_binding="JSONRPC", protocol_version="1.0")],
        default_input_modes=[MEDIA_TYPE],
        default_output_modes=[MEDIA_TYPE],
        skills=[skill],
    )
