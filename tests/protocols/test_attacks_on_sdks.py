"""Attacks on real servers and clients: open on the bare SDKs; the table of which defense stops which.

A row says which defenses of ``agentcomm.protocols.defenses.catalog`` stop an attack while honest callers are served.
With another version of an SDK, an attack that fails here says which finding was closed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import pytest

from agentcomm.protocols.attacks.base import Outcome, ProtocolAttack
from agentcomm.protocols.attacks.catalog import attacks
from agentcomm.protocols.attacks.trying import tried
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
    ("a2a", "stream_cut"): ["streams", "signed_answers"],
    ("a2a", "stranger"): [*OWNED, "http_signatures"],
    ("a2a", "context_reuse"): ["contexts", "chain"],
    ("a2a", "card_origin"): ["cards", "possession", "signed_answers"],
    ("a2a", "copied_card"): ["possession", "signed_answers"],
    ("a2a", "extended_card"): ["extended_card", "http_signatures"],
    ("a2a", "half_open"): ["timeouts"],
    ("a2a", "push_ssrf"): ["push"],
    ("a2a", "huge_body"): ["limits", "http_signatures"],
    ("a2a", "cross_site"): ["browsers", "chain", *SIGNED],
    ("a2a", "delegation_cycle"): ["chain", "possession", "signed_answers"],
    ("a2a", "directive"): [],
    ("mcp", "replay"): [*SIGNED, "once"],
    ("mcp", "edit_request"): SIGNED,
    ("mcp", "edit_answer"): ["signed_answers"],
    ("mcp", "cache_poisoning"): ["cache", "pins", "signed_answers"],
    ("mcp", "downgrade"): ["versions"],
    ("mcp", "rug_pull"): ["pins"],
    ("mcp", "name_collision"): ["pins", "signed_answers"],
    ("mcp", "approval_replayed"): ["approvals"],
    ("mcp", "approval_omitted"): ["approvals"],
    ("mcp", "session_hijack"): ["tokens", *SIGNED, "once", "versions"],
    ("mcp", "resumption_leak"): ["resumption", "http_signatures", "signed_answers", "versions"],
    ("mcp", "cross_site"): ["browsers", "tokens", *SIGNED, "once"],
    ("mcp", "directive"): [],
}
# The defense that is made for an attack; the slow table has all the others.
OWN = {
    ("a2a", "replay"): "once",
    ("a2a", "edit_request"): "claims_hmac",
    ("a2a", "edit_answer"): "signed_answers",
    ("a2a", "stream_cut"): "streams",
    ("a2a", "stranger"): "owners",
    ("a2a", "context_reuse"): "contexts",
    ("a2a", "card_origin"): "cards",
    ("a2a", "copied_card"): "possession",
    ("a2a", "extended_card"): "extended_card",
    ("a2a", "half_open"): "timeouts",
    ("a2a", "push_ssrf"): "push",
    ("a2a", "huge_body"): "limits",
    ("a2a", "cross_site"): "browsers",
    ("a2a", "delegation_cycle"): "chain",
    ("mcp", "replay"): "claims_ed25519",
    ("mcp", "edit_request"): "http_signatures",
    ("mcp", "edit_answer"): "signed_answers",
    ("mcp", "cache_poisoning"): "cache",
    ("mcp", "downgrade"): "versions",
    ("mcp", "rug_pull"): "pins",
    ("mcp", "name_collision"): "pins",
    ("mcp", "approval_replayed"): "approvals",
    ("mcp", "approval_omitted"): "approvals",
    ("mcp", "session_hijack"): "tokens",
    ("mcp", "resumption_leak"): "resumption",
    ("mcp", "cross_site"): "browsers",
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
def test_every_attack_works_on_the_bare_sdk_and_is_stopped_by_its_defense(key: tuple[Protocol, str]) -> None:
    made = outcomes(key, *([OWN[key]] if key in OWN else []))
    found = {name: outcome.word for name, outcome in made.items()}
    expected = {"": "stopped" if key in BY_SDK else "succeeded"}
    assert found == expected | ({OWN[key]: "stopped"} if key in OWN else {}), made


@pytest.mark.parametrize(
    ("attack", "defense"),
    [
        ("approval_replayed", "claims_hmac"),  # the sealed requestState is what was signed
        ("name_collision", "claims_hmac"),  # the SDK's group of sessions signs as well
        ("name_collision", "once"),
        ("resumption_leak", "once"),  # the attacker's own calls are refused, and still tell where its stream ends
    ],
)
def test_defenses_serve_honest_callers_under_attacks_that_they_are_not_for(attack: str, defense: str) -> None:
    outcome = outcomes(("mcp", attack), defense)[defense]
    assert outcome.word == "succeeded", outcome.evidence


@pytest.mark.slow
@pytest.mark.parametrize("key", sorted(STOPPED_BY), ids="-".join)
def test_the_whole_table(key: tuple[Protocol, str]) -> None:
    made = outcomes(key, *DEFENSES[key[0]])
    evidence = {name: dict(outcome.evidence) for name, outcome in made.items()}
    assert {name for name, outcome in made.items() if outcome.word == "stopped"} == set(STOPPED_BY[key]), evidence
    assert {outcome.word for outcome in made.values()} <= {"succeeded", "stopped"}, evidence
    assert made[""].word == "succeeded"


@pytest.mark.parametrize("protocol", ["a2a", "mcp"])
def test_two_defenses_do_not_undo_each_other(protocol: Protocol) -> None:
    """Defenses that go together stop what each stops, with honest callers served."""
    names = {
        "a2a": ["claims_hmac", "once", "contexts", "timeouts", "limits", "browsers"],
        "mcp": ["claims_hmac", "once", "approvals", "versions", "limits", "browsers"],
    }
    together = dict.fromkeys(function for name in names[protocol] for function in DEFENSES[protocol][name])
    outcome = asyncio.run(ALL[protocol, "replay"].run(list(together)))
    assert outcome.word == "stopped", outcome.evidence


class Never(ProtocolAttack[None]):
    """An attack whose call is never answered, or that fails itself."""

    name, protocol, finding = "never", "a2a", "nothing"

    def __init__(self, fails: bool) -> None:
        self.fails = fails

    def parts(self) -> None:
        """None."""

    async def attempt(self, parts: None) -> Outcome:
        """Wait."""
        if self.fails:
            raise OSError("out of sockets")
        return Outcome(False, (await tried(asyncio.sleep(9), 0.01)).worked)


@pytest.mark.parametrize("fails", [False, True])
def test_what_is_not_answered_in_time_was_not_stopped(fails: bool) -> None:
    outcome = asyncio.run(Never(fails).run())
    assert outcome.word == "inconclusive"
    assert outcome.evidence["error"].startswith("OSError" if fails else "NoAnswerError")
