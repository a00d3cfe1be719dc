"""Agent cards that are bound to the origin they were asked from, by name and by possession of their key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx
from a2a.client import Client, ClientConfig, ClientFactory
from a2a.server.context import ServerCallContext
from a2a.types import AgentCard
from a2a.utils.errors import InvalidRequestError
from google.protobuf.json_format import MessageToDict
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from agentcomm.protocols.defenses.canonical import canonical, digest
from agentcomm.protocols.defenses.errors import RefusedError
from agentcomm.protocols.defenses.keys import SignKey, VerifyKey
from agentcomm.protocols.defenses.origins import check_origin, origin
from agentcomm.protocols.defenses.proof import PATH, answer, challenge, check_answer

MAX_ANSWER = 4096  # bytes
Check = Callable[[AgentCard], None]


def card_digest(card: AgentCard) -> bytes:
    """SHA-256 of a card in canonical form."""
    return digest(canonical(MessageToDict(card)))


def card_check(asked: str, *others: Check, versions: tuple[str, ...] = ("1.0",)) -> Check:
    """The ``signature_verifier=`` of a client: the card names the asked origin only, and a version that is accepted.

    Args:
        asked: The URL that is asked for the card.
        others: Further checks, such as one by ``a2a.utils.signing.create_signature_verifier``.
        versions: Protocol versions accepted.
    """

    def check(card: AgentCard) -> None:
        check_origin(asked, [interface.url for interface in card.supported_interfaces])
        for interface in card.supported_interfaces:
            if interface.protocol_version not in versions:
                raise RefusedError(f"the card offers version {interface.protocol_version!r}; accepted: {versions}")
        for other in others:
            other(card)

    return check


def only_origin(url: str) -> Callable[[Any], Awaitable[None]]:
    """A request hook that keeps an HTTP client, and its credentials, at one origin.

    For ``httpx.AsyncClient(event_hooks={"request": [only_origin(url)]})``, or the same of httpx2.
    """
    home = origin(url)

    async def check(request: Any) -> None:
        if origin(str(request.url)) != home:
            raise RefusedError(f"credentials for {home} must not be sent to {origin(str(request.url))}")

    return check


async def connect(
    url: str,
    http: httpx.AsyncClient,
    *checks: Check,
    keys: Mapping[str, VerifyKey] | None = None,
    interceptors: list[Any] | None = None,
    streaming: bool = True,
) -> Client:
    """A client of the agent at a URL, whose card is checked before anything else is sent.

    Args:
        url: The agent's URL; the client sends to this origin only.
        http: The HTTP client; its credentials are for ``url``.
        checks: Further checks of the card, such as of its signature.
        keys: Trusted keys by name; if given, the agent must prove that it holds one of them.
        interceptors: Interceptors of the client.
        streaming: Whether to stream.

    Raises:
        RefusedError: If the card is refused.
    """
    http.event_hooks = {**http.event_hooks, "request": [*http.event_hooks["request"], only_origin(url)]}
    received: list[AgentCard] = []
    factory = ClientFactory(ClientConfig(streaming=streaming, httpx_client=http))
    client = await factory.create_from_url(
        url, interceptors, signature_verifier=card_check(url, *checks, received.append)
    )
    if keys is not None:
        await prove(url, received[0], http, keys)
    return client


async def prove(url: str, card: AgentCard, http: httpx.AsyncClient, keys: Mapping[str, VerifyKey]) -> None:
    """Ask the server at a URL to prove that it holds a trusted key there, and that the card is its own.

    Raises:
        RefusedError: If it does not.
    """
    nonce, home = challenge(), origin(url)
    given = b""
    try:
        async with http.stream("GET", home + PATH, params={"nonce": nonce}, follow_redirects=False) as response:
            async for chunk in response.aiter_bytes():
                given += chunk
                if len(given) > MAX_ANSWER:
                    raise RefusedError(f"{home} answered the challenge with more than {MAX_ANSWER} bytes")
        if response.status_code != 200:
            raise RefusedError(f"{home} did not answer the challenge (HTTP {response.status_code})")
        parsed = httpx.Response(200, content=given).json()
    except (httpx.HTTPError, ValueError, RecursionError) as error:
        raise RefusedError(f"{home} did not answer the challenge: {error}") from error
    if not isinstance(parsed, dict):
        raise RefusedError(f"{home} did not answer the challenge")
    check_answer(nonce, home, card_digest(card), parsed, keys)


def possession_route(url: str, card: AgentCard, name: str, key: SignKey) -> Route:
    """The server's side: a route that answers challenges.

    Args:
        url: The server's own URL.
        card: The card that it serves.
        name: Name of its key.
        key: Its key.
    """
    own = card_digest(card)

    async def prove_possession(request: Request) -> JSONResponse:
        try:
            return JSONResponse(answer(request.query_params.get("nonce", ""), url, own, name, key))
        except RefusedError as error:
            return JSONResponse({"error": str(error)}, 400)

    return Route(PATH, prove_possession)


async def authenticated_only(card: AgentCard, context: ServerCallContext) -> AgentCard:
    """The ``extended_card_modifier=`` of a handler: the extended card is for authenticated callers."""
    if not context.user.is_authenticated:
        raise InvalidRequestError(message="authentication is required for the extended card")
    return card
