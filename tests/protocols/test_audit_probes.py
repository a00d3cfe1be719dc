"""The audit of real servers of the SDKs, bare and protected."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import pytest
from a2a.server.tasks import BasePushNotificationSender, InMemoryPushNotificationConfigStore
from a2a.types import AgentCard
from a2a.utils.push_url_validator import validate_push_notification_url
from servers import Events, a2a_server, mcp_server, mcp_tools, serve
from test_facts_a2a_cards import OTHER, PEM, signed
from test_facts_mcp import DenyDiscovery

from agentcomm.protocols.audit.mcp.client import KEY
from agentcomm.protocols.audit.run import audit
from agentcomm.protocols.audit.target import Target
from agentcomm.protocols.audit.verdicts import Report
from agentcomm.protocols.defenses.a2a_push import safe_push
from agentcomm.protocols.defenses.a2a_server import ProtectedHandler
from agentcomm.protocols.defenses.asgi import protect
from agentcomm.protocols.defenses.mcp_approvals import OneTimeApprovals
from agentcomm.protocols.defenses.mcp_once import FIELD, OnceCalls
from agentcomm.protocols.defenses.mcp_resumption import SessionEvents
from agentcomm.protocols.findings import ROWS

PASS, FAIL, INCONCLUSIVE, SKIPPED = "pass", "fail", "inconclusive", "skipped"
TOKENS = {"owner_token": "alice", "stranger_token": "bobby"}
Rows = dict[tuple[str, str], str]


def verdicts(report: Report) -> Rows:
    return {(row.probe, row.where): row.verdict.value for row in report.rows}


def of(rows: Rows, probe: str) -> set[str]:
    return {verdict for (name, _), verdict in rows.items() if name == probe}


def pushing(validator: Any) -> dict[str, Any]:
    store = InMemoryPushNotificationConfigStore()
    sender = BasePushNotificationSender(httpx.AsyncClient(trust_env=False), store, push_url_validator=validator)
    return {"push_config_store": store, "push_sender": sender, "push_url_validator": validator}


async def only_known(card: AgentCard, context: Any) -> AgentCard:
    from a2a.utils.errors import InvalidParamsError

    if not context.user.is_authenticated:
        raise InvalidParamsError(message="authentication required")
    return card


@pytest.fixture(scope="module")
def bare() -> Rows:
    with a2a_server(extended=True, **pushing(None)) as server:
        return verdicts(audit(Target(server.url, changes=True, message="wait")))


@pytest.fixture(scope="module")
def owned() -> Rows:
    safe = {**pushing(validate_push_notification_url), "extended_card_modifier": only_known}
    with a2a_server(owner=True, extended=True, **safe) as server:
        return verdicts(audit(Target(server.url, changes=True, message="wait", **TOKENS)))


def test_bare_a2a_server_fails_where_it_is_open(bare: Rows) -> None:
    failing = {probe for (probe, _), verdict in bare.items() if verdict == FAIL}
    assert failing == {
        "a2a-browser", "a2a-size", "a2a-extended-card", "a2a-owner-open", "a2a-context", "a2a-anonymous",
        "a2a-replay", "a2a-push",
    }  # fmt: skip
    assert len([1 for probe, _ in bare if probe == "a2a-owner-open"]) == 6
    assert INCONCLUSIVE not in bare.values()


def test_settings_of_the_sdk_turn_their_rows(bare: Rows, owned: Rows) -> None:
    assert set(bare) == set(owned)
    turned = {probe for (probe, where) in bare if (bare[probe, where], owned[probe, where]) == (FAIL, PASS)}
    assert turned == {"a2a-extended-card", "a2a-owner-open", "a2a-push"}
    assert of(owned, "a2a-owner-open") == {PASS}


def test_one_token_cannot_show_that_owners_are_apart() -> None:
    with a2a_server(owner=True) as server:
        one = verdicts(audit(Target(server.url, changes=True, message="wait", owner_token="alice")))
        done = verdicts(audit(Target(server.url, changes=True, **TOKENS)))
        reads = verdicts(audit(Target(server.url, **TOKENS)))
        executed = server.worker.executions
        audit(Target(server.url, **TOKENS))
    assert of(one, "a2a-owner-open") == {INCONCLUSIVE}
    # a task that has ended can be neither cancelled nor continued, by anyone
    assert done["a2a-owner-open", "CancelTask"] == INCONCLUSIVE
    assert done["a2a-owner-open", "GetTask"] == PASS
    assert of(reads, "a2a-owner-open") == {SKIPPED}
    assert server.worker.executions == executed  # nothing runs unless allowed


class Gate:
    """Refuses callers other than alice, whoever owns a task: a server that knows tokens and no owners."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        given = dict(scope.get("headers", ())).get(b"authorization")
        if scope["type"] == "http" and scope["method"] == "POST" and given != b"Bearer alice":
            await send({"type": "http.response.start", "status": 401, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        else:
            await self.app(scope, receive, send)


def test_a_token_that_is_refused_everywhere_shows_nothing() -> None:
    with a2a_server(middleware=Gate) as server:
        rows = verdicts(audit(Target(server.url, changes=True, message="wait", **TOKENS)))
    assert of(rows, "a2a-owner-open") == {INCONCLUSIVE}
    assert of(rows, "a2a-anonymous") == {PASS}


def elsewhere(card: AgentCard) -> AgentCard:
    extra = card.supported_interfaces.add()
    extra.CopyFrom(card.supported_interfaces[0])
    extra.url = "http://evil.example/"
    return card


def test_cards() -> None:
    for key, card, expected in (
        (None, signed(), INCONCLUSIVE),
        (PEM, signed(), PASS),
        (PEM, signed(OTHER), FAIL),
        (PEM, None, FAIL),
    ):
        change = (lambda own, card=card: card) if card else elsewhere
        with a2a_server(card=change) as server:
            rows = verdicts(audit(Target(server.url, card_key=key)))
        assert of(rows, "a2a-card-forged") == {expected}
        assert of(rows, "a2a-card-origin") == {FAIL}


@pytest.fixture(scope="module")
def mcp_bare() -> Iterator[tuple[Report, Rows]]:
    with mcp_server(event_store=Events(), host="0.0.0.0") as server:  # on loopback all the same
        report = audit(Target(server.url, changes=True, tool="pay", arguments={"to": "shop"}))
        yield report, verdicts(report)


def test_bare_mcp_server_fails_where_it_is_open(mcp_bare: tuple[Report, Rows]) -> None:
    report, rows = mcp_bare
    failing = {probe for (probe, _), verdict in rows.items() if verdict == FAIL}
    assert failing == {"mcp-browser", "mcp-session", "mcp-resumption", "mcp-approval-replayed"}
    assert report.exit_code == 1
    assert rows["mcp-browser", "text/plain"] == PASS


def test_verifier_and_pins_turn_their_rows(mcp_bare: tuple[Report, Rows]) -> None:
    evidence = next(row.evidence for row in mcp_bare[0].rows if row.probe == "mcp-rug-pull")
    pinned = evidence.split()[-1]
    target: dict[str, Any] = {"owner_token": "alice", "stranger_token": "bob", "changes": True, "tool": "add"}
    with mcp_server(verifier=True) as server:
        given = Target(server.url, arguments={"a": 1, "b": 2}, tools_digest=pinned, **target)
        report = audit(given)
        rows = verdicts(report)
        other = verdicts(audit(Target(server.url, tools_digest="0" * 64, **target)))
    assert report.exit_code == 0
    assert of(rows, "mcp-session") == of(rows, "mcp-anonymous") == of(rows, "mcp-browser") == {PASS}
    assert of(rows, "mcp-resumption") == {SKIPPED}
    assert of(rows, "mcp-replay") == {INCONCLUSIVE}
    assert rows["mcp-rug-pull", "tools"] == PASS
    assert other["mcp-rug-pull", "tools"] == FAIL


PROTECTED: dict[str, Any] = {"owner_token": "alice", "stranger_token": "bob", "changes": True}


def test_protected_a2a_server_passes(owned: Rows) -> None:
    safe = safe_push(InMemoryPushNotificationConfigStore())
    with a2a_server(owner=True, extended=True, handler=ProtectedHandler, middleware=protect, **safe) as server:
        rows = verdicts(audit(Target(server.url, message="wait", **PROTECTED)))
    assert set(rows) == set(owned)
    # the test's owner hook lets callers without a token in, who then share an owner
    assert {probe for (probe, _), verdict in rows.items() if verdict == FAIL} == {"a2a-anonymous"}
    assert INCONCLUSIVE not in rows.values()


@pytest.mark.parametrize(
    ("tool", "given", "expected"),
    [("count", {}, {"mcp-replay": PASS, "mcp-approval-replayed": SKIPPED}),
     ("pay", {"to": "shop"}, {"mcp-replay": SKIPPED, "mcp-approval-replayed": PASS})],
)  # fmt: skip
def test_protected_mcp_server_passes(tool: str, given: dict[str, Any], expected: dict[str, str]) -> None:
    events = SessionEvents()

    def tools(calls: Any, **settings: Any) -> Any:
        return mcp_tools(calls, middleware=[OnceCalls(), OneTimeApprovals()], **settings)

    def guarded(app: Any) -> Any:
        return protect(events.guard(app))

    with mcp_server(verifier=True, tools=tools, event_store=events, middleware=guarded) as server:
        report = audit(Target(server.url, tool=tool, arguments=given, **PROTECTED))
    rows = verdicts(report)
    assert {probe: of(rows, probe) for probe in expected} == {probe: {verdict} for probe, verdict in expected.items()}
    assert of(rows, "mcp-resumption") == {PASS}
    assert report.exit_code == 0


def test_the_example_is_what_the_page_says() -> None:
    example = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "a2a_agent.py"))
    tokens = {"owner_token": "alice-token", "stranger_token": "bob-token", "changes": True}
    failing = {}
    for build in ("bare", "protected"):
        with serve(example[build]) as server:
            rows = verdicts(audit(Target(server.url, **tokens)))
        failing[build] = {probe for (probe, _), verdict in rows.items() if verdict == FAIL}
        assert INCONCLUSIVE not in rows.values()
    all_ = {"a2a-owner-open", "a2a-context", "a2a-anonymous", "a2a-replay", "a2a-size", "a2a-browser"}
    assert failing == {"bare": all_, "protected": {"a2a-anonymous"}}


