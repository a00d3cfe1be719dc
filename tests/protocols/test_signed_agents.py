"""The signed agent of the documentation, and its client through the proxy, which exchanges URLs on cards."""

from __future__ import annotations

import asyncio
import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from protocols.test_proxy import proxied

from agentcomm.protocols.defenses import Signer, SignMessages, origin
from agentcomm.protocols.serving import serve

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_signed_example_refuses_what_its_client_has_not_signed() -> None:
    run = subprocess.run(
        [sys.executable, EXAMPLES / "signed_agents.py"], capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    assert run.stdout.splitlines() == [
        "signed: Hello, alice",
        "unsigned: refused: the message is not signed",
        "another key: refused: the signature is not the sender's",
        "edited on the way: refused: the message is not the one that was signed",
    ]


def test_a_signed_client_names_the_server_as_its_audience_behind_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """By default it takes the proxy for the audience, as the card that it gets names the proxy."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    example: Any = importlib.import_module("signed_agents")
    edit = "edit:direction=request,path=..text,to=Goodbye"

    async def go() -> None:
        async with serve(example.agent) as server:
            home = origin(server)
            by_card = SignMessages(Signer("alice", example.ALICE))
            by_name = SignMessages(Signer("alice", example.ALICE), audience=lambda card: home)
            async with proxied(server) as (url, _):
                assert f"addressed to {url!r}, not to {home!r}" in await example.say(url, "Hello", [by_card])
                assert await example.say(url, "Hello", [by_name]) == "Hello, alice"
            async with proxied(server, edit) as (url, place):
                assert "not the one that was signed" in await example.say(url, "Hello", [by_name])
                assert place.done["changed"] == 1

    asyncio.run(go())
