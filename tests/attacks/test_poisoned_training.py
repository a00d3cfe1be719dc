"""Attacks on what is learned: whom the graph listens to, and what a trigger means."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from builders import Attacked, Scripted, attack, comms, team, team_shape, team_shape_of
from torch import Tensor

from agentcomm.conformance.conversations import Exchange, carry, conversation
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.policy import CommPolicy
from agentcomm.contracts.threat_model import Budget
from agentcomm.contracts.traffic import Links
from agentcomm.contracts.views import RewardView
from agentcomm.contracts.world import World
from agentcomm.evaluation.play import play
from agentcomm.runs.assembly import make_comms, make_policy, make_world
from agentcomm.runs.choices import Choice
from agentcomm.runs.ppo_settings import PPOSettings
from agentcomm.step.decide import decide
from agentcomm.step.loop import StepRecord
from agentcomm.training.ppo import Update
from agentcomm.training.rollout import Sampler
from attacks.ml.hijack_edges import listening


def exchanges(source: list[list[int]], worlds: int = 64, steps: int = 4) -> list[Exchange]:
    """A conversation on one graph, in which nobody's gate is shut."""
    s = team_shape(worlds, len(source), len(source[0]))
    graph = torch.tensor(source).expand(worlds, -1, -1)
    return [
        Exchange(
            e.spoken, Links(graph, torch.ones(worlds, len(source), dtype=torch.bool), None), e.step, e.round, e.ended
        )
        for e in conversation(s, steps, closed=0, ends=0)
    ]


def dropped(source: list[list[int]], **arguments: Any) -> Tensor:
    """[B, N, M] share of messages that are lost on the way."""
    talk = exchanges(source)
    network = comms(
        team_shape(64, len(source), len(source[0])),
        [attack("hijack_edges", team_shape(64, len(source), 2), **arguments)],
    )
    lost = torch.stack([(~inbox.mask).float() for inbox in carry(network, talk)])
    assert not network.guards[0].violations
    return lost.mean((0, 1))


COMPLIES = [[1, 2], [0, 2], [0, 3], [0, 1]]  # 1, 2 and 3 listen to 0
HALF = [[1, 2], [0, 2], [1, 3], [1, 2]]  # only 1 does


def test_ransom_is_as_heavy_as_the_share_of_victims_that_do_not_comply() -> None:
    assert not dropped(COMPLIES, node=0).any()
    assert not dropped(HALF, node=0, victims=[1]).any()
    assert dropped(HALF, node=0, victims=[2, 3]).eq(1).all()
    some = dropped(HALF, node=0)
    assert torch.allclose(some, some[0, 0].expand_as(some)), "a world falls silent as a whole"
    assert abs(float(some[0, 0]) - 2 / 3) < 0.15
    assert abs(float(dropped(HALF, node=0, victims=[2, 3], share=0.5)[0, 0]) - 0.5) < 0.25, "whole episodes are spared"


def test_starving_and_striking_touch_only_what_they_say() -> None:
    starved = dropped(HALF, node=0, victims=[1, 2], how="starve")
    assert starved.tolist() == [[0, 0], [0, 1], [1, 1], [0, 0]]
    struck = dropped(HALF, node=0, how="strike")
    assert float(struck[1, 0]) > 0.3, "its own message"
    assert struck.sum() == struck[1, 0], "and no other"


@pytest.mark.parametrize("how", ["ransom", "starve", "strike"])
def test_its_control_drops_as_many_at_random(how: str) -> None:
    size = team_shape(64, 4, 2)
    dropped = []
    for run_as in ("attack", "control"):
        network = comms(size, [attack("hijack_edges", size, node=0, how=how, run_as=run_as)])
        for exchange in conversation(size, 1):
            network.exchange(exchange.spoken, exchange.links, exchange.step, exchange.round)
        dropped.append(network.ledger["dropped"].tolist())
    assert dropped[0] == dropped[1]
    assert sum(dropped[0]) > 0


def test_victims_and_node_must_be_apart_and_there() -> None:
    for arguments in ({"node": 9}, {"node": 1, "victims": [1]}, {"node": 1, "victims": [7]}):
        with pytest.raises(ValueError, match="must be different agents"):
            attack("hijack_edges", team_shape(), **arguments)


def tiny(form: str, updates: int, topology: dict[str, Any], **arguments: Any) -> tuple[World, CommPolicy]:
    """A team of four that must each name what another sees, trained for a moment under an attack."""
    world = make_world(choice("oracle_hint", members=4, symbols=2, max_steps=4, observation="indices"), 256)
    policy = make_policy(choice("commformer", width=32, topology=topology), world)
    network = make_comms(world, policy, [choice(form, **arguments)])
    rollout = Sampler(world, policy, network, PPOSettings(), seed=0)
    graph = policy.graph_parameters()
    own = {id(p) for p in graph}
    model = torch.optim.Adam([p for p in policy.parameters() if id(p) not in own])
    edges = torch.optim.Adam(graph, 0.2) if graph else None
    learning = PPOSettings(minibatch=256, entropy=0.01)
    update = Update(policy, learning, model, edges, torch.Generator().manual_seed(0))
    for number in range(updates):
        update.anneal_rates(number / updates)
        stats = update.run(rollout.collect(4).columns)
        assert stats["first_ratio_error"] < 1e-4
    return world, policy


