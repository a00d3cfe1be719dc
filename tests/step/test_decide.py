"""What a sampler records of teams that act in turns, or lose members, is what an update evaluates again."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from builders import attack, comms, sampler, team, team_shape_of
from forms import IN_TURNS, MISSING
from oracles import CREW
from thinning import thinned

from agentcomm.contracts.topology import Graph
from agentcomm.contracts.traffic import Links
from agentcomm.runs.ppo_settings import PPOSettings
from agentcomm.step.decide import decide
from agentcomm.step.replay import reevaluate
from agentcomm.step.turns import turns
from agentcomm.training.ppo import Update, ppo_loss

LOSING = {"predators": 5, "failure": 0.15, "fewest": 2}
DECODERS = ["parallel", "autoregressive"]
# All but those that need a policy whose agents act all at once.
FORMS = [None, *IN_TURNS]
HALF, OTHER_HALF = FORMS[::2], [None, *FORMS[1::2]]
SOME = [None, "noise", "impersonate stale"]
OTHER_GRAPHS, AT_ONCE = list(product(["dynamic"], SOME)), list(product(["parallel"], SOME))


def losing(form: str | None = None, **policy: Any) -> Any:
    """A sampler of a team whose members fail."""
    return sampler(*team(8, "predator_prey", world=LOSING, **policy), form)


def updating(s: Any, **arguments: Any) -> Update:
    optimizer = torch.optim.Adam(s.policy.parameters(), 3e-3)
    return Update(s.policy, PPOSettings(**arguments), optimizer, None, torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("kind", "form"),
    thinned([*product(["learned"], FORMS), *OTHER_GRAPHS], [*product(["learned"], HALF), *OTHER_GRAPHS]),
)
@torch.no_grad()
def test_recorded_turns_are_evaluated_again(kind: str, form: str | None) -> None:
    arguments: dict[str, Any] = {
        "decoder": "autoregressive",
        "gate": {"initial_logit": 1.0},
        "topology": {"name": kind},
    }
    world, policy = team(5, world=CREW, **arguments)
    s = sampler(world, policy, form)
    s.collect(6)  # attacks that need old messages have some
    columns = s.collect(8).columns
    now = reevaluate(policy, columns)
    torch.testing.assert_close(now.log_probability, columns["log_probability"], rtol=0, atol=1e-5)
    torch.testing.assert_close(now.gate_log_probability, columns["gate_log_probability"], rtol=0, atol=1e-5)
    assert form in (None, *MISSING) or {"source", "scale", "delta"} & columns.keys(), "the attack did something"


@pytest.mark.parametrize("blocks", [1, 3])
@torch.no_grad()
def test_every_turn_is_an_exchange_of_its_own(blocks: int) -> None:
    """Numbered on from the rounds before, so that what a network keeps per exchange does not mix."""
    topology = {"name": "random", "density": 0.5}
    world, policy = team(9, world=CREW, decoder="autoregressive", blocks=blocks, topology=topology)
    graph = policy.topology.graph(None, 9)
    network = comms(team_shape_of(world, policy))
    network.network.trace = []
    d = decide(policy, world.reset(seed=0), graph, network, world.length, torch.Generator().manual_seed(0))
    depth = int(turns(Links(graph.source, torch.ones(9, 6, dtype=torch.bool)))[0].max())
    assert depth > 0
    assert [note.round for note in network.network.trace] == list(range(blocks + depth + 1))
    assert len(d.inboxes) == policy.rounds, "which are recorded as one round"


# ---- members that are gone


@pytest.mark.parametrize("decoder", DECODERS)
@torch.no_grad()
def test_others_decide_as_on_a_graph_without_who_is_gone(decoder: str) -> None:
    world, policy = team(8, "predator_prey", world={"predators": 5}, decoder=decoder, topology={"name": "full"})
    seen = world.reset(seed=0)
    alive = torch.rand(8, 5, generator=torch.Generator().manual_seed(0)) < 0.6
    source = policy.topology.graph(None, 8).source
    kept = alive.unsqueeze(-1) & alive[torch.arange(8).view(-1, 1, 1), source]
    gone, without, all_ = (
        decide(policy, seen, graph, None, world.length, torch.Generator().manual_seed(1), there).logits[alive]
        for graph, there in ((Graph(source), alive), (Graph(source, kept), None), (Graph(source), None))
    )
    torch.testing.assert_close(gone, without, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(gone, all_, atol=1e-3)


@pytest.mark.parametrize(
    ("decoder", "form"),
    thinned([*product(["autoregressive"], FORMS), *AT_ONCE], [*product(["autoregressive"], OTHER_HALF), *AT_ONCE]),
)
def test_the_first_ratio_is_one_although_members_fail(form: str | None, decoder: str) -> None:
    s = losing(form, gate={"initial_logit": 0.5}, decoder=decoder)
    s.collect(5)
    columns = s.collect(6).columns
    assert not columns["alive"].all()
    stats = updating(s, minibatch=None).run(columns)
    assert stats["first_ratio_error"] < 1e-6
    assert stats["ratio_error"] > 1e-4, "the parameters moved"


@pytest.mark.parametrize("kind", ["action", "straight_through"])
def test_gates_of_who_is_gone_do_not_enter_the_loss(kind: str) -> None:
    s = losing(gate={"kind": kind, "initial_logit": 0.5, "cost": 0.2})
    columns = s.collect(10).columns
    losses = []
    for who in (columns["alive"], ~columns["alive"]):
        rows = dict(columns)
        rows["gate_log_probability"] = torch.where(who, columns["gate_log_probability"], -3.0)
        rows["gate"] = torch.where(who, columns["gate"], ~columns["gate"])
        losses.append(ppo_loss(s.policy, rows, PPOSettings(gate_entropy=0.1), 0.01, False)[0].detach())
    plain = ppo_loss(s.policy, columns, PPOSettings(gate_entropy=0.1), 0.01, False)[0].detach()
    assert torch.equal(losses[0], plain)
    assert not torch.equal(losses[1], plain)


def test_who_is_gone_has_nothing_to_expect() -> None:
    """Its value is 0 in units of reward: nothing is bootstrapped from what is never trained."""
    s = losing(topology={"name": "full"})
    s.policy.return_mean.fill_(-7.0)
    columns = s.collect(10).columns
    gone = ~columns["alive"]
    assert gone.any()
    assert not columns["target"][gone].any()
    assert not columns["advantage"][gone].any()
    assert columns["target"][~gone].mean() < -2


def test_who_fails_loses_what_it_expected() -> None:
    """At the step after which a member is gone, its return ends."""
    world, policy = team(40, "predator_prey", world=LOSING | {"max_steps": 50}, topology={"name": "full"})
    policy.return_mean.fill_(100.0)
    columns = sampler(world, policy).collect(6).columns
    alive, target = (columns[name].view(6, 40, 5) for name in ("alive", "target"))
    last = alive[:-1] & ~alive[1:]
    same_episode = (columns["active"].view(6, 40, 5)[:-1]) & (world.length >= 6).view(1, 40, 1)
    assert (last & same_episode).sum() > 20
    assert (target[:-1][last & same_episode] <= 0).all()


def test_returns_are_followed_of_members_that_are_there() -> None:
    s = losing(topology={"name": "full"})
    columns = s.collect(10).columns
    there = columns["target"][columns["alive"]]
    next(updating(s).minibatches(columns))
    torch.testing.assert_close(s.policy.return_mean, there.mean())
    torch.testing.assert_close(s.policy.return_scale, there.std())


@pytest.mark.parametrize("shut", [False, True])
@torch.no_grad()
def test_in_turns_each_receiver_is_sent_forged_messages_once(shut: bool) -> None:
    """In the exchange that carries its messages; what reaches a shut gate is paid for and turned away there."""
    gate = {"initial_logit": -20.0} if shut else None
    world, policy = team(6, world=CREW, decoder="autoregressive", gate=gate, topology={"name": "full"})
    team_shape = team_shape_of(world, policy)
    network = comms(team_shape, [attack("impersonate", team_shape)])
    at = torch.zeros(6, dtype=torch.int64)
    decide(policy, world.reset(seed=0), policy.topology.graph(None, 6), network, at, None)
    agents = world.num_agents
    once_per_round = torch.full((6,), policy.rounds * agents)
    forged = network.ledger["accepted_forged"] if not shut else network.ledger.refused_by["gate"]
    assert torch.equal(forged, once_per_round)
    assert torch.equal(network.guards[0].spent, once_per_round)
    assert "gate" not in network.ledger.refused_by or shut
