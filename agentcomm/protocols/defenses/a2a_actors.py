"""Actor chains in A2A messages: ``metadata.actorChain``, one signed token per hop."""

from __future__ import annotations

from collections.abc import Callable

from a2a.client.interceptors import AfterArgs, BeforeArgs, ClientCallInterceptor
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.types import AgentCard, SendMessageRequest
from a2a.utils.errors import InvalidParamsError
from google.protobuf.json_format import MessageToDict

from agentcomm.protocols.defenses.actors import FIELD, Actor, ChainVerifier, asked_under
from agentcomm.protocols.defenses.errors import RefusedError


class CarryChain(ClientCallInterceptor):
    """Extends the chain under which the running request was asked, and sends it on; starts one if there is none.

    Args:
        actor: This agent.
        audience: Name of the receiver, given its card.
        expires: When a chain that is started here expires, in seconds since the epoch.
    """

    def __init__(self, actor: Actor, audience: Callable[[AgentCard], str], expires: Callable[[], float]) -> None:
        self._actor, self._audience, self._expires = actor, audience, expires

    async def before(self, args: BeforeArgs) -> None:
        """Add the chain to a message."""
        if not isinstance(args.input, SendMessageRequest):
            return
        request = SendMessageRequest()
        request.CopyFrom(args.input)
        hops = self._actor.carry(self._audience(args.agent_card), self._expires())
        request.message.metadata.update({FIELD: hops})
        args.input = request

    async def after(self, args: AfterArgs) -> None:
        """Nothing."""


class ChainedExecutor(AgentExecutor):
    """An executor that runs only under a valid chain, which :class:`CarryChain` then extends.

    Args:
        inner: The agent.
        verifier: Verifies chains that end here.
    """

    def __init__(self, inner: AgentExecutor, verifier: ChainVerifier) -> None:
        self._inner, self._verifier = inner, verifier

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Verify the chain, then execute."""
        metadata = MessageToDict(context.message.metadata) if context.message is not None else {}
        chain = metadata.get(FIELD, ())
        user = context.call_context.user
        try:
            self._verifier.verify(chain, user.user_name if user.is_authenticated else None)
        except RefusedError as error:
            raise InvalidParamsError(message=str(error)) from error
        mark = asked_under.set(tuple(chain))
        try:
            await self._inner.execute(context, event_queue)
        finally:
            asked_under.reset(mark)

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Cancel."""
        await self._inner.cancel(context, event_queue)
