"""Push notifications to public addresses only, resolved once and pinned."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Any

import httpx
from a2a.server.tasks import BasePushNotificationSender, PushNotificationConfigStore

from agentcomm.protocols.defenses.addresses import Resolver, pin, resolve
from agentcomm.protocols.defenses.errors import RefusedError


def push_validator(allowed: Collection[str] = (), resolver: Resolver = resolve) -> Callable[[str], Awaitable[bool]]:
    """The ``push_url_validator=`` of a handler: refuses private addresses when a push URL is registered.

    Args:
        allowed: Origins that may be private, as :func:`~agentcomm.protocols.defenses.origins.origin` writes them.
        resolver: Finds addresses.
    """

    async def check(url: str) -> bool:
        try:
            await pin(url, allowed, resolver)
        except RefusedError:
            return False
        return True

    return check


class PinnedTransport(httpx.AsyncBaseTransport):
    """An HTTP transport that resolves a host once, checks the address, and calls exactly that address.

    Args:
        allowed: Origins that may be private.
        resolver: Finds addresses.
        inner: Sends the request.
    """

    def __init__(
        self,
        allowed: Collection[str] = (),
        resolver: Resolver = resolve,
        inner: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._allowed, self._resolver = allowed, resolver
        self._inner = inner or httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; the host's name stays in the Host header and in TLS."""
        address = await pin(str(request.url), self._allowed, self._resolver)
        request.extensions = {**request.extensions, "sni_hostname": request.url.host}
        request.url = request.url.copy_with(host=address)
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


class SafePushSender(BasePushNotificationSender):
    """The ``push_sender=`` of a handler.

    Args:
        store: Where the push configurations are.
        allowed: Origins that may be private.
        resolver: Finds addresses.
        timeout: Seconds for one notification.
    """

    def __init__(
        self,
        store: PushNotificationConfigStore,
        allowed: Collection[str] = (),
        resolver: Resolver = resolve,
        timeout: float = 10.0,
    ) -> None:
        client = httpx.AsyncClient(
            transport=PinnedTransport(allowed, resolver), follow_redirects=False, timeout=timeout, trust_env=False
        )
        super().__init__(client, store)


def safe_push(store: PushNotificationConfigStore, allowed: Collection[str] = ()) -> dict[str, Any]:
    """The push arguments of a handler: ``DefaultRequestHandler(..., **safe_push(store))``."""
    return {
        "push_config_store": store,
        "push_url_validator": push_validator(allowed),
        "push_sender": SafePushSender(store, allowed),
    }
