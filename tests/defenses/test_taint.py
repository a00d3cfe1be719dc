"""taint: lies that honest agents relay are followed back to whoever was caught lying; clean traffic passes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from builders import comms, defense, team_shape
from torch import Tensor

from agentcomm.base.errors import RequirementError
from agentcomm.conformance.conversations import carry, conversation
from agentcomm.contracts.defense import Defense, DefenseConfig
from agentcomm.contracts.traffic import Links
from agentcomm.contracts.verdicts import Delivered, Verdicts
from agentcomm.runs.assembly import make_comms, make_policy, make_world
from agentcomm.runs.choices import Choice

S = team_shape(worlds=1, agents=4, degree=1, rounds=1)
LIE = 100.0


class Alert(Defense):
    """Refuses lies, but only from step 2 on and at receiver 3."""

    order = "content"

    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        lie = delivered.payload.amax(-1) >= LIE
        return Verdicts(
            refuse=lie & (delivered.step >= 2).view(-1, 1, 1) & (delivered.receiver == 3) & delivered.present
        )


def links(*sender: int) -> Links:
    """Agent i hears ``sender[i]``."""
    return Links(torch.tensor(sender).view(1, 4, 1), torch.ones(1, 4, dtype=torch.bool))


def test_what_relays_say_is_tainted_once_the_source_is_suspected() -> None:
    network = comms(S, [], [Alert(DefenseConfig(), S), defense("taint", S, limit=1, memory=0.9, steps=3)])
    spoken = torch.zeros(1, 4, S.width)
    spoken[:, 0] = LIE  # agent 0 lies; 1 hears 0, 2 hears 1, and 3 hears 2

    def heard(step: int, *sender: int) -> list[bool]:
        out: list[bool] = network.exchange(spoken, links(*sender), torch.tensor([step]), 0).mask.view(-1).tolist()
        return out

    assert heard(0, 3, 0, 1, 2) == [True] * 4
    assert heard(1, 3, 0, 1, 2) == [True] * 4
    assert heard(2, 3, 3, 3, 0) == [True, True, True, False]  # agent 3 catches the liar itself
    # From now on agent 0 is suspected, and all others have heard it, directly or not.
    assert heard(3, 1, 0, 1, 2)[1:3] == [False, False]
    assert network.ledger.refused_by["taint"].tolist() == [4]
    # Provenance and suspicion fade.
    assert heard(30, 1, 0, 1, 2) == [True] * 4


def test_weak_messages_are_heard_with_less_weight() -> None:
    network = comms(S, [], [Alert(DefenseConfig(), S), defense("taint", S, limit=1, action="weaken", weight=0.25)])
    spoken = torch.ones(1, 4, S.width)
    spoken[:, 0] = LIE
    network.exchange(spoken, links(3, 0, 1, 0), torch.tensor([2]), 0)
    inbox = network.exchange(spoken, links(1, 0, 1, 2), torch.tensor([3]), 0)
    assert inbox.mask.all()
    assert inbox.payload()[0, :, 0, 0].tolist() == [0.25, 25.0, 0.25, 1.0]


def test_clean_traffic_is_free() -> None:
    s = team_shape(agents=4, degree=3)
    network = comms(s, [], [defense("taint", s), defense("authenticate", s)])
    carry(network, conversation(s, 10))
    assert not network.ledger["refused"].any()


@pytest.mark.parametrize("others", [[], ["clip"]])
def test_it_needs_a_defense_that_refuses(others: list[Any]) -> None:
    world = make_world(Choice(name="predator_prey"), 2)
    policy = make_policy(Choice(name="commnet"), world)
    with pytest.raises(RequirementError, match="another defense that refuses messages"):
        make_comms(world, policy, [], [Choice(name="taint"), *(Choice(name=name) for name in others)])


def test_a_label_has_a_bit_per_agent() -> None:
    assert [defense("taint", team_shape(agents=n)).message_bytes for n in (4, 8, 9)] == [1, 1, 2]
