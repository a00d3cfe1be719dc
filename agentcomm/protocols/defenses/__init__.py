"""Defenses of A2A and MCP, each a handler, interceptor, middleware or wrapper of the official SDKs.

Everything public can be imported from here; an SDK is imported with the first name that needs it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from agentcomm.protocols.extras import Extra, needs

if TYPE_CHECKING:
    from agentcomm.protocols.defenses.a2a_actors import CarryChain as CarryChain
    from agentcomm.protocols.defenses.a2a_actors import ChainedExecutor as ChainedExecutor
    from agentcomm.protocols.defenses.a2a_cards import authenticated_only as authenticated_only
    from agentcomm.protocols.defenses.a2a_cards import card_check as card_check
    from agentcomm.protocols.defenses.a2a_cards import connect as connect
    from agentcomm.protocols.defenses.a2a_cards import only_origin as only_origin
    from agentcomm.protocols.defenses.a2a_cards import possession_route as possession_route
    from agentcomm.protocols.defenses.a2a_cards import prove as prove
    from agentcomm.protocols.defenses.a2a_claims import SignedHandler as SignedHandler
    from agentcomm.protocols.defenses.a2a_claims import SignMessages as SignMessages
    from agentcomm.protocols.defenses.a2a_contexts import OwnedContexts as OwnedContexts
    from agentcomm.protocols.defenses.a2a_once import OnceHandler as OnceHandler
    from agentcomm.protocols.defenses.a2a_push import SafePushSender as SafePushSender
    from agentcomm.protocols.defenses.a2a_push import push_validator as push_validator
    from agentcomm.protocols.defenses.a2a_push import safe_push as safe_push
    from agentcomm.protocols.defenses.a2a_server import ProtectedHandler as ProtectedHandler
    from agentcomm.protocols.defenses.a2a_streams import CompleteStreams as CompleteStreams
    from agentcomm.protocols.defenses.a2a_streams import complete as complete
    from agentcomm.protocols.defenses.a2a_tasks import AgedHandler as AgedHandler
    from agentcomm.protocols.defenses.a2a_tasks import AgedTaskStore as AgedTaskStore
    from agentcomm.protocols.defenses.a2a_users import BearerUsers as BearerUsers
    from agentcomm.protocols.defenses.actors import Actor as Actor
    from agentcomm.protocols.defenses.actors import ChainVerifier as ChainVerifier
    from agentcomm.protocols.defenses.approvals import Approvals as Approvals
    from agentcomm.protocols.defenses.asgi import CheckOrigin as CheckOrigin
    from agentcomm.protocols.defenses.asgi import LimitRequests as LimitRequests
    from agentcomm.protocols.defenses.asgi import protect as protect
    from agentcomm.protocols.defenses.claims import Claims as Claims
    from agentcomm.protocols.defenses.claims import Signer as Signer
    from agentcomm.protocols.defenses.claims import Verifier as Verifier
    from agentcomm.protocols.defenses.contexts import Contexts as Contexts
    from agentcomm.protocols.defenses.errors import RefusedError as RefusedError
    from agentcomm.protocols.defenses.errors import StoreError as StoreError
    from agentcomm.protocols.defenses.http_answers import SignAnswers as SignAnswers
    from agentcomm.protocols.defenses.http_answers import VerifyAnswers as VerifyAnswers
    from agentcomm.protocols.defenses.http_signatures import RequestVerifier as RequestVerifier
    from agentcomm.protocols.defenses.http_signing import SignRequests as SignRequests
    from agentcomm.protocols.defenses.http_signing import VerifyRequests as VerifyRequests
    from agentcomm.protocols.defenses.keys import PrivateKey as PrivateKey
    from agentcomm.protocols.defenses.keys import PublicKey as PublicKey
    from agentcomm.protocols.defenses.keys import SharedKey as SharedKey
    from agentcomm.protocols.defenses.limits import Quota as Quota
    from agentcomm.protocols.defenses.mcp_actors import RequireChain as RequireChain
    from agentcomm.protocols.defenses.mcp_actors import chained as chained
    from agentcomm.protocols.defenses.mcp_approvals import OneTimeApprovals as OneTimeApprovals
    from agentcomm.protocols.defenses.mcp_claims import VerifyClaims as VerifyClaims
    from agentcomm.protocols.defenses.mcp_claims import signed as signed
    from agentcomm.protocols.defenses.mcp_connections import connected as connected
    from agentcomm.protocols.defenses.mcp_connections import private_cache as private_cache
    from agentcomm.protocols.defenses.mcp_once import OnceCalls as OnceCalls
    from agentcomm.protocols.defenses.mcp_once import keyed as keyed
    from agentcomm.protocols.defenses.mcp_pins import PinnedTools as PinnedTools
    from agentcomm.protocols.defenses.mcp_pins import ToolSpace as ToolSpace
    from agentcomm.protocols.defenses.mcp_resumption import SessionEvents as SessionEvents
    from agentcomm.protocols.defenses.mcp_server import protect_mcp as protect_mcp
    from agentcomm.protocols.defenses.mcp_server import protected_client as protected_client
    from agentcomm.protocols.defenses.once import Once as Once
    from agentcomm.protocols.defenses.origins import origin as origin
    from agentcomm.protocols.defenses.pins import Pins as Pins
    from agentcomm.protocols.defenses.pins import Versions as Versions
    from agentcomm.protocols.defenses.resumption import EventLog as EventLog
    from agentcomm.protocols.defenses.store import MemoryStore as MemoryStore
    from agentcomm.protocols.defenses.store import SQLiteStore as SQLiteStore
    from agentcomm.protocols.defenses.store import Store as Store

_PUBLIC: dict[str, tuple[Extra | None, str]] = {  # by module: the extra that it needs, and its public names
    "a2a_actors": ("a2a", "CarryChain ChainedExecutor"),
    "a2a_cards": ("a2a", "authenticated_only card_check connect only_origin possession_route prove"),
    "a2a_claims": ("a2a", "SignedHandler SignMessages"),
    "a2a_contexts": ("a2a", "OwnedContexts"),
    "a2a_once": ("a2a", "OnceHandler"),
    "a2a_push": ("a2a", "SafePushSender push_validator safe_push"),
    "a2a_server": ("a2a", "ProtectedHandler"),
    "a2a_streams": ("a2a", "CompleteStreams complete"),
    "a2a_tasks": ("a2a", "AgedHandler AgedTaskStore"),
    "a2a_users": ("a2a", "BearerUsers"),
    "actors": (None, "Actor ChainVerifier"),
    "approvals": (None, "Approvals"),
    "asgi": (None, "CheckOrigin LimitRequests protect"),
    "claims": (None, "Claims Signer Verifier"),
    "contexts": (None, "Contexts"),
    "errors": (None, "RefusedError StoreError"),
    "http_answers": (None, "SignAnswers VerifyAnswers"),
    "http_signatures": (None, "RequestVerifier"),
    "http_signing": ("a2a", "SignRequests VerifyRequests"),
    "keys": (None, "PrivateKey PublicKey SharedKey"),
    "limits": (None, "Quota"),
    "mcp_actors": ("mcp", "RequireChain chained"),
    "mcp_approvals": ("mcp", "OneTimeApprovals"),
    "mcp_claims": ("mcp", "VerifyClaims signed"),
    "mcp_connections": ("mcp", "connected private_cache"),
    "mcp_once": ("mcp", "OnceCalls keyed"),
    "mcp_pins": ("mcp", "PinnedTools ToolSpace"),
    "mcp_resumption": ("mcp", "SessionEvents"),
    "mcp_server": ("mcp", "protect_mcp protected_client"),
    "once": (None, "Once"),
    "origins": (None, "origin"),
    "pins": (None, "Pins Versions"),
    "resumption": (None, "EventLog"),
    "store": (None, "MemoryStore SQLiteStore Store"),
}
_MODULES = {name: module for module, (_, names) in _PUBLIC.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    """A public name, imported from its module when it is first asked for.

    Raises:
        PluginError: If its SDK is not installed.
    """
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = f"{__name__}.{_MODULES[name]}"
    extra = _PUBLIC[_MODULES[name]][0]
    if extra is None:
        return getattr(importlib.import_module(module), name)
    with needs(extra):
        return getattr(importlib.import_module(module), name)
