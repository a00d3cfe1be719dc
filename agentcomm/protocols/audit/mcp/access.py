"""Who reaches what: tools, sessions, streams of others, and approvals."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

from agentcomm.protocols.audit.mcp.client import MCPClient, Session, done, listed
from agentcomm.protocols.audit.probes import Found, Probe, Trial, failed, passed, skipped, tried, unclear
from agentcomm.protocols.audit.target import ANONYMOUS, Caller
from agentcomm.protocols.audit.verdicts import Verdict
from agentcomm.protocols.audit.wire import Answer, dig


async def anonymous(server: MCPClient) -> AsyncIterator[Found]:
    """The list of tools without a token."""
    where = "tools/list"
    if server.target.owner_token is None:
        yield skipped(where, "no token given; with --owner-token the audit expects one to be needed")
        return
    control, attempt = await server.tools(server.target.owner), await server.tools(ANONYMOUS)
    if listed(attempt):
        yield failed(where, "served without a token")
    elif not listed(control):
        yield unclear(where, f"the control did not succeed: the owner got {control.short}")
    elif attempt.refused:
        yield passed(where, f"refused without a token ({attempt.short}); the owner is served")
    else:
        yield unclear(where, f"neither served nor refused without a token: {attempt.short}")


async def sessions(server: MCPClient) -> AsyncIterator[Found]:
    """The owner's session, used by strangers."""
    where = "Mcp-Session-Id"
    own = await server.open(server.target.owner)
    if not own.id:
        if dig(own.answer.result, "protocolVersion"):
            yield skipped(where, "the server keeps no sessions")
        elif server.stateless and own.answer.refused:
            yield skipped(where, f"the server speaks no version with sessions ({own.answer.short})")
        else:
            yield unclear(where, f"the control did not succeed: the owner got no session ({own.answer.short})")
        return

    async def attempt(caller: Caller) -> Answer:
        return await server.in_session(own, caller, "tools/list")

    found = await tried(Trial(where, attempt, listed), server.target, server.admitted)
    if found.verdict is Verdict.FAIL and server.target.owner_token and listed(await server.tools(ANONYMOUS)):
        found = failed(where, f"{found.evidence}; the server checks no token at all, as mcp-anonymous says")
    yield found


async def fixed_session(server: MCPClient) -> AsyncIterator[Found]:
    """A session id that the client chooses."""
    where, chosen = "initialize", uuid4().hex
    control = await server.open(server.target.owner)
    if not control.id:
        yield skipped(where, f"no session was opened ({control.answer.short})")
        return
    attempt = await server.open(server.target.owner, {"mcp-session-id": chosen})
    if attempt.id == chosen:
        yield failed(where, "a session was opened under an id that the client chose")
    elif attempt.id or attempt.answer.refused:
        yield passed(where, "an id that the client chose is not used; without one, a session is opened")
    else:
        yield unclear(where, f"neither opened nor refused: {attempt.answer.short}")


async def resumption(server: MCPClient) -> AsyncIterator[Found]:
    """A stream resumed in one's own session, from one's own last event and from one of the owner's."""
    own, other = server.target.owner, server.target.strangers[0]
    mine, theirs = await server.open(other), await server.open(own)
    if not mine.id:  # only the owner gets sessions: two of them must be apart, too
        mine, other = await server.open(own), own
    where = "Last-Event-ID"
    if not mine.id or not theirs.id:
        yield skipped(where, "two sessions could not be opened")
        return
    seen = [name for name, _ in (await server.in_session(mine, other, "tools/list")).events if name]
    victim = await server.in_session(theirs, own, "tools/list")
    known = [name for name, _ in victim.events if name]
    if not listed(victim):
        yield unclear(where, f"the control did not succeed: the owner got {victim.short}")
        return
    if not known or not seen:
        yield skipped(where, "streams cannot be resumed: their events have no ids")
        return
    for where, last in (("one's own last event", seen[-1]), ("an event of another session", known[0])):
        yield _leaked(where, await _resume(server, mine, other, last), known)


async def _resume(server: MCPClient, session: Session, caller: Caller, last: str) -> Answer:
    headers = {**session.headers, "accept": "text/event-stream", "last-event-id": last}
    return await server.wire.request("GET", server.wire.url, caller, headers, seconds=1.5)


