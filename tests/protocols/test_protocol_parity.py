"""The table of attacks and defenses on the batch, A2A and MCP: its mapping is whole, and the three agree."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from agentcomm.base import registry
from agentcomm.protocols.attacks.catalog import attacks
from agentcomm.protocols.defenses.catalog import DEFENSES
from agentcomm.runs.choices import Choice
from benchmarks import protocol_parity
from benchmarks.batch_parity import COUNTERPARTS, WITHOUT, outcome

NAMES = {attack.name for attack in attacks()}
KNOWN = {name for defenses in DEFENSES.values() for name in defenses}
PAGE = Path(protocol_parity.__file__).with_suffix(".md").read_text()


def test_each_attack_has_a_counterpart_or_a_reason_why_it_has_none() -> None:
    assert COUNTERPARTS.keys() | WITHOUT.keys() == NAMES
    assert not COUNTERPARTS.keys() & WITHOUT.keys()


@pytest.mark.parametrize("name", COUNTERPARTS)
def test_what_the_mapping_names_exists(name: str) -> None:
    of = COUNTERPARTS[name]
    assert registry.find("attack", Choice.parse(of.attack).name)
    assert of.defenses.keys() <= KNOWN
    for chosen in of.defenses.values():
        assert all(registry.find("defense", Choice.parse(defense).name) for defense in chosen)


def test_reasons_are_about_attacks_and_defenses_that_exist() -> None:
    for name, defenses in protocol_parity.REASONS:
        assert name in NAMES
        assert set(defenses) <= KNOWN | {"", "*"}


@pytest.mark.parametrize(
    ("attack", "defense", "word"),
    [
        ("replay", "", "succeeded"),
        ("replay", "once", "stopped"),
        ("directive", "claims_hmac", "succeeded"),
        ("copied_card", "cards", "succeeded"),
        ("copied_card", "possession", "stopped"),
        ("half_open", "timeouts", "stopped"),
        ("stranger", "", ""),
    ],
)
def test_cells_of_the_batch(attack: str, defense: str, word: str) -> None:
    assert outcome(attack, defense) == word


def test_outcomes_that_differ_need_a_reason() -> None:
    differ = {"batch": "succeeded", "a2a": "stopped"}
    rows = {
        ("replay", "once"): differ,
        ("stream_cut", "signed_answers"): differ,
        ("replay", ""): {"a2a": "inconclusive"},
    }
    assert protocol_parity.unexplained(rows) == [("replay", "once"), ("replay", "")]


def test_the_page_has_every_attack_and_explains_each_difference() -> None:
    assert all(f"\n| {name} | none |" in PAGE for name in NAMES)
    assert "UNEXPLAINED" not in PAGE
    assert "inconclusive" not in PAGE


@pytest.mark.slow
def test_the_whole_table_is_the_one_on_the_page() -> None:
    logging.disable(logging.CRITICAL)
    try:
        words = protocol_parity.with_batch(asyncio.run(protocol_parity.protocols()))
    finally:
        logging.disable(logging.NOTSET)
    assert not protocol_parity.unexplained(words)
    assert protocol_parity.page(words) == PAGE
