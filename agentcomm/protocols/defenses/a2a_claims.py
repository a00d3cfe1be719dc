"""Signed claims on A2A messages: an interceptor signs, a handler verifies.

The claims travel in the message's metadata and cover the whole request but its tenant, which the SDK sets after the
interceptors: the message with the ids that the client chose, its metadata, the configuration and so the push URL.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Any

from a2a.client.interceptors import AfterArgs, BeforeArgs, ClientCallInterceptor
from a2a.server.context import ServerCallContext
from a2a.server.events import Event
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.types import AgentCard, Message, SendMessageRequest, Task
from a2a.utils.errors import InvalidParamsError
from google.protobuf.json_format import Error, MessageToDict

from agentcomm.protocols.defenses.a2a_users import Named
from agentcomm.protocols.defenses.canonical import canonical, digest
from agentcomm.protocols.defenses.claims import Signer, Verifier
from agentcomm.protocols.defenses.errors import RefusedError
from agentcomm.protocols.defenses.origins import origin

URN = "urn:agentcomm:claims:1"  # name of the A2A extension and of the field in the message's metadata


def card_origin(card: AgentCard) -> str:
    """The origin of a card's first interface: the audience of messages to an agent, unless another is agreed on."""
    return origin(card.supported_interfaces[0].url)


def content_digest(request: SendMessageRequest) -> bytes:
    """SHA-256 of a request in canonical form, without its claims and tenant.

    Raises:
        RefusedError: If it has no canonical form.
    """
    try:
        content: dict[str, Any] = MessageToDict(request)
    except (Error, ValueError, RecursionError) as error:
        raise RefusedError(f"the message has no canonical form: {error}") from error
    content.pop("tenant", None)
    message = content.get("message", {})
    metadata = message.get("metadata", {})
    metadata.pop(URN, None)
    if not metadata:
        message.pop("metadata", None)
    extensions = [name for name in message.pop("extensions", ()) if name != URN]
    return digest(canonical({"request": content, "extensions": extensions}))


class SignMessages(ClientCallInterceptor):
    """Signs each message, sent as a stream or not.

    Args:
        signer: Makes the claims.
        audience: Name of the receiver, given its card; the origin of its first interface by default.
    """

    def __init__(self, signer: Signer, audience: Callable[[AgentCard], str] = card_origin) -> None:
        self._signer, self._audience = signer, audience

    async def before(self, args: BeforeArgs) -> None:
        """Sign a copy, so that a request that is sent again gets claims of its own."""
        if not isinstance(args.input, SendMessageRequest):
            return
        request = SendMessageRequest()
        request.CopyFrom(args.input)
        token = self._signer.sign(self._audience(args.agent_card), content_digest(request))
        request.message.metadata[URN] = token
        if URN not in request.message.extensions:
            request.message.extensions.append(URN)
        args.input = request

    async def after(self, args: AfterArgs) -> None:
        """Nothing."""


class SignedHandler(DefaultRequestHandler):
    """A request handler that executes signed messages only; their sender is the user.

    Args:
        options: Arguments of ``DefaultRequestHandler``.
        verifier: Verifies the claims.
    """

    def __init__(self, *, verifier: Verifier, **options: Any) -> None:
        super().__init__(**options)
        self._verifier = verifier

    def _verified(self, params: SendMessageRequest, context: ServerCallContext) -> ServerCallContext:
        """The call with the sender as its user. Runs before the SDK fills in ids that nobody signed."""
        field = params.message.metadata.fields.get(URN)
        try:
            claims = self._verifier.verify(field.string_value if field is not None else None, content_digest(params))
        except RefusedError as error:
            raise InvalidParamsError(message=str(error)) from error
        if context.user.is_authenticated and context.user.user_name != claims.sender:
            raise InvalidParamsError(message=f"the message is signed by {claims.sender!r}, not by the caller")
        return context.model_copy(update={"user": Named(claims.sender)})

    async def on_message_send(self, params: SendMessageRequest, context: ServerCallContext) -> Message | Task:
        """Execute a signed message."""
        answer: Message | Task = await super().on_message_send(params, self._verified(params, context))
        return answer

    async def on_message_send_stream(
        self, params: SendMessageRequest, context: ServerCallContext
    ) -> AsyncGenerator[Event, None]:
        """Execute a signed message, and stream its events."""
        async for event in super().on_message_send_stream(params, self._verified(params, context)):
            yield event
