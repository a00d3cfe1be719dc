"""Attacks on what agents see: they move gates, show only what sensors can show, and are recorded as they were."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from builders import Attacked, attack, comms, sampler, team, team_shape_of
from torch import Tensor

from agentcomm.base.errors import NumberError
from agentcomm.contracts.attack import Attack, AttackConfig
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.policy import CommPolicy
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.threat_model import Position, ThreatModel
from agentcomm.contracts.views import MessageView, ObservationView
from agentcomm.contracts.world import World
from agentcomm.evaluation.play import play
from agentcomm.runs.ppo_settings import PPOSettings
from agentcomm.training.ppo import Update

GATE = {"gate": {"initial_logit": 0.0}}
KINDS = ["indices", "dense"]


def gated(kind: str = "indices", worlds: int = 16, **world: Any) -> tuple[World, CommPolicy]:
    """A team whose gates depend on what it sees."""
    made, policy = team(worlds, world={"observation": kind, **world}, **GATE)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(3)
        for parameter in policy.gate.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape))
    return made, policy


def installed(world: World, policy: CommPolicy, **arguments: Any) -> Attacked:
    s = team_shape_of(world, policy)
    return comms(s, [attack("force_gate", s, **arguments)], seed=4)


def logits(policy: CommPolicy, observation: Tensor) -> Tensor:
    return policy.listen(policy.encode(observation))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("goal", ["open", "closed"])
@torch.no_grad()
def test_gates_move_where_they_shall_and_further_than_by_chance(kind: str, goal: str) -> None:
    world, policy = gated(kind)
    seen = world.reset(seed=1)
    wanted = 1 if goal == "open" else -1
    moved = []
    for guess in (False, True):
        network = installed(world, policy, goal=goal, guess=guess, epsilon=0.1)
        shown = network.adversary.on_observations(seen, world, world.length, policy)
        assert not network.guards[0].violations
        moved.append(wanted * (logits(policy, shown) - logits(policy, seen)))
    assert moved[0].mean() > max(float(moved[1].mean()), 0.0) + 0.05
    if kind == "dense":
        assert (moved[0] > -1e-4).float().mean() > 0.9, "along the gradient"


@torch.no_grad()
def test_only_its_own_sensors_lie_and_only_as_they_could() -> None:
    world, policy = gated(worlds=32)
    network = installed(world, policy, node=1, swaps=2)
    readings = world.readings()
    assert readings is not None
    touched = 0
    seen = world.reset(seed=0)
    for _ in range(5):
        shown = network.adversary.on_observations(seen, world, world.length, policy)
        differs = shown != seen
        assert not differs[:, [0, 2]].any()
        assert (differs.sum(-1) <= 2).all()
        assert readings.expand(32, -1, -1, -1).gather(3, shown.unsqueeze(-1) + 1).all()
        touched += int(differs.sum())
        seen = world.step(torch.randint(6, (32, 3))).observation
    assert int(network.guards[0].total.sum()) == touched > 100


def test_a_blind_agent_is_shown_nothing_but_another_place() -> None:
    world, policy = gated(worlds=64)
    network = installed(world, policy, guess=True)
    seen = world.reset(seed=0)
    changed = network.adversary.on_observations(seen, world, world.length, policy) != seen
    assert changed[:, 2, 0].all(), "it has no other reading"
    assert not changed[:, 2, 1:].any()
    assert changed[:, 0, 1:].any(), "those that see are shown things that are not there"


@pytest.mark.parametrize("kind", KINDS)
def test_budgets_leave_episodes_as_they_are(kind: str) -> None:
    clean = None
    for arguments in (None, {"budget": {"per_step": 0}}, {"budget": {"start_step": 99}}):
        world, policy = gated(kind)
        network = comms(team_shape_of(world, policy)) if arguments is None else installed(world, policy, **arguments)
        played = play(world, policy, network, 1)
        clean = clean or played
        assert torch.equal(played.total_reward, clean.total_reward)
        assert played.gate_by_step == clean.gate_by_step
    world, policy = gated(kind)
    network = installed(world, policy, budget={"per_step": 1})
    seen = world.reset(seed=1)
    shown = network.adversary.on_observations(seen, world, world.length, policy)
    assert ((shown != seen).any(-1).sum(1) == 1).all(), "one of a world's sensors lies"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("guess", [False, True])
def test_training_records_what_agents_saw(kind: str, guess: bool) -> None:
    """The first ratio is 1, though the world shows something else."""
    world, policy = gated(kind)
    s = sampler(world, policy)
    s.loop.comms = installed(world, policy, guess=guess)
    columns = s.collect(8).columns
    graph = {id(p) for p in policy.graph_parameters()}
    model = torch.optim.Adam([p for p in policy.parameters() if id(p) not in graph], 1e-3)
    stats = Update(policy, PPOSettings(minibatch=None), model, None, torch.Generator().manual_seed(0)).run(columns)
    assert stats["first_ratio_error"] < 1e-5
    assert stats["ratio_error"] > 1e-4, "the parameters moved"
    world, policy = gated(kind)
    clean = sampler(world, policy).collect(8).columns
    assert not torch.equal(columns["observation"][:16], clean["observation"][:16])


def test_it_needs_gates_or_guesses() -> None:
    world, policy = team(world={"observation": "indices"})
    seen = world.reset(seed=0)
    assert torch.equal(installed(world, policy).adversary.on_observations(seen, world, world.length, policy), seen)
    assert not torch.equal(
        installed(world, policy, guess=True).adversary.on_observations(seen, world, world.length, policy), seen
    )


class Liar(Attack):
    """Shows what it is told to."""

    name = "liar"

    def __init__(
        self, s: TeamShape, lie: Callable[[ObservationView], Tensor], powers: frozenset[Any], node: int = 1
    ) -> None:
        super().__init__(AttackConfig(), s)
        self.lie, self.powers, self.node = lie, powers, node

    def threat_model(self) -> ThreatModel:
        return ThreatModel(Position(kind="sensor", node=self.node), self.powers)

    def on_messages(self, view: MessageView) -> MessageEdits:
        return MessageEdits()

    def on_observations(self, view: ObservationView) -> Tensor:
        return self.lie(view)


@pytest.mark.parametrize(
    ("lie", "powers", "rule"),
    [
        (lambda v: v.observation.index_fill(2, torch.tensor(0), 40), {"read", "modify"}, "show what no sensor could"),
        (
            lambda v: v.observation.index_fill(2, torch.tensor(0), 10**6),
            {"read", "modify"},
            "show what no sensor could",
        ),
        (lambda v: v.observation.index_fill(2, torch.tensor(0), -7), {"read", "modify"}, "show what no sensor could"),
        (lambda v: v.observation.index_fill(1, torch.tensor(0), 5), {"read", "modify"}, "modify out of reach"),
        (lambda v: v.observation.index_fill(2, torch.tensor(0), 5), {"read"}, "modify without the power to"),
    ],
)
def test_the_guard_holds_liars_to_their_sensors(
    lie: Callable[[ObservationView], Tensor], powers: set[Any], rule: str
) -> None:
    world, policy = gated()
    s = team_shape_of(world, policy)
    network = comms(s, [Liar(s, lie, frozenset(powers))])
    seen = world.reset(seed=0)
    assert torch.equal(network.adversary.on_observations(seen, world, world.length, policy), seen)
    assert network.guards[0].violations[rule] > 0


def test_a_view_without_the_power_to_read_shows_nothing() -> None:
    world, policy = gated()
    s = team_shape_of(world, policy)
    views: list[ObservationView] = []

    def lie(view: ObservationView) -> Tensor:
        views.append(view)
        return view.observation

    comms(s, [Liar(s, lie, frozenset({"modify"}))]).adversary.on_observations(
        world.reset(seed=0), world, world.length, policy
    )
    assert (views[0].observation == -1).all()
    assert not views[0].shows("gate_logits")
    assert views[0].reach.sum(0).tolist() == [0, 16, 0]


def test_a_lie_in_numbers_keeps_to_its_norm_and_is_finite() -> None:
    world, policy = gated("dense")
    s = team_shape_of(world, policy)
    seen = world.reset(seed=0)
    network = installed(world, policy, epsilon=0.1)
    shown = network.adversary.on_observations(seen, world, world.length, policy)
    assert 0.05 < float((shown - seen).abs().max()) <= 0.1 + 1e-6
    for value in (float("nan"), float("inf")):
        network = comms(s, [Liar(s, lambda v, x=value: torch.full_like(v.observation, x), frozenset({"modify"}))])  # type: ignore[misc]
        with pytest.raises(NumberError, match=f"what on_observations returns is {value} in world 0"):
            network.adversary.on_observations(seen, world, world.length, policy)


def test_it_succeeds_where_more_or_fewer_messages_are_sent() -> None:
    world, policy = gated()
    clean = play(world, policy, comms(team_shape_of(world, policy)), 1)
    won = {}
    for goal in ("open", "closed"):
        for run_as in ("attack", "control"):
            network = installed(world, policy, goal=goal, run_as=run_as)
            attacked = play(world, policy, network, 1)
            won[goal, run_as] = network.guards[0].attack.succeeded(attacked, clean).float().mean()
            sent = [e.messages["sent"].sum() / e.length.sum() for e in (attacked, clean)]
            assert run_as == "control" or (sent[0] > sent[1]) == (goal == "open")
    for goal in ("open", "closed"):
        assert won[goal, "attack"] > max(0.6, won[goal, "control"] + 0.1)
