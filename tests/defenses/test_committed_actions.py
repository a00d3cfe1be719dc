"""committed_actions: the action that follows from policy and seed is carried out, so actions say nothing else."""

from __future__ import annotations

import math

import pytest
import torch
from builders import attack, comms, defense, team_shape
from torch import Tensor

from agentcomm.contracts.deployment import Deployment
from attacks.insider.coupling import Listener

S = team_shape(worlds=64, agents=3)
ROWS = torch.arange(192)
SECRETS = 8


def leak(defenses: list[str], steps: int = 12) -> tuple[float, float, bool]:
    """Bits about its secret that node 1 leaks to whoever knows everything else, and to a listener; and if it acts."""
    made = comms(S, [attack("covert", S, node=1, messages=SECRETS)], [defense(name, S) for name in defenses], seed=3)
    guard, g, deviates = made.adversary.action_guards[0], torch.Generator().manual_seed(5), False
    listener = Listener(S.num_worlds, SECRETS)
    for step in range(steps):
        logits = torch.randn(192, 5, generator=g)
        noise = -torch.empty(192, 5).exponential_(generator=g).log_()
        action = (logits + noise).argmax(-1)
        done = made.on_action(logits, action, noise, torch.full((64,), step), ROWS)
        mine = ROWS[1::3]
        listener.see(logits[mine].double().softmax(-1), done[mine])
        deviates |= bool((done != action).any())
    entropy = -torch.special.xlogy(guard.posterior, guard.posterior).sum(1) / math.log(2)
    right = (listener.guess == guard.secret).double().mean()
    return float((3 - entropy).mean()), float(right), deviates


def test_the_covert_channel_is_closed() -> None:
    bits, right, deviates = leak([])
    assert deviates
    assert bits > 2.5
    assert right > 0.9
    noisy, *_ = leak(["warden"])
    assert noisy > 1, "sampling again only slows it"
    bits, right, deviates = leak(["committed_actions"])
    assert bits == pytest.approx(0, abs=1e-9)
    assert right < 0.3, "one in eight by chance"
    assert not deviates, "what is carried out is what the policy has sampled"


@pytest.mark.parametrize("greedy", [False, True])
def test_honest_actions_stay_as_they_are(greedy: bool) -> None:
    g = torch.Generator().manual_seed(0)
    made = comms(S, [], [defense("committed_actions", S), defense("warden", S, probability=1.0)])
    plain = comms(S, [], [defense("committed_actions", S)])
    logits = torch.randn(192, 5, generator=g)
    noise = -torch.empty(192, 5).exponential_(generator=g).log_()
    action: Tensor = (logits if greedy else logits + noise).argmax(-1)
    done = plain.on_action(logits, action, None if greedy else noise, torch.zeros(64, dtype=torch.int64), ROWS)
    assert torch.equal(done, action)
    again = made.on_action(logits, action, None if greedy else noise, torch.zeros(64, dtype=torch.int64), ROWS)
    assert torch.equal(again, action) == greedy, "a warden after it samples again"


def test_it_says_what_it_takes_for_granted() -> None:
    assert defense("committed_actions", S).assumes(Deployment(S, "somewhere")) == {
        "trusted_randomness": True,
        "trusted_supervisor": True,
    }
