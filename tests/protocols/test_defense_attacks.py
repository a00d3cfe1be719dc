"""Every attack of the catalog that a defense is for: it works on the bare SDK, and the defense stops it."""

import asyncio

import pytest

from agentcomm.protocols.attacks.catalog import attacks
from agentcomm.protocols.defenses.catalog import DEFENSES

STOPS = {
    "a2a": {
        "replay": ["claims_ed25519", "once", "http_signatures"],
        "edit_request": ["claims_hmac", "http_signatures"],
        "edit_answer": ["signed_answers"],
        "stream_cut": ["streams"],
        "stranger": ["owners"],
        "context_reuse": ["contexts"],
        "card_origin": ["cards"],
        "copied_card": ["possession"],
        "extended_card": ["extended_card"],
        "half_open": ["timeouts"],
        "push_ssrf": ["push"],
        "huge_body": ["limits"],
        "cross_site": ["browsers"],
        "delegation_cycle": ["chain"],
    },
    "mcp": {
        "replay": ["claims_ed25519", "once", "http_signatures"],
        "edit_request": ["claims_hmac"],
        "cache_poisoning": ["cache"],
        "downgrade": ["versions"],
        "rug_pull": ["pins"],
        "name_collision": ["pins"],
        "approval_replayed": ["approvals"],
        "approval_omitted": ["approvals"],
        "session_hijack": ["tokens"],
        "resumption_leak": ["resumption"],
        "cross_site": ["browsers"],
    },
}
CASES = [
    (protocol, attack, name) for protocol in STOPS for attack in STOPS[protocol] for name in STOPS[protocol][attack]
]


@pytest.mark.parametrize(("protocol", "attack", "defense"), CASES)
def test_the_defense_stops_the_attack(protocol, attack, defense):
    (made,) = (each for each in attacks(protocol) if each.name == attack)
    outcome = asyncio.run(made.run(DEFENSES[protocol][defense]))
    assert (outcome.succeeded, outcome.honest) == (False, True), outcome.evidence


def test_every_defense_serves_honest_callers_under_an_attack_that_it_is_not_for():
    """No defense stops a replay by refusing everybody."""
    for protocol in STOPS:
        (replay,) = (each for each in attacks(protocol) if each.name == "replay")
        for name, functions in DEFENSES[protocol].items():
            outcome = asyncio.run(replay.run(functions))
            assert outcome.honest, (protocol, name, outcome.evidence)


def test_two_defenses_do_not_undo_each_other():
    """Defenses that go together stop what each stops, with honest callers served."""
    names = {"a2a": ["claims_hmac", "once", "contexts", "timeouts", "limits", "browsers"]}
    names["mcp"] = ["claims_hmac", "once", "approvals", "versions", "limits", "browsers"]
    for protocol, together in names.items():
        functions = []
        for name in together:
            functions += [each for each in DEFENSES[protocol][name] if each not in functions]
        (replay,) = (each for each in attacks(protocol) if each.name == "replay")
        outcome = asyncio.run(replay.run(functions))
        assert (outcome.succeeded, outcome.honest) == (False, True), outcome.evidence