def _leaked(where: str, answer: Answer, known: list[str]) -> Found:
    """Whether a resumed stream gave the owner's response."""
    if answer.message is not None and any(name in known for name, _ in answer.events):
        return failed(where, "the resumed stream gave a result of another session")
    if answer.status == 200 or answer.refused:
        return passed(where, "the resumed stream gave nothing of another session, in which there was a result")
    return unclear(where, f"the stream could not be resumed: {answer.short}")


async def replays(server: MCPClient) -> AsyncIterator[Found]:
    """One call of the allowed tool, sent twice with the same id and key."""
    where = f"tools/call {server.target.tool}"
    owner, key = server.target.owner, uuid4().hex
    first = await server.use(owner, key)
    if dig(first.result, "inputRequests"):
        yield skipped(where, "the tool asks for input first; see the probe of approvals")
        return
    if not done(first):
        yield unclear(where, f"the control did not succeed: the owner got {first.short}")
        return
    again, other = await server.use(owner, key), await server.use(owner)
    results = [dig(answer.result, "content") for answer in (first, again, other)]
    if again.refused:
        yield passed(where, f"the second copy was refused ({again.short})")
    elif not done(again):
        yield unclear(where, f"the second copy was neither answered nor refused: {again.short}")
    elif results[0] != results[1]:
        yield failed(where, "the second copy of one call gave another result")
    elif results[0] != results[2]:
        yield passed(where, "the second copy of one call got the first one's result, and another call a new one")
    else:
        yield unclear(where, "all calls give the same result; name a tool whose results differ, such as a counter")


def _answers(asked: Any) -> dict[str, Any]:
    """Acceptance of all that a tool asks, with a value of the right type for each field."""
    values = {"boolean": True, "integer": 1, "number": 1, "string": "agentcomm audit"}
    given = {}
    for name, request in asked.items() if isinstance(asked, dict) else ():
        fields = dig(request, "params", "requestedSchema", "properties")
        content = {
            key: values.get(str(dig(schema, "type")), "agentcomm audit")
            for key, schema in (fields.items() if isinstance(fields, dict) else ())
        }
        given[name] = {"action": "accept", "content": content}
    return given


async def approvals(server: MCPClient) -> AsyncIterator[Found]:
    """An approval of the allowed tool: sent again, by a stranger, and without its state."""
    owner, where = server.target.owner, f"tools/call {server.target.tool}"
    asked = await server.use(owner)
    state, answers = dig(asked.result, "requestState"), _answers(dig(asked.result, "inputRequests"))
    if not answers:
        yield skipped(where, f"the tool asks for no approval ({asked.short})")
        return
    with_state: dict[str, Any] = {
        "inputResponses": answers,
        **({"requestState": state} if isinstance(state, str) else {}),
    }
    control = await server.use(owner, **with_state)
    attempts: tuple[tuple[str, dict[str, Any]], ...] = (
        ("sent again", with_state),
        ("without requestState", {"inputResponses": answers}),
    )
    for what, params in attempts:
        attempt = await server.use(owner, **params)
        label = f"{where}, {what}"
        if not done(control):
            yield unclear(label, f"the control did not succeed: the approved call gave {control.short}")
        elif done(attempt):
            yield failed(label, "the tool ran again on an approval that was spent or never given")
        elif attempt.refused or dig(attempt.result, "inputRequests") or dig(attempt.result, "isError") is True:
            yield passed(label, f"the tool did not run ({attempt.short}); on a fresh approval it does")
        else:
            yield unclear(label, f"neither run nor refused: {attempt.short}")


PROBES = (
    Probe(
        "mcp-anonymous", "tools need authentication", anonymous,
        how="pass a token_verifier and auth settings to MCPServer",
    ),
    Probe("mcp-session", "sessions are used by their owner only", sessions),
    Probe(
        "mcp-session-fixed", "clients choose no session ids", fixed_session,
        how="make session ids on the server, and answer unknown ones with 404, as the SDK does",
    ),
    Probe("mcp-resumption", "resumed streams stay within their session", resumption),
    Probe("mcp-replay", "a call sent again does not run again", replays, changes=True),
    Probe("mcp-approval-replayed", "approvals are given, and work once", approvals, changes=True),
)  # fmt: skip
