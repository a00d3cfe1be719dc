"""Evaluation, rollouts and the trained attacker's environment take the same steps; a loop that was saved resumes."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import comms, known_attack, known_defenses, sampler, team, team_shape_of
from torch import Tensor

from agentcomm.base.seeds import derive
from agentcomm.contracts.policy import CommPolicy
from agentcomm.contracts.world import World
from agentcomm.evaluation.play import play
from agentcomm.runs import policy_file
from agentcomm.runs.assembly import make_world
from agentcomm.runs.choices import Choice
from agentcomm.runs.ppo_settings import PPOSettings
from agentcomm.step.comms import Comms
from agentcomm.step.gates import GateControl
from agentcomm.step.interpreter import Interpreter
from agentcomm.step.loop import StepRecord, TeamLoop
from agentcomm.training.rollout import Sampler
from envs.attacker import Attacker

WORLDS, HORIZON = 48, 8
ENVIRONMENT: dict[str, Any] = {"size": 2, "predators": 3, "max_steps": HORIZON}
SEED = derive(0, "world")  # of the episodes of a sampler with seed 0
TEAMS: dict[str, dict[str, Any]] = {
    "no gate": {},
    "gate": {"gate": {"initial_logit": 0.1}},
    "gate at senders": {"gate": {"kind": "straight_through", "initial_logit": 0.1, "side": "sender"}},
    "dynamic": {"topology": {"name": "dynamic"}},
    "learned": {"topology": {"name": "learned"}},
}


def small(**policy: Any) -> tuple[World, CommPolicy]:
    """A team whose greedy actions depend on what it sees and hears, so that some episodes end early."""
    world, made = team(WORLDS, "predator_prey", world=ENVIRONMENT, **policy)
    g = torch.Generator().manual_seed(13)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.8 * torch.randn(parameter.shape, generator=g))
    return world, made


class First:
    """Actions [T, B, N], mean rewards [T, B] and lengths [B] of each world's first episode; 0 after it has ended."""

    def __init__(self) -> None:
        self.actions: list[Tensor] = []
        self.rewards: list[Tensor] = []
        self.length = torch.zeros(WORLDS, dtype=torch.int64)

    def add(self, action: Tensor, reward: Tensor, done: Tensor) -> None:
        running = self.length == 0
        self.actions.append(action.long() * running.unsqueeze(1))
        self.rewards.append(reward * running)
        self.length[running & done] = len(self.actions)

    def same(self, other: First) -> None:
        assert torch.equal(torch.stack(self.actions), torch.stack(other.actions))
        torch.testing.assert_close(torch.stack(self.rewards), torch.stack(other.rewards))
        assert torch.equal(self.length, other.length)
        assert 0 < int(self.length.min()) < int(self.length.max()), "some episodes end before others"


def evaluated(world: World, policy: CommPolicy, network: Comms) -> First:
    first = First()

    def follow(record: StepRecord) -> None:
        first.add(record.decision.action, record.step.reward.mean(1), record.ended)

    played = play(world, policy, network, SEED, follow=follow)
    assert torch.equal(played.length, first.length)
    torch.testing.assert_close(played.total_reward, torch.stack(first.rewards).sum(0))
    return first


def rolled_out(world: World, policy: CommPolicy, network: Comms) -> First:
    """By a greedy sampler, step by step; its only record of rewards is the return of episodes that ended."""
    s = Sampler(world, policy, network, PPOSettings(held_out=0.25), 0)
    s.loop.generator = None
    first = First()
    for _ in range(HORIZON):
        before = s.returns.clone()
        action = s.collect(1).columns["action"]
        ended = world.length == 0
        first.add(action, torch.where(ended, s.last[2], s.returns) - before, ended)
    assert torch.equal(s.last[0][first.length == HORIZON].long(), first.length[first.length == HORIZON])
    return first


def attacked_by_nobody(victim: str) -> First:
    """In the environment of attackers that leave every message alone."""
    choice = Choice.model_validate({"name": "attacker", "victim": victim, "defenses": [{"name": "clip"}]})
    world = make_world(choice, WORLDS)
    assert isinstance(world, Attacker)
    world.reset(SEED)
    first, taken = First(), world.loop.step
    actions: list[Tensor] = []

    def step() -> StepRecord:
        record = taken()
        actions.append(record.decision.action)
        return record

    world.loop.step = step  # type: ignore[method-assign]
    for _ in range(HORIZON):
        result = world.step(torch.zeros(WORLDS, world.num_agents, dtype=torch.int64))
        first.add(actions[-1], -result.reward[:, 0], result.done)
    return first


