"""The batch, real messages, and real messages over A2A and MCP: the same verdicts, ledger, inboxes and episodes."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
import torch
from builders import Attacked, comms, defense, known_attack, known_channel, known_defenses, team_shape

from agentcomm.base.errors import PluginError
from agentcomm.base.transports import find, names
from agentcomm.conformance.conversations import carry, conversation, heard
from agentcomm.protocols.carrier import PROTOCOLS
from agentcomm.protocols.transport import ProtocolTransport


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) == before, "a transport was not closed"


def run(transport: str, form: str | None, channels: tuple[str, ...] = ()) -> tuple[Attacked, list[torch.Tensor]]:
    s = team_shape(worlds=2, agents=3, degree=2, width=4)
    attacks = [] if form is None else [known_attack(form, s)]
    slots = s.degree + sum(attack.injections() for attack in attacks)
    made = comms(
        s, attacks, known_defenses("both", s), 3, [known_channel(c, s, slots) for c in channels], transport=transport
    )
    made.network.trace = []
    try:
        return made, [heard(inbox) for inbox in carry(made, conversation(s, 3, seed=5))]
    finally:
        made.network.close()


@pytest.mark.parametrize("form", [None, "noise", "impersonate stale", "replay alongside", "delay", "drop"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_protocols_agree_with_the_batch_under_attack_and_authentication(protocol: str, form: str | None) -> None:
    batch, heard_there = run("batch", form)
    real, heard_here = run(protocol, form)
    assert torch.equal(batch.ledger.messages, real.ledger.messages)
    assert torch.equal(batch.ledger.bytes, real.ledger.bytes)
    assert all(torch.equal(count, real.ledger.refused_by[by]) for by, count in batch.ledger.refused_by.items())
    for one, other in zip(heard_there, heard_here, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)
    objects, _ = run("objects", form)
    for first, second in zip(objects.trace or [], real.trace or [], strict=True):
        assert all((first.fields[name] == values).all() for name, values in second.fields.items())


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_channels_act_on_what_goes_over_the_sockets(protocol: str) -> None:
    (batch, there), (real, here) = (run(by, "noise", ("delay jitter", "loss")) for by in ("batch", protocol))
    assert torch.equal(batch.ledger.messages, real.ledger.messages)
    assert all(torch.allclose(a, b, rtol=0, atol=1e-6) for a, b in zip(there, here, strict=True))


def test_servers_start_with_the_first_message_and_end_with_the_network() -> None:
    s = team_shape(worlds=1, agents=3, degree=2, width=4)
    threads = threading.active_count()
    made = comms(s, [], [defense("clip", s)], transport="mcp")
    assert threading.active_count() == threads
    carry(made, conversation(s, 1))
    assert threading.active_count() == threads + 1
    del made  # forgotten by whoever made it
    assert threading.active_count() == threads


def test_transports_are_found_by_name() -> None:
    assert names()[:2] == ("batch", "objects")
    assert {"a2a", "mcp"} <= set(names())
    assert issubclass(find("a2a"), ProtocolTransport)
    with pytest.raises(PluginError, match="unknown transport 'pigeon'; known: a2a, batch, mcp, objects"):
        find("pigeon")


def test_the_package_and_its_lists_load_no_sdk() -> None:
    code = (
        "import sys, agentcomm, agentcomm.cli.main as m; from typer.testing import CliRunner\n"
        "for words in (['--help'], ['list'], ['evaluate', '--help']):\n"
        "    assert CliRunner().invoke(m.app, words).exit_code == 0, words\n"
        "bad = {'a2a', 'mcp', 'uvicorn', 'starlette', 'httpx', 'httpx2'} & set(sys.modules)\n"
        "assert not bad, bad\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
