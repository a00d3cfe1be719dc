"""Checks of all hooks except those on messages, in random steps of worlds whose episodes end at random."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from agentcomm.conformance.common import require
from agentcomm.conformance.conversations import conversation, reader
from agentcomm.contracts.directory_hook import DirectoryShape
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.threat_model import Budget
from agentcomm.contracts.world import Observation
from agentcomm.guards.base import GuardBase
from agentcomm.step.comms import Comms

WIDTH, VOCABULARY = 6, 12
DIRECTORY = DirectoryShape(
    members=4, principals=10, skills=3, listed=3
)  # for attacks on a directory, whose hook is not called here
NO_BUDGETS = (Budget(per_step=0), Budget(per_episode=0), Budget(start_step=1000))


class Build(Protocol):
    """Factory of a team's ``Comms`` with the attack as the only one, and with changes of its config."""

    def __call__(self, **changes: Any) -> Comms:
        """Create it."""
        ...


Run = Callable[[Comms, int], list[Tensor]]  # results of random steps with a seed


def check_obeys(guard: GuardBase) -> None:
    """Check that the attack respects its threat model; exceeding its budget, which the guard enforces, is allowed."""
    broken = {rule: count for rule, count in guard.violations.items() if rule != "beyond the budget"}
    require(not broken, f"it requests more than its threat model allows: {broken}")


def check_hook(build: Build, shape: TeamShape, run: Run, quick: bool = False) -> None:
    """Check a hook that acts on something other than messages.

    Args:
        build: Creates a team's ``Comms`` with the attack.
        shape: Shape of the team.
        run: Runs random steps in which the hook is called, and returns their results.
        quick: Whether to leave out that its state can be restored.

    Raises:
        AssertionError: If it or its control requests more than its threat model allows, it acts without a budget, or
            keeps state outside its memory.
    """
    whole, plain = build(), run(Comms.between(shape), 0)
    run(whole, 0)
    check_obeys(whole.adversary.guards[0])
    for budget in NO_BUDGETS[:1] if quick else NO_BUDGETS:
        idle = same(run(build(budget=budget), 0), plain)
        require(idle, f"it acts without a budget: threat_model ignores {budget!r}")
    control = build(run_as="control")
    run(control, 0)
    check_obeys(control.adversary.guards[0])
    if quick:
        return
    first, second = build(), build()
    run(first, 2)
    second.restore(first.snapshot())
    resumed = same(run(first, 3), run(second, 3))
    require(resumed, "a restored run differs: some state is kept outside memory")


def same(first: list[Tensor], second: list[Tensor]) -> bool:
    """Whether all tensors are equal, bit for bit."""
    return len(first) == len(second) and all(map(torch.equal, first, second))


def act(comms: Comms, seed: int, steps: int = 8, greedy: bool = False) -> list[Tensor]:
    """Actions [B, N, ...] of agents whose distributions are random, step by step."""
    s, g = comms.network.team_shape, torch.Generator().manual_seed(seed)
    rows, at, out = torch.arange(s.num_worlds * s.num_agents), torch.zeros(s.num_worlds, dtype=torch.int64), []
    for _ in range(steps):
        logits = torch.randn(len(rows), s.actions.parameters, generator=g)
        noise = s.actions.noise((len(rows),), g, logits.device)
        alive = torch.rand(s.num_worlds, s.num_agents, generator=g) < 0.9
        ended = (torch.rand(s.num_worlds, generator=g) < 0.2).nonzero().squeeze(-1)
        action = s.actions.choose(logits, None if greedy else noise)
        done = comms.on_action(logits, action, None if greedy else noise, at, rows, alive)
        out.append(done.view(s.num_worlds, s.num_agents, *s.actions.shape))
        comms.reset(ended)
        at = at + 1
        at[ended] = 0
    return out


def check_actions(build: Build, shape: TeamShape, quick: bool = False) -> None:
    """Check an attack with the power ``act``, which must act for its own node only."""
    check_hook(build, shape, act, quick)
    whole = build()
    done, plain = act(whole, 0), act(Comms.between(shape), 0)
    others = [agent for agent in range(shape.num_agents) if agent != whole.adversary.guards[0].identity]
    own = all(torch.equal(a[:, others], b[:, others]) for a, b in zip(done, plain, strict=True))
    require(own, "it changes another agent's action")
    act(whole, 1, greedy=True)
    check_obeys(whole.adversary.guards[0])


def earn(comms: Comms, seed: int) -> list[Tensor]:
    """Rewards [B, N] that a team with random messages learns from, step by step."""
    s, g, out = comms.network.team_shape, torch.Generator().manual_seed(seed), []
    for e in conversation(s, 8, seed):
        comms.network.exchange(e.spoken, e.links, e.step, e.round, reader)
        if e.round == s.rounds - 1:
            reward = torch.randn(s.num_worlds, s.num_agents, generator=g)
            action = torch.randint(s.actions.options, reward.shape, generator=g)
            out.append(comms.adversary.on_rewards(reward, action, e.step))
            comms.reset(e.ended)
    return out


class _Sensors:
    """A stand-in for a world and a policy with gates, for attacks on sensors."""

    name, memory_width = "sensors", 0

    def __init__(self, shape: TeamShape, kind: Any) -> None:
        self.layout = Observation(kind, WIDTH, VOCABULARY if kind == "indices" else 0)
        self.num_agents, self.device, self.gate = shape.num_agents, shape.device, True
        self.alive = torch.ones(shape.num_worlds, shape.num_agents, dtype=torch.bool, device=shape.device)

    def readings(self) -> Tensor | None:
        if self.layout.kind == "dense":
            return None
        return torch.ones(self.num_agents, WIDTH, VOCABULARY + 1, dtype=torch.bool, device=self.device)

    def encode(self, seen: Tensor) -> Tensor:
        return seen.float()

    def listen(self, hidden: Tensor) -> Tensor:
        return hidden.sin() @ torch.cos(torch.arange(float(WIDTH)))

    def show(self, g: torch.Generator) -> Tensor:
        shape = (*self.alive.shape, WIDTH)
        if self.layout.kind == "dense":
            return torch.rand(shape, generator=g)
        return torch.randint(-1, VOCABULARY, shape, generator=g)


def check_observations(build: Build, shape: TeamShape, quick: bool = False) -> None:
    """Check an attack at position ``sensor``, with index and dense observations."""
    for kind in ("indices", "dense"):

        def see(comms: Comms, seed: int, kind: str = kind) -> list[Tensor]:
            g, at, out = torch.Generator().manual_seed(seed), torch.zeros(shape.num_worlds, dtype=torch.int64), []
            sensors: Any = _Sensors(shape, kind)
            for _ in range(8):
                sensors.alive = torch.rand(sensors.alive.shape, generator=g) < 0.9
                out.append(comms.adversary.on_observations(sensors.show(g), sensors, at, sensors))
                ended = (torch.rand(shape.num_worlds, generator=g) < 0.2).nonzero().squeeze(-1)
                comms.reset(ended)
                at = at + 1
                at[ended] = 0
            return out

        check_hook(build, shape, see, quick)