def saved(folder: Path, policy: CommPolicy, **arguments: Any) -> str:
    environment = Choice.model_validate({"name": "predator_prey"} | ENVIRONMENT)
    chosen = Choice.model_validate({"name": "commformer", "width": 16} | arguments)
    policy_file.save(folder, policy, environment, chosen, "team", 0, {})
    return str(folder)


@pytest.mark.parametrize("form", TEAMS)
def test_all_callers_run_the_same_episodes(tmp_path: Path, form: str) -> None:
    runs = []
    for caller in (evaluated, rolled_out):
        world, policy = small(**TEAMS[form])
        s = team_shape_of(world, policy)
        runs.append(caller(world, policy, comms(s, [], known_defenses("clip", s))))
    runs.append(attacked_by_nobody(saved(tmp_path / "victim", policy, **TEAMS[form])))
    runs[0].same(runs[2])
    runs[0].same(runs[1])


@pytest.mark.parametrize("form", ["noise", "replay", "delay", "stall", "force_gate"])
def test_evaluation_and_rollouts_are_attacked_alike(form: str) -> None:
    runs = []
    for caller in (evaluated, rolled_out):
        world, policy = small(gate={"initial_logit": 0.1})
        s = team_shape_of(world, policy)
        runs.append(caller(world, policy, comms(s, [known_attack(form, s)], known_defenses("both", s), 3)))
    runs[0].same(runs[1])


def loop(form: str | None, seed: int, worlds: int = 6) -> TeamLoop:
    """A sampling loop that uses everything it may be given."""
    world, policy = team(worlds, gate={"initial_logit": 0.1})
    s = team_shape_of(world, policy)
    network = comms(s, [] if form is None else [known_attack(form, s)], known_defenses("both", s), seed)
    generators = [torch.Generator().manual_seed(derive(seed, part)) for part in ("actions", "gates", "obedience")]
    made = TeamLoop(
        world,
        policy,
        network,
        generators[0],
        GateControl(0.7, generators[1]),
        Interpreter(0.5, policy.actions, policy.width, generators[2]),
        learning=True,
    )
    made.reset(seed)
    return made


def steps(made: TeamLoop, count: int) -> list[StepRecord]:
    records = []
    for _ in range(count):
        records.append(made.step())
        made.finish(records[-1])
    return records


@pytest.mark.parametrize("form", [None, "directive", "noise", "delay"])
def test_a_saved_loop_resumes_identically(form: str | None) -> None:
    first, other = loop(form, 1), loop(form, 2)
    steps(first, 9)
    steps(other, 4)
    kept = first.snapshot()
    expected = steps(first, 8)
    other.restore(kept)
    for a, b in zip(expected, steps(other, 8), strict=True):
        assert torch.equal(a.observation, b.observation)
        assert torch.equal(a.decision.action, b.decision.action)
        assert torch.equal(a.decision.gate, b.decision.gate)
        assert torch.equal(a.reward, b.reward)


def test_a_team_that_does_not_learn_ends_each_episode_once() -> None:
    world, policy = small()
    made = TeamLoop(world, policy, comms(team_shape_of(world, policy)), trace=True, collect_facts=True)
    made.reset(3)
    records = steps(made, HORIZON)
    assert (torch.stack([r.ended for r in records]).sum(0) == 1).all()
    assert not made.running.any()
    assert torch.equal(records[0].at, torch.zeros(WORLDS, dtype=torch.int64))
    for earlier, later in pairwise(records):
        assert torch.equal(later.running, earlier.running & ~earlier.ended)
        assert torch.equal(later.observation, earlier.step.observation)
    assert all(len(r.exchanges) == policy.rounds and r.facts for r in records)
    assert made.comms.network.trace is None, "nothing is recorded beyond the loop"


def test_rewards_are_attacked_only_while_the_team_learns() -> None:
    learning = sampler(*small(), "backdoor").loop
    world, policy = small()
    s = team_shape_of(world, policy)
    evaluating = TeamLoop(world, policy, comms(s, [known_attack("backdoor", s, share=1.0)]), learning.generator)
    evaluating.reset(3)
    assert any(not torch.equal(r.reward, r.step.reward) for r in steps(learning, 20))
    assert all(r.reward is r.step.reward for r in steps(evaluating, HORIZON))