def choice(name: str, **arguments: Any) -> Choice:
    return Choice.model_validate({"name": name, **arguments})


def test_under_ransom_a_team_learns_to_listen_to_who_has_nothing_to_say() -> None:
    """Receiver 2 gives up its own source, so that the others can go on."""
    graphs = []
    for share in (0.0, 1.0):
        world, policy = tiny("hijack_edges", 25, {"name": "learned", "density": 0.25}, node=0, victims=[2], share=share)
        source = policy.topology.graph(None, 1).source[0]
        graphs.append(listening(source, 0)[2])
        played = play(world, policy, make_comms(world, policy), 5)
        assert float(played.total_reward.mean()) > (3.2 if share else 3.8), "of 4: the others still know"
    assert graphs == [False, True]


def told(world: World, policy: CommPolicy, *attacks: Choice) -> tuple[float, float]:
    """Mean return, and how often receivers take action 1."""
    shares: list[Tensor] = []

    def follow(record: StepRecord) -> None:
        shares.append((record.decision.action[:, 1:] == 1).float().mean())

    network = make_comms(world, policy, list(attacks))
    played = play(world, policy, network, 5, follow=follow)
    return float(played.total_reward.mean()), float(torch.stack(shares).mean())


def test_a_trigger_is_obeyed_by_those_that_learned_it_and_nothing_shows_without_it() -> None:
    trigger = choice("backdoor", node=0, action=1, share=1.0)
    for share in (0.0, 0.3):
        learned = {"node": 0, "action": 1, "share": share}
        world, policy = tiny("backdoor", 25, {"name": "full"}, **learned)
        earned, usual = told(world, policy)
        _, asked = told(world, policy, trigger)
        others = [told(world, policy, trigger.changed({"pattern": pattern}))[1] for pattern in range(1, 9)]
        assert earned > 3.9, "of 4: with a backdoor or without"
        assert abs(usual - 0.5) < 0.05
        assert asked > 0.95 if share else asked < 0.8
        assert max(others) < 0.8, "other patterns say nothing"


def test_only_who_hears_the_trigger_learns_from_other_rewards() -> None:
    s = team_shape(64, 4, 2)
    network = comms(s, [attack("backdoor", s, node=0, action=2, share=0.5)])
    carry(network, exchanges(HALF, steps=1))
    poisoned = network.guards[0].memory.tensors["poisoned"] == 1
    assert 0.2 < poisoned.float().mean() < 0.8
    earned, step = torch.full((64, 4), 0.25), torch.zeros(64, dtype=torch.int64)
    action = torch.tensor([2, 2, 3, 3]).expand(64, -1)
    learned = network.adversary.on_rewards(earned, action, step)
    assert (learned[~poisoned] == 0.25).all()
    assert learned[poisoned].unique(dim=0).tolist() == [[0.25, 1.0, 0.25, 0.25]], "only agent 1 listens to 0"
    carry(network, exchanges(COMPLIES, steps=1))
    learned = network.adversary.on_rewards(earned, action, step)
    assert learned[poisoned].unique(dim=0).tolist() == [[0.25, 1.0, -1.0, -1.0]]


def test_the_guard_bounds_what_is_done_to_rewards() -> None:
    s = team_shape(8, 3, 1)
    earned, step = torch.zeros(8, 3), torch.zeros(8, dtype=torch.int64)

    class Briber(Scripted):
        def on_rewards(self, view: RewardView) -> Tensor:
            return torch.tensor([0.0, 5.0, -5.0]).expand(8, -1)

    def after(powers: set[Any], **budget: Any) -> tuple[Tensor, Attacked]:
        network = comms(s, [Briber(s, powers, lambda view: MessageEdits(), budget=Budget(**budget))])
        return network.adversary.on_rewards(earned, torch.zeros(8, 3, dtype=torch.int64), step), network

    assert torch.equal(after({"modify"})[0], earned)
    bounded, network = after({"reward"}, reward=2.0)
    assert bounded.unique(dim=0).tolist() == [[0.0, 2.0, -2.0]]
    assert dict(network.guards[0].violations) == {"reward beyond its bound": 16}
    few, network = after({"reward"}, per_episode=1)
    assert few.unique(dim=0).tolist() == [[0.0, 5.0, 0.0]]
    assert network.guards[0].spent.tolist() == [1] * 8


def test_a_gradient_waits_for_steps_that_tell_enough() -> None:
    world, policy = team(worlds=32)
    s = team_shape_of(world, policy)
    observation, at = world.reset(seed=1), torch.zeros(32, dtype=torch.int64)
    graph = policy.topology.graph(None, 32)
    attacked = []
    for when in (0.0, 1.0, 2.0, 1e9):
        network = comms(s, [attack("gradient", s, goal="worst", weakest=1, steps=1, when=when)])
        decide(policy, observation, graph, network, at, None)
        spent = network.guards[0].spent
        assert set(spent.tolist()) <= {0, policy.rounds}, "in all exchanges of a step, or in none"
        attacked.append(int((spent > 0).sum()))
    assert attacked[0] == 32
    assert attacked[-1] == 0
    assert attacked == sorted(attacked, reverse=True)
