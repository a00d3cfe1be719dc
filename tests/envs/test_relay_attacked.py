"""What jamming, delay and an outsider with many names do to routing by messages on ``relay``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from routing import route

from agentcomm import api

ATTACKS = ["jam:duty=0.9,burst=20", "jam:duty=0.2,burst=1", "delay:steps=4", "delay:steps=1", "impersonate:copies=2"]
LONG, SHORT, LATE, SOON, SYBIL = ATTACKS


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], dict[str, Any]]:
    """The cells by attack, as written above, and defense."""
    root: Path = tmp_path_factory.mktemp("relay")
    run = api.from_callable(route, "relay", episodes=96, root=root)
    found = api.evaluate(run, attacks=ATTACKS, defenses=["authenticate"], progress=False)
    assert {row["status"] for row in found} == {"ok"}
    names = ["", *ATTACKS]
    labels = list(dict.fromkeys((row["attack"] or {}).get("label", "") for row in found))
    return {(names[labels.index((r["attack"] or {}).get("label", ""))], r["defense_label"]): r for r in found}


Rows = dict[tuple[str, str], dict[str, Any]]


def effect(rows: Rows, attack: str, defense: str = "none") -> dict[str, float]:
    found: dict[str, float] = rows[attack, defense]["effect"]
    return found


def test_distance_vectors_of_a_callable_come_near_the_closed_form(rows: Rows) -> None:
    """-0.147 with shortest paths, -0.191 with one hop per step at once; callables hear one step later."""
    assert -0.27 < rows["", "none"]["metrics"]["mean_return"] < -0.191
    assert rows["", "none"]["references"]["silent"]["mean_return"] < -0.8


def test_jamming_costs_detours_and_long_bursts_more_than_short_ones(rows: Rows) -> None:
    long, short = effect(rows, LONG), effect(rows, SHORT)
    assert long["damage"] > 0.3
    assert 0 < short["damage"] < 0.1
    assert long["lie"] == pytest.approx(0), "it says nothing false"
    assert effect(rows, LONG, "authenticate")["damage"] == long["damage"], "no seal helps against a jammer"


def test_delay_costs_less_than_silence_and_more_the_longer_it_is(rows: Rows) -> None:
    late, soon = effect(rows, LATE), effect(rows, SOON)
    assert late["damage"] > soon["damage"] + 0.1
    assert soon["damage"] > 0.03
    assert late["silence"] > late["damage"] + 0.1, "old advertisements are better than none"


def test_an_outsider_with_many_names_misleads_unless_senders_are_authenticated(rows: Rows) -> None:
    """Advertisements of one newcomer in the names of all nodes in turn: a Sybil attack on routing."""
    sybil = effect(rows, SYBIL)
    assert sybil["damage"] > 0.05
    assert abs(sybil["control_damage"]) < 0.5 * sybil["damage"], "as many messages without the names do less"
    assert sybil["success"] > 0.4
    assert effect(rows, SYBIL, "authenticate")["damage"] == pytest.approx(0)
    assert rows[SYBIL, "authenticate"]["ledger"]["accepted_forged"] == 0
    assert rows[SYBIL, "none"]["ledger"]["accepted_forged"] > 0
