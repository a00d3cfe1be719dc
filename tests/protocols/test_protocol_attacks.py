"""Attacks on real servers and clients: open on the bare SDKs; the table of which defense stops which.

A row says which defenses of ``agentcomm.protocols.defenses.catalog`` stop an attack while honest callers are served.
With another version of an SDK, an attack that fails here says which finding was closed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import pytest

from agentcomm.protocols.attacks.base import Outcome
from agentcomm.protocols.attacks.catalog import attacks
from agentcomm.protocols.carrier import Protocol
from agentcomm.protocols.defenses.catalog import DEFENSES
from agentcomm.protocols.parity import table

SIGNED = ["claims_hmac", "claims_ed25519", "http_signatures"]
# Every defense that needs an owner comes with the owner hook.
OWNED = ["owners", "claims_hmac", "claims_ed25519", "once", "contexts", "chain", "extended_card"]
STOPPED_BY: dict[tuple[Protocol, str], list[str]] = {
    ("a2a", "replay"): [*SIGNED, "once"],
    ("a2a", "edit_request"): SIGNED,
    ("a2a", "edit_answer"): ["signed_answers"],
    ("a2a", "stream_cut"): ["streams"],
    ("a2a", "stranger"): [*OWNED, "http_signatures"],
    ("a2a", "context_reuse"): ["contexts", "chain"],
    ("a2a", "card_origin"): ["cards", "possession", "signed_answers"],
    ("a2a", "copied_card"): ["possession", "signed_answers"],
    ("a2a", "extended_card"): ["extended_card", "http_signatures"],
    ("a2a", "half_open"): ["timeouts"],
    ("a2a", "push_ssrf"): ["push"],
    ("a2a", "huge_body"): ["limits", "http_signatures"],
    ("a2a", "cross_site"): ["browsers", "chain", *SIGNED],
    ("a2a", "delegation_cycle"): ["chain", "signed_answers"],
    ("a2a", "directive"): [],
    ("mcp", "replay"): [*SIGNED, "once"],
    ("mcp", "edit_request"): SIGNED,
    ("mcp", "edit_answer"): ["signed_answers"],
    ("mcp", "cache_poisoning"): ["cache", "pins", "signed_answers"],
    ("mcp", "downgrade"): ["versions"],
    ("mcp", "rug_pull"): ["pins"],
    ("mcp", "name_collision"): ["pins"],
    ("mcp", "approval_replayed"): ["approvals"],
    ("mcp", "approval_omitted"): ["approvals"],
    ("mcp", "session_hijack"): ["tokens", *SIGNED, "once", "versions"],
    ("mcp", "resumption_leak"): ["resumption", "http_signatures", "signed_answers", "versions"],
    ("mcp", "cross_site"): ["browsers", "tokens", *SIGNED, "once"],
    ("mcp", "directive"): [],
}
BY_SDK = {("mcp", "huge_body")}
ALL = {(attack.protocol, attack.name): attack for attack in attacks()}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """SDKs log attacks as errors, with tracebacks."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def outcomes(key: tuple[Protocol, str], *names: str) -> dict[str, Outcome]:
    """Outcomes by defense; undefended under the empty name."""
    known = {key[0]: {name: DEFENSES[key[0]][name] for name in names}}
    return {cell.defense: cell.outcome for cell in asyncio.run(table([ALL[key]], known))}


def test_every_attack_has_a_row() -> None:
    assert ALL.keys() == STOPPED_BY.keys() | BY_SDK
    assert all(attack.finding and type(attack).__doc__ for attack in ALL.values())


@pytest.mark.parametrize("key", sorted(ALL), ids="-".join)
def test_every_attack_but_those_that_the_sdk_stops_succeeds_on_the_bare_sdk(key: tuple[Protocol, str]) -> None:
    outcome = outcomes(key)[""]
    assert outcome.word == ("stopped" if key in BY_SDK else "succeeded"), outcome.evidence


@pytest.mark.slow
@pytest.mark.parametrize("key", sorted(STOPPED_BY), ids="-".join)
def test_the_whole_table(key: tuple[Protocol, str]) -> None:
    made = outcomes(key, *DEFENSES[key[0]])
    stopped = {name for name, outcome in made.items() if outcome.word == "stopped"}
    assert stopped == set(STOPPED_BY[key]), {name: dict(outcome.evidence) for name, outcome in made.items()}
    assert made[""].word == "succeeded"
