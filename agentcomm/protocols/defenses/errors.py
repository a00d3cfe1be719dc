"""Why a defense refused something."""

from __future__ import annotations

from agentcomm.base.errors import AgentcommError


class RefusedError(AgentcommError):
    """A request, response, card or tool that a defense refused."""


class StoreError(RefusedError):
    """A store that is down or full. A defense that cannot remember refuses: a guess would let attacks through."""
