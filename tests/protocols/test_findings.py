"""Each finding has a test of its own."""

from __future__ import annotations

import test_facts_a2a
import test_facts_a2a_cards
import test_facts_mcp
from facts import TESTED

from agentcomm.protocols.findings import FINDINGS


def test_each_finding_has_a_test() -> None:
    assert all((test_facts_a2a, test_facts_a2a_cards, test_facts_mcp))  # their import fills TESTED
    assert set(FINDINGS) == TESTED
