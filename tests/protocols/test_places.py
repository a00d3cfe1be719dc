"""The same attacker in its places: the batch, around real clients in the process; the proxy has tests of its own."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import httpx
import httpx2
import numpy as np
import pytest
import torch
from a2a.client import A2AClientTimeoutError, ClientConfig, ClientFactory
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.types import Message, Part, Role, SendMessageRequest
from builders import comms, team_shape
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from agentcomm.conformance import check_attack
from agentcomm.conformance.conversations import Exchange, conversation, heard
from agentcomm.protocols.attacks import a2a_lab, mcp_lab
from agentcomm.protocols.attacks.a2a_lab import A2AParts, agent_card
from agentcomm.protocols.attacks.mcp_lab import MODERN, MCPParts
from agentcomm.protocols.batch import OnPath as InBatch
from agentcomm.protocols.batch import OnPathConfig
from agentcomm.protocols.carrier import MEDIA_TYPE
from agentcomm.protocols.onpath import OnPath
from agentcomm.protocols.tampering import read_rules
from agentcomm.protocols.taps import tampered, tampered_http
from agentcomm.wire.encoding import decode, encode
from agentcomm.wire.envelope import Envelope, pack_floats, unpack_floats

RULES = (("drop:probability=0.5",), ("payload:how=flip,probability=0.5",), ("duplicate:copies=3,probability=0.5",))
SHAPE = team_shape(worlds=1, agents=4, degree=2, rounds=1)


def test_the_attack_in_the_batch_keeps_the_contract() -> None:
    check_attack(InBatch)


@pytest.mark.parametrize(
    ("rules", "says"), [(["edit:path=a,to=1"], "is for JSON"), (["duplicate", "delay"], "cannot be combined")]
)
def test_what_the_batch_cannot_do_is_refused(rules: list[str], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        OnPathConfig(rules=rules)


class Recorder(AgentExecutor):
    """Keeps the payloads that arrive, by sequence number."""

    def __init__(self) -> None:
        self.got: dict[int, list[Any]] = {}

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        assert context.message is not None
        envelope = decode(context.message.parts[0].raw)
        self.got.setdefault(envelope.sequence, []).append(unpack_floats(envelope.payload).tolist())
        part = Part(text="done")
        await event_queue.enqueue_event(Message(message_id="r", role=Role.ROLE_AGENT, parts=[part]))

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Nothing to cancel."""


def in_batch(exchanges: list[Exchange], rules: tuple[str, ...]) -> list[list[Any]]:
    """The payloads that arrive of each message, in the order in which the attacker met them."""
    network, arrived = comms(SHAPE, [InBatch(OnPathConfig(rules=rules, seed=7), SHAPE)]), []
    plain = comms(SHAPE)
    for e in exchanges:
        sent = plain.exchange(e.spoken, e.links, e.step, e.round)
        inbox = network.exchange(e.spoken, e.links, e.step, e.round)
        payload, own = heard(inbox), SHAPE.degree
        for world, receiver, slot in sent.mask.nonzero().tolist():
            source = sent.source[world, receiver, slot]
            slots = [slot, *(own + torch.arange(inbox.mask.shape[2] - own)).tolist()]
            slots = [s for s in slots if inbox.mask[world, receiver, s] and inbox.source[world, receiver, s] == source]
            arrived.append([payload[world, receiver, s].tolist() for s in slots])
    return arrived


async def over_a2a(exchanges: list[Exchange], rules: tuple[str, ...]) -> list[list[Any]]:
    """The same over a real client and server, with the attacker around the client's transport."""
    plain, recorder, number = comms(SHAPE), Recorder(), 0
    async with a2a_lab.server(A2AParts(), recorder) as target:
        transport = tampered_http(httpx, httpx.AsyncHTTPTransport(), OnPath("a2a", read_rules(rules, 7)))
        timeout = httpx.Timeout(5, read=0.2 if rules[0].startswith("drop") else 5)
        async with httpx.AsyncClient(transport=transport, timeout=timeout) as http:
            caller = ClientFactory(ClientConfig(streaming=False, httpx_client=http)).create(
                agent_card(f"{target.url}/")
            )
            for e in exchanges:
                sent = plain.exchange(e.spoken, e.links, e.step, e.round)
                for at in map(tuple, sent.mask.nonzero().tolist()):
                    payload = pack_floats(np.asarray(heard(sent)[at].tolist(), dtype=np.float32))
                    headers: dict[str, Any] = dict.fromkeys(("sent_round", "sent_at", "expiry", "hops"), 0)
                    envelope = Envelope(sender=1, audience=0, sequence=number, payload=payload, **headers)
                    part, number = Part(raw=encode(envelope), media_type=MEDIA_TYPE), number + 1
                    message = Message(message_id=str(number), role=Role.ROLE_USER, parts=[part])
                    with contextlib.suppress(A2AClientTimeoutError):
                        [x async for x in caller.send_message(SendMessageRequest(message=message))]
    return [recorder.got.get(k, []) for k in range(number)]


@pytest.mark.parametrize("rules", RULES)
def test_batch_and_a2a_give_the_same_outcomes_on_the_same_messages(rules: tuple[str, ...]) -> None:
    # Answers are numbered apart from requests, and no rule touches them.
    rules = tuple(f"{rule},direction=request" for rule in rules)
    exchanges = list(conversation(SHAPE, 3))
    there = asyncio.run(over_a2a(exchanges, rules))
    here = in_batch(exchanges, rules)
    assert len(here) >= 12
    assert here == there
    plain = in_batch(exchanges, ("drop:probability=0",))
    changed = [a != b for a, b in zip(here, plain, strict=True)]
    assert 0 < sum(changed) < len(changed)


@pytest.mark.parametrize("mode", ["legacy", MODERN])
def test_an_mcp_client_is_attacked_in_the_process(mode: str) -> None:
    async def go() -> None:
        rules = [
            "edit:direction=request,path=params.arguments.a,to=40",
            "duplicate:direction=request,method=tools/call",
        ]
        attacker = OnPath("mcp", read_rules([*rules, "description:method=tools/list,to=evil"]))
        async with mcp_lab.serving(MCPParts()) as target:
            inner = streamable_http_client(f"{target.url}/mcp")
            async with Client(tampered(inner, attacker), mode=mode) as caller:
                assert (await caller.list_tools()).tools[0].description == "evil"
                assert mcp_lab.result_of(await caller.call_tool("add", {"a": 2, "b": 3})) == 43
                await asyncio.sleep(0.1)
            # A session of the older protocol has one call of an id at a time.
            assert target.calls == [(40, 3)] * (2 if mode == MODERN else 1)

    asyncio.run(go())


def test_a_dropped_request_times_out_in_the_process() -> None:
    async def go() -> None:
        async with mcp_lab.serving(MCPParts()) as target:
            attacker = OnPath("mcp", read_rules(["drop:direction=request"]))
            transport = tampered_http(httpx2, httpx2.AsyncHTTPTransport(), attacker)
            async with httpx2.AsyncClient(transport=transport, timeout=0.1) as caller:
                with pytest.raises(httpx2.ReadTimeout, match="on purpose"):
                    await caller.get(target.url)
            assert attacker.done == {"seen": 1, "dropped": 1}

    asyncio.run(go())
