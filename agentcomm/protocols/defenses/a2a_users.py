"""The owner hook of an A2A server: callers are who their bearer token says, and own their tasks.

Without such a hook the SDK treats all callers as one owner: ``create_jsonrpc_routes(..., context_builder=BearerUsers(
check))``.
"""

from __future__ import annotations

from collections.abc import Callable

from a2a.auth.user import UnauthenticatedUser, User
from a2a.server.routes.common import DefaultServerCallContextBuilder
from starlette.requests import Request


class Named(User):
    """An authenticated user.

    Args:
        name: Its name.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def is_authenticated(self) -> bool:
        """Always."""
        return True

    @property
    def user_name(self) -> str:
        """The name."""
        return self._name


class BearerUsers(DefaultServerCallContextBuilder):
    """Finds the user of a request by its bearer token.

    Args:
        check: The name of the user that a token belongs to; None for an unknown token.
    """

    def __init__(self, check: Callable[[str], str | None]) -> None:
        self._check = check

    def build_user(self, request: Request) -> User:
        """The user; anonymous without a valid token, or with several."""
        given = request.headers.getlist("authorization")
        scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        name = self._check(token) if scheme.lower() == "bearer" and token else None
        return Named(name) if name else UnauthenticatedUser()
