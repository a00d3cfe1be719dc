"""Signed streams: honest ones arrive, and whatever is changed, left out, moved or cut is an error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from agentcomm.protocols.attacks.a2a_lab import A2AParts, client, send, server
from agentcomm.protocols.attacks.a2a_wire import on_path
from agentcomm.protocols.attacks.trying import tried
from agentcomm.protocols.defenses.catalog_parts import sign_answers
from agentcomm.protocols.defenses.errors import RefusedError
from agentcomm.protocols.defenses.http_streams import SignedStream, StreamSigner
from agentcomm.protocols.defenses.keys import PrivateKey

KEY = PrivateKey(bytes(32))
EVENTS = [b"data: one\n\n", b"id: 2\r\ndata: two\r\n\r\n", b": ping\n\n"]


def signed() -> list[bytes]:
    """The signed events of a stream, and its end."""
    signer = StreamSigner(KEY, "nonce")
    made = [signer.feed(event, last=False) for event in EVENTS]
    return [*made, signer.feed(b"", last=True)]


async def read(chunks: list[bytes], nonce: str = "nonce") -> bytes:
    async def stream() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    return b"".join([event async for event in SignedStream(stream(), KEY.public, nonce).events()])


def test_an_honest_stream_arrives_in_any_chunks() -> None:
    whole = b"".join(signed())
    for size in (1, 7, len(whole)):
        chunks = [whole[at : at + size] for at in range(0, len(whole), size)]
        assert asyncio.run(read(chunks)) == b"".join(EVENTS)


def test_whatever_was_done_to_a_stream_is_an_error() -> None:
    one, two, ping, end = signed()
    attacked = {
        "changed": [one.replace(b"one", b"two"), two, ping, end],
        "left out": [one, ping, end],
        "repeated": [one, one, two, ping, end],
        "moved": [two, one, ping, end],
        "cut": [one, two, ping],
        "unsigned": [EVENTS[0], end],
        "after the end": [one, two, ping, end, one],
        "not base64": [b"agentcomm-signature: %%%\n" + EVENTS[0]],
    }
    for how, chunks in attacked.items():
        with pytest.raises(RefusedError):
            print(how, asyncio.run(read(chunks)))
    with pytest.raises(RefusedError):
        asyncio.run(read(signed(), nonce="another"))


def test_a_client_follows_a_signed_stream_and_sees_that_one_was_cut_or_edited() -> None:
    async def go() -> None:
        parts = A2AParts()
        sign_answers(parts)
        async with server(parts) as target:
            async with client(parts, target.url, "alice", streaming=True) as alice:
                assert len((await tried(send(alice, {"a": 2, "b": 3}))).value) >= 4
            for rule in ("drop:kind=stream,contains=TASK_STATE_COMPLETED", "edit:direction=response,path=..sum,to=666"):
                async with client(parts, target.url, "alice", streaming=True, network=on_path(rule)) as alice:
                    attacked = await tried(send(alice, {"a": 2, "b": 3}))
                    assert not attacked.worked
                    assert "stream" in attacked.refusal

    asyncio.run(go())
