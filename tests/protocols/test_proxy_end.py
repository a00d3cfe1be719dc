"""The end of the proxy: soon, with the answers that are under way, and with a summary that says what was missed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import httpx2
import pytest
from protocols.test_proxy import proxied, summed
from protocols.test_tampering import event

from agentcomm.cli.proxy import GRACE
from agentcomm.protocols.attacks import a2a_lab
from agentcomm.protocols.attacks.a2a_lab import A2AParts
from agentcomm.protocols.onpath import OnPath
from agentcomm.protocols.proxy import Proxy
from agentcomm.protocols.serving import serve
from agentcomm.protocols.tally import MAX_METHODS
from agentcomm.protocols.tampering import read_rules


def summary(*rules: str, events: Sequence[tuple[str, str, bytes]] = ()) -> list[str]:
    """The summary after some events, each a direction, a method and a body."""
    attacker = read_rules(rules)
    place = OnPath("a2a", attacker)
    for direction, method, body in events:
        place.meet(direction, method, body)  # type: ignore[arg-type]
    return place.tally.lines(attacker.rules)


CALL = ("request", "SendStreamingMessage", b'{"a": 1}')
ANSWER = ("response", "SendStreamingMessage", b'{"id": 1, "result": {"b": 2}}')


def test_the_summary_counts_what_each_attack_met_and_changed() -> None:
    assert summary("edit:path=..a,to=5", "duplicate:direction=response", events=[CALL, CALL, ANSWER]) == [
        "Methods seen: SendStreamingMessage (2 request, 1 response)",
        "  edit (path=..a, to=5): met 3 events, changed 2",
        "  duplicate (direction=response): met 1 event, duplicated 1",
    ]


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        (
            "drop:method=SendMessage",
            "met nothing, as no event had method=SendMessage; the methods were SendStreamingMessage",
        ),
        ("drop:kind=card,contains=x", "met nothing, as no event had kind=card or contains=x"),
        (
            "drop:contains=result,direction=request",
            "met nothing, as no event that reached it met all of its conditions at once",
        ),
        ("drop:start=9", "met nothing, as no event had start=9"),
        ("edit:path=..nowhere,to=1", "met 2 events, changed none, as there is nothing to change at its path"),
        ("edit:path=..a,to=1,probability=0", "met 2 events, changed none"),
        ("payload", "met 2 events, changed none, as they hold no envelopes of agentcomm"),
        ("refuse", "met 1 event, refused 1"),
    ],
)
def test_an_attack_that_does_nothing_is_told_why(rule: str, says: str) -> None:
    line = summary(rule, events=[CALL, ANSWER])[1]
    assert line.endswith(says)


def test_an_attack_behind_one_that_drops_everything_meets_nothing() -> None:
    lines = summary("drop", "edit:path=a,to=1", events=[CALL])
    assert "dropped 1" in lines[1]
    assert "no event that reached it" in lines[2]


def test_without_events_the_summary_says_so() -> None:
    assert summary("drop") == ["Nothing arrived: does your client use the proxy's URL instead of the server's?"]


def test_the_summary_is_bounded_whatever_methods_clients_name() -> None:
    (line,) = summary(events=[("request", f"{n}\n" + "x" * 1000, b"") for n in range(1000)])
    assert len(line) < 120 * MAX_METHODS
    assert f"others ({1000 - MAX_METHODS} request)" in line
    assert "\n" not in line


def test_conditions_that_are_not_met_are_named() -> None:
    (rule,) = read_rules(["drop:direction=response,method=x,start=1,contains=y"]).rules
    assert list(rule.unmet(event(b"z"))) == ["direction", "method", "start", "contains"]
    assert not rule.applies(event(b"z"))


def streaming(seconds: float) -> Any:
    """A server of streams whose second and last event comes after some time."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        await asyncio.sleep(seconds)
        await send({"type": "http.response.body", "body": b"data: 2\n\n", "more_body": False})

    return app


@pytest.mark.parametrize("seconds", [GRACE / 2, 60])
def test_answers_under_way_get_the_grace_to_finish_and_no_more(seconds: float) -> None:
    """With an idle connection beside, which must not hold the end up."""

    async def go() -> None:
        place = OnPath("a2a", read_rules(()))
        async with serve(lambda _: streaming(seconds)) as upstream, httpx2.AsyncClient(timeout=10) as caller:
            ending = serve(lambda _: Proxy(upstream, place), timeout_graceful_shutdown=GRACE)
            url = await ending.__aenter__()
            _, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
            async with caller.stream("POST", url, json={}) as answer:
                chunks = answer.aiter_raw()
                assert await anext(chunks) == b"data: 1\n\n"
                begun = time.monotonic()
                ended = asyncio.create_task(ending.__aexit__(None, None, None))
                if seconds < GRACE:
                    assert await anext(chunks) == b"data: 2\n\n"
                await ended
                assert time.monotonic() - begun < 5, "of a busy machine; 60 without the bound"
            writer.close()

    asyncio.run(go())


def test_ctrl_c_ends_the_command_with_its_summary_while_a_stream_goes_on() -> None:
    command = [sys.executable, "-m", "agentcomm", "proxy", "--protocol", "a2a", "--listen", "127.0.0.1:0"]
    command += ["--attack", "duplicate:method=SendMessage"]

    async def go() -> None:
        async with serve(lambda _: streaming(600)) as upstream, httpx2.AsyncClient(timeout=30) as caller:
            process = await asyncio.create_subprocess_exec(
                *command, "--upstream", upstream, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            assert process.stdout is not None
            lines = [(await process.stdout.readline()).decode() for _ in range(4)]
            url = lines[0].split(" at ")[1].split(",")[0]
            call = {"jsonrpc": "2.0", "id": 1, "method": "SendStreamingMessage"}
            async with caller.stream("POST", url, json=call) as answer:
                assert await anext(answer.aiter_raw()) == b"data: 1\n\n"
                os.kill(process.pid, signal.SIGINT)
                out, err = await asyncio.wait_for(process.communicate(), 30)
            assert (process.returncode, err) == (0, b"")
            said = out.decode().splitlines()
            assert said[-2] == "Methods seen: SendStreamingMessage (1 request, 1 stream)"
            assert said[-1].endswith("no event had method=SendMessage; the methods were SendStreamingMessage")

    asyncio.run(go())


def test_clients_that_stream_call_another_method_than_those_that_wait() -> None:
    """Which the documentation says, and the examples of attacks rely on."""

    async def go() -> None:
        for streams, method in ((True, "SendStreamingMessage"), (False, "SendMessage")):
            async with (
                a2a_lab.server(A2AParts()) as target,
                proxied(target.url, f"duplicate:direction=request,method={method}") as (url, place),
            ):
                await summed(url, streaming=streams)
                assert place.done["duplicated"] == 1

    asyncio.run(go())