def test_an_agent_that_makes_no_tasks_is_not_passed_over() -> None:
    example = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "protected_agents.py"))
    token = {"owner_token": "a-long-random-token", "stranger_token": "bob-token", "changes": True}
    with serve(example["agent"]) as server:
        report = audit(Target(server.url, **token))
    with serve(example["closed"]) as server:
        refusing = verdicts(audit(Target(server.url, **token)))
    rows = verdicts(report)
    assert of(rows, "a2a-anonymous") == {FAIL}
    assert of(rows, "a2a-owner-open") == {SKIPPED}
    assert report.exit_code == 1
    assert of(refusing, "a2a-anonymous") == {PASS}


def test_servers_of_the_older_version_are_asked_in_sessions() -> None:
    """A request of a version that the server does not speak would be refused whatever is in it."""
    with mcp_server(
        middleware=DenyDiscovery, event_store=Events(), host="0.0.0.0", max_request_body_size=20 << 20
    ) as server:
        rows = verdicts(audit(Target(server.url)))
    assert rows["mcp-size", "8 MiB"] == FAIL
    assert of(rows, "mcp-resumption") == {FAIL}
    assert of(rows, "mcp-batch") == of(rows, "mcp-depth") == {PASS}
    assert of(rows, "mcp-version") == {SKIPPED}


def test_a_counter_shows_replays() -> None:
    with mcp_server() as server:
        rows = verdicts(audit(Target(server.url, changes=True, tool="count")))
    assert of(rows, "mcp-replay") == {FAIL}
    assert FIELD == KEY


def test_defenses_of_findings_exist() -> None:
    for row in ROWS:
        module, _, name = row.defense.partition(".")
        assert not module or hasattr(import_module(f"agentcomm.protocols.defenses.{module}"), name), row.id
