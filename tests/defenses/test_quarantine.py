"""quarantine: links by which refused messages came in are closed for some steps, and nobody can be framed."""

from __future__ import annotations

from typing import Any

import torch
from builders import Attacked, attack, comms, defense, known_attack, team_shape

from agentcomm.conformance.conversations import carry, conversation

S = team_shape(agents=4, degree=3)


def defended(attacks: list[Any], **arguments: Any) -> Attacked:
    return comms(S, attacks, [defense("quarantine", S, **arguments), defense("authenticate", S)])


def accepted(network: Attacked, steps: int, sender: int, receiver: int) -> list[bool]:
    """Whether the receiver heard the sender, exchange by exchange, in all worlds alike."""
    exchanges = conversation(S, steps, closed=0, ends=0)
    out = []
    for e, inbox in zip(exchanges, carry(network, exchanges), strict=True):
        here = inbox.mask[:, receiver, :3] & (e.links.source[:, receiver] == sender)
        assert here.any(1).all() or not here.any()
        out.append(bool(here.any()))
    return out


def test_a_link_is_closed_after_the_limit_and_opens_again() -> None:
    """Two exchanges per step. The attack stops after four messages, of which the defenses see three."""
    noise = attack("noise", S, links=[[0, 1]], epsilon=5.0, budget={"per_episode": 3})
    network = defended([noise], limit=3, steps=2)
    heard = accepted(network, 6, 0, 1)
    # Steps 0 and 1 bring three refusals; the rest of step 1 and steps 2 and 3 are closed; then the link is open.
    assert heard == [False, False, False, False, False, False, False, False, True, True, True, True]
    assert network.ledger.refused_by["authenticate"].tolist() == [3] * S.num_worlds
    assert network.ledger.refused_by["quarantine"].tolist() == [5] * S.num_worlds
    assert int(network.ledger["accepted"].sum()) == int(network.ledger["sent"].sum()) - 8 * S.num_worlds


def test_forgeries_in_a_members_name_do_not_close_its_links() -> None:
    network = defended([known_attack("impersonate", S)], limit=1, steps=9)
    carry(network, conversation(S, 6, closed=0, ends=0))
    assert network.ledger.refused_by["authenticate"].sum() > 0
    assert not network.ledger.refused_by["quarantine"].any()
    assert torch.equal(network.ledger["accepted"], network.ledger["sent"])


def test_clean_traffic_is_free() -> None:
    network = defended([], limit=1)
    carry(network, conversation(S, 10))
    assert not network.ledger["refused"].any()


def test_links_open_with_a_new_episode_and_stay_closed_in_a_restored_run() -> None:
    def build() -> Attacked:
        noise = attack("noise", S, links=[[0, 1]], epsilon=5.0, budget={"per_episode": 1})
        return defended([noise], limit=1, steps=30)

    network, other = build(), build()
    carry(network, conversation(S, 3, closed=0, ends=0))
    closed = network.ledger.refused_by["quarantine"].clone()
    other.restore(network.snapshot())
    other.reset(torch.tensor([0]))
    exchanges = [e for e in conversation(S, 5, closed=0, ends=0) if e.step[0] >= 3]
    carry(other, exchanges)
    more = other.ledger.refused_by["quarantine"] - closed
    assert (closed == 5).all()
    assert more.tolist() == [3, 4, 4], "a new episode is attacked once again, and closed after that"
