"""hold_last: what jumps too far is replaced by what was heard last, and scored; clean messages pass."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from builders import attack, comms, defense, team_shape

from agentcomm.conformance.conversations import carry, conversation, heard
from agentcomm.network.record import Fate

S = team_shape(agents=4, degree=3)


def test_jumps_are_replaced_by_the_last_accepted_payload() -> None:
    exchanges = conversation(S, 6, closed=0, ends=0)
    noise = attack("noise", S, epsilon=1e3, budget={"start_step": 2})
    network = comms(S, [noise], [defense("hold_last", S)])
    inboxes = carry(network, exchanges)
    for number, inbox in enumerate(inboxes):
        assert heard(inbox).norm(dim=-1).max() <= 1.01 * S.width**0.5
        if number >= 4:  # two rounds per step: step 1 is the last clean one
            source = exchanges[number].links.source
            world = torch.arange(S.num_worlds).view(-1, 1, 1)
            held = exchanges[2 + number % 2].spoken[world, source]
            torch.testing.assert_close(heard(inbox), held, rtol=0, atol=1e-6)
    assert not network.ledger["refused"].any(), "nothing is refused"


def test_scores_tell_attacked_messages_from_honest_ones() -> None:
    noise = attack("noise", S, epsilon=100.0, probability=0.5, budget={"start_step": 2})
    network = comms(S, [noise], [defense("hold_last", S)])
    network.network.trace = []
    carry(network, conversation(S, 8, closed=0, ends=0))
    records = [record for record in network.network.trace or [] if record.fields["sent_at"].max() >= 2]
    score = np.concatenate([record.scores["hold_last"].ravel() for record in records])
    fate = np.concatenate([record.fields["fate"].ravel() for record in records])
    honest, lies = score[fate == Fate.DELIVERED], score[fate == Fate.TAMPERED]
    assert len(honest) > 20
    assert len(lies) > 20
    assert lies.min() > honest.max()


@pytest.mark.parametrize("seed", range(5))
def test_clean_messages_pass_unless_the_threshold_is_low(seed: int) -> None:
    exchanges = conversation(S, 12, seed=seed)
    plain = carry(comms(S), exchanges)
    for threshold, same in ((2.0, True), (0.5, False)):
        made = carry(comms(S, [], [defense("hold_last", S, threshold=threshold)]), exchanges)
        assert all(torch.equal(heard(a), heard(b)) for a, b in zip(made, plain, strict=True)) == same


def test_it_forgets_an_episode_with_its_world() -> None:
    network = comms(S, [], [defense("hold_last", S)])
    carry(network, conversation(S, 2, closed=0, ends=0))
    known = network.network.memories[0].tensors["known"]
    assert known.any(3).any(2).all()
    network.reset(torch.tensor([1]))
    assert known.flatten(1).any(1).tolist() == [True, False, True]
