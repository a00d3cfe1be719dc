"""Closed links are counted, and those on which no attack acted apart from the others."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from agentcomm.base import registry
from agentcomm.contracts.defense import Defense
from agentcomm.contracts.outcome import Episodes
from agentcomm.contracts.verdicts import Delivered, Verdicts
from agentcomm.evaluation.play import play
from agentcomm.metrics.detection import FalseIsolations
from agentcomm.runs.assembly import make_comms, make_policy, make_world
from agentcomm.runs.choices import Choice


class Jumpy(Defense):
    """Refuses what comes in by the link from agent 2, whatever it says."""

    name = "jumpy"
    order = "content"
    lossless = False

    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        return Verdicts(refuse=delivered.present & (delivered.link == 2))


def episodes(attack: dict[str, Any] | None, *group: str) -> Episodes:
    world = make_world(Choice(name="predator_prey"), 4)
    choice = Choice.model_validate({"name": "commformer", "topology": {"name": "full"}})
    attacks = [] if attack is None else [Choice.model_validate(attack)]
    defenses = [Choice.parse(name) for name in group]
    policy = make_policy(choice, world, seed=0)
    return play(world, policy, make_comms(world, policy, attacks, defenses, 1), 7)


def test_isolations_of_attacked_links_and_senders_are_no_false_ones(monkeypatch: Any) -> None:
    monkeypatch.setitem(registry._registered, ("defense", "jumpy"), Jumpy)
    quarantine = "quarantine:limit=1,steps=200"
    noise = {"name": "noise", "links": [[0, 1]], "epsilon": 5.0}
    on_link = episodes(noise, "authenticate", "jumpy", quarantine)
    assert on_link.isolations["quarantine"].tolist() == [3] * 4, "0 -> 1, and 2 -> 0 and 2 -> 1 for nothing"
    assert on_link.false_isolations["quarantine"].tolist() == [2] * 4
    insider = episodes({"name": "insider", "node": 2}, "jumpy", quarantine)
    assert insider.isolations["quarantine"].tolist() == [2] * 4
    assert not insider.false_isolations["quarantine"].any(), "agent 2 is compromised"
    clean = episodes(None, "jumpy", quarantine)
    assert torch.equal(clean.false_isolations["quarantine"], clean.isolations["quarantine"])
    assert FalseIsolations(FalseIsolations.Config()).value(on_link) == 2000.0
    totals = on_link.totals()
    assert (totals["isolated_by.quarantine"], totals["falsely_isolated_by.quarantine"]) == (12, 8)
