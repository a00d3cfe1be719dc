"""What the official SDKs leave open and what they stop by themselves, as measured: one row per finding.

``tests/protocols/test_facts_*.py`` check every row against the versions in :data:`SDKS`, the documentation shows them
as tables, and the audit names their defenses as the fix.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Protocol = Literal["a2a", "mcp"]
SDKS = {"a2a": ("a2a-sdk", "1.3.0"), "mcp": ("mcp", "2.3.0")}  # distribution and version that the rows were measured on


@dataclass(frozen=True)
class Finding:
    """One finding about an SDK."""

    id: str
    title: str
    alone: str  # what the SDK does as it comes
    setting: str = ""  # the SDK's own setting that stops it
    defense: str = ""  # in agentcomm.protocols.defenses, what stops it

    @property
    def protocol(self) -> Protocol:
        """The protocol, which the id begins with."""
        return "a2a" if self.id.startswith("a2a") else "mcp"

    @property
    def fix(self) -> str:
        """How to close the finding."""
        ways = [self.setting] if self.setting else []
        if self.defense:
            ways.append(f"agentcomm.protocols.defenses.{self.defense}")
        return "; or ".join(ways)


OWNER = "pass a context_builder that overrides build_user to create_jsonrpc_routes and create_rest_routes"
ROWS = (
    Finding(
        "a2a-replay", "a message sent again", "runs it again each time, as a new task", defense="a2a_once.OnceHandler"
    ),
    Finding(
        "a2a-owner-open",
        "tasks of others, without an owner hook",
        "anyone may list, read, subscribe to, continue and cancel tasks and set where their updates are pushed",
        OWNER,
        "a2a_users.BearerUsers",
    ),
    Finding("a2a-owner-hook", "tasks of others, with an owner hook", "answers TaskNotFound to all of these"),
    Finding(
        "a2a-context",
        "a victim's contextId, even with an owner hook",
        "runs the stranger's message inside the victim's context, so memory that is kept by contextId leaks",
        defense="a2a_contexts.OwnedContexts",
    ),
    Finding(
        "a2a-anonymous",
        "anonymous callers, with an owner hook",
        "all share the owner '' and see each other's tasks",
        "refuse callers without a name in build_user",
    ),
    Finding(
        "a2a-half-open",
        "tasks that wait for input for ever",
        "keeps asyncio tasks and a registry entry for each, and stores the task without an age limit",
        "interrupted_task_timeout ends the asyncio tasks; stored tasks stay",
        "a2a_tasks.AgedHandler",
    ),
    Finding(
        "a2a-push",
        "push notifications to internal addresses",
        "sends updates to any URL, with credentials that the caller chose",
        "push_url_validator=validate_push_notification_url in the handler and in the sender",
        "a2a_push.safe_push",
    ),
    Finding(
        "a2a-push-rebinding",
        "a push host that resolves to another address after the check",
        "checks the address and lets the HTTP client resolve the name again",
        defense="a2a_push.safe_push",
    ),
    Finding(
        "a2a-card-origin",
        "a card that names another origin",
        "follows it and sends the asked host's Authorization header there",
        defense="a2a_cards.connect",
    ),
    Finding(
        "a2a-extended-card",
        "the extended card, for anonymous callers",
        "serves it to anyone, with or without an owner hook",
        "extended_card_modifier that refuses callers who are not authenticated",
        "a2a_cards.authenticated_only",
    ),
    Finding("a2a-card-forged", "an edited, stripped or re-signed card", "refuses it, if given a signature_verifier"),
    Finding(
        "a2a-card-copied",
        "a signed card copied to another host",
        "accepts it: the signature does not cover where the card was fetched",
        defense="a2a_cards.possession_route",
    ),
    Finding(
        "a2a-card-kid",
        "a key provider that raises on an unknown key id",
        "a garbage signature before the good one makes the client reject the card",
        "return a dummy key for unknown key ids",
    ),
    Finding(
        "a2a-lenient",
        "unknown fields and duplicate keys",
        "ignores unknown fields of params, message and part, and takes the last of duplicate keys;"
        " refuses unknown roles, NaN, empty parts, batches and unknown fields of the envelope",
        defense="http_signing.VerifyRequests",
    ),
    Finding("a2a-depth", "deeply nested data", "refuses it and lives"),
    Finding(
        "a2a-size", "a body of any size", "reads it whole and answers with twice its size", defense="asgi.LimitRequests"
    ),
    Finding(
        "a2a-browser",
        "a foreign Origin or Host, or text/plain",
        "runs it; only the A2A-Version header keeps a web page from sending it",
        defense="asgi.CheckOrigin",
    ),
    Finding(
        "a2a-compat-browser",
        "a web page's simple request, with 0.3 compatibility",
        "runs it",
        "leave enable_v0_3_compat off",
        "asgi.CheckOrigin",
    ),
    Finding("a2a-version", "a request without a version, or of another", "refuses it, but accepts any 1.x"),
    Finding(
        "a2a-stream-cut",
        "a stream that loses its last event",
        "ends the client's loop without an error",
        defense="a2a_streams.CompleteStreams",
    ),
    Finding(
        "mcp-replay", "a call sent again with the same id", "runs it again each time", defense="mcp_once.OnceCalls"
    ),
    Finding(
        "mcp-cache",
        "a poisoned list of tools with a long time to live",
        "serves it from the cache for up to 24 h after the attacker is gone",
        "Client(cache=None)",
        "mcp_connections.private_cache",
    ),
    Finding(
        "mcp-rug-pull",
        "a tool replaced after it was listed",
        "calls the new one; the client notices only if the shape of the output changes",
        defense="mcp_pins.PinnedTools",
    ),
    Finding(
        "mcp-collision",
        "two servers that name themselves and a tool alike",
        "refuses the second one, even with a component_name_hook on the server's name",
        defense="mcp_pins.ToolSpace",
    ),
    Finding(
        "mcp-duplicate-tool",
        "two tools of one name on one server",
        "keeps the first and logs a warning",
    ),
    Finding(
        "mcp-downgrade",
        "a proxy that denies server/discover",
        "falls back to 2025-11-25 without a word",
        'Client(mode="2026-07-28")',
        "mcp_connections.NEWEST",
    ),
    Finding(
        "mcp-session",
        "another client's session id",
        "without authentication, whoever knows the id calls in the session and ends it",
        "a TokenVerifier binds sessions to credentials",
    ),
    Finding("mcp-session-fixed", "a session id that the client chooses", "refuses it"),
    Finding(
        "mcp-resumption",
        "a stream resumed from one's own last event id",
        "hands the event store no session, so that a store by stream id gives out results of others",
        defense="mcp_resumption.SessionEvents",
    ),
    Finding(
        "mcp-resumption-guess",
        "event ids that can be guessed, under authentication",
        "gives out results across credentials",
        "unguessable event ids, stored with their session",
        "mcp_resumption.SessionEvents",
    ),
    Finding(
        "mcp-approval-replayed",
        "one approval sent several times",
        "accepts it each time until it expires; refuses it for other arguments or when altered",
        defense="mcp_approvals.OneTimeApprovals",
    ),
    Finding(
        "mcp-approval-omitted",
        "answers to a question that was never asked",
        "accepts them without any requestState",
        "check ctx.request_state in the tool",
        "mcp_approvals.OneTimeApprovals",
    ),
    Finding("mcp-browser", "a foreign Origin or Host, or text/plain", "refuses them"),
    Finding(
        "mcp-browser-public",
        'the same on an app built with host="0.0.0.0"',
        "accepts foreign Origin and Host",
        "transport_security=TransportSecuritySettings(allowed_hosts=..., allowed_origins=...)",
        "asgi.CheckOrigin",
    ),
    Finding("mcp-size", "bodies over 4 MiB, deep nesting, batches", "refuses them with 413 or 400"),
    Finding(
        "mcp-lenient",
        "extra arguments and duplicate keys",
        "ignores extra arguments and unknown params, reads '7' as 7 and takes the last of duplicate keys",
        defense="http_signing.VerifyRequests",
    ),
)
FINDINGS = {row.id: row for row in ROWS}
