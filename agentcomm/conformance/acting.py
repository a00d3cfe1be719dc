"""Does an attack that acts keep to its claims? Random laws of action, in worlds whose episodes end at random."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from agentcomm.conformance.common import require
from agentcomm.network.network import Network
from agentcomm.threats import Budget, Setting

ACTIONS = 5


def _act(network: Network, steps: int, seed: int, greedy: bool = False) -> list[Tensor]:
    """Actions [B, N] of agents whose logits are random, step by step."""
    s, g = network.setting, torch.Generator().manual_seed(seed)
    rows, at, out = torch.arange(s.num_worlds * s.num_agents), torch.zeros(s.num_worlds, dtype=torch.int64), []
    for _ in range(steps):
        logits = torch.randn(len(rows), ACTIONS, generator=g)
        noise = -torch.empty(logits.shape).exponential_(generator=g).log_()
        alive = torch.rand(s.num_worlds, s.num_agents, generator=g) < 0.9
        ended = (torch.rand(s.num_worlds, generator=g) < 0.2).nonzero().squeeze(-1)
        action = (logits if greedy else logits + noise).argmax(-1)
        done = network.actuators.act(logits, action, None if greedy else noise, at, rows, alive)
        out.append(done.view(s.num_worlds, s.num_agents))
        network.reset(ended)
        at = at + 1
        at[ended] = 0
    return out


def check_acting(build: Callable[[Budget | None], Network], setting: Setting) -> None:
    """Check an attack with the power ``act``.

    Args:
        build: Makes a network with the attack alone, with another budget if one is given.
        setting: Sizes of that network.

    Raises:
        AssertionError: If it asks for more than its threat model allows, acts without a budget, touches another
            agent's actions, or keeps something outside its memory.
    """
    plain, whole = _act(Network(setting), 12, 0), build(None)
    done = _act(whole, 12, 0)
    node = whole.guards[0].identity
    others = [agent for agent in range(setting.num_agents) if agent != node]
    own = all(torch.equal(a[:, others], b[:, others]) for a, b in zip(done, plain, strict=True))
    require(own, "what it does changes another agent's action")
    _act(whole, 4, 1, greedy=True)
    broken = {rule: n for rule, n in whole.guards[0].violations.items() if rule != "beyond the budget"}
    require(not broken, f"it asks for more than its threat model allows: {broken}")
    for budget in (Budget(per_step=0), Budget(per_episode=0), Budget(start_step=1000)):
        idle = _act(build(budget), 6, 0)
        same = all(torch.equal(a, b) for a, b in zip(idle, plain, strict=False))
        require(same, f"it acts without a budget: threat_model leaves out {budget!r}")
    first, second = build(None), build(None)
    _act(first, 5, 2)
    second.restore(first.snapshot())
    goes_on = all(torch.equal(a, b) for a, b in zip(_act(first, 7, 3), _act(second, 7, 3), strict=True))
    require(goes_on, "a restored run acts differently: something is kept outside memory")
