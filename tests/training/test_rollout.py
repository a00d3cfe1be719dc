"""Fragments say what happened, and a sampler that was saved goes on as if never interrupted."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from builders import comms, known_attack, sampler, team, team_shape_of
from forms import KINDS
from thinning import thinned

from agentcomm.network.record import Fate
from agentcomm.runs.ppo_settings import PPOSettings
from agentcomm.training.rollout import Sampler

ATTACKED = [(None, "none"), *product(KINDS, ["both"])]
STRAIGHT_THROUGH = {"name": "learned", "estimator": "straight_through"}  # learns from held-out worlds


@pytest.mark.parametrize(("form", "defenses"), thinned(ATTACKED, ATTACKED[::2]))
def test_a_saved_sampler_goes_on_identically(form: str | None, defenses: str) -> None:
    first = sampler(*team(5, gate={"initial_logit": 0.0}), form, defenses)
    first.collect(9)
    saved = first.snapshot()
    expected = [first.collect(6), first.collect(5)]
    other = sampler(*team(5, gate={"initial_logit": 0.0}), form, defenses, seed=0)
    other.collect(4)
    other.restore(saved)
    for a in expected:
        b = other.collect(a.env_steps // 5)
        assert a.columns.keys() == b.columns.keys()
        assert all(torch.equal(a.columns[n], b.columns[n]) for n in a.columns)
        assert (a.episodes, a.recent) == (b.episodes, b.recent)
        assert a.messages == b.messages


def test_a_saved_state_does_not_change_with_the_run() -> None:
    s = sampler(*team(5), "replay", "authenticate")
    s.collect(5)
    saved = s.snapshot()

    def flat(x: Any) -> list[Any]:
        if isinstance(x, dict):
            return [leaf for key in sorted(x) for leaf in flat(x[key])]
        if isinstance(x, list):
            return [leaf for item in x for leaf in flat(item)]
        return [x.copy() if hasattr(x, "copy") else x]

    before = flat(saved)
    s.collect(9)
    assert all((a == b).all() if hasattr(a, "shape") else a == b for a, b in zip(before, flat(saved), strict=True))


def test_statistics_are_those_of_every_worlds_last_whole_episode() -> None:
    """Also of episodes that began in an earlier fragment, and none before each world has ended one."""
    world, policy = team(6)
    s = sampler(world, policy)
    mirror, _ = team(6)
    mirror.restore(world.snapshot())
    length, total = torch.zeros(6), torch.zeros(6)
    last: dict[int, tuple[float, float, float]] = {}
    reported = 0
    for steps in (5, 4, 9, 7):
        fragment = s.collect(steps)
        action = fragment.columns["action"].long().view(steps, 6, -1)
        episodes = 0
        for t in range(steps):
            step = mirror.step(action[t])
            length, total = length + 1, total + step.reward.mean(1)
            episodes += len(step.finished)
            for b in step.finished.tolist():
                last[b] = (float(length[b]), float(step.success[b]), float(total[b]))
                length[b] = total[b] = 0
        assert fragment.episodes == episodes
        if len(last) < 6:
            assert not fragment.recent
            continue
        reported += 1
        for place, name in enumerate(("length", "success", "return")):
            expected = sum(entry[place] for entry in last.values()) / 6
            assert abs(fragment.recent[name] - expected) < 1e-5, name
    assert 0 < reported < 4


@pytest.mark.parametrize("form", thinned([None, *KINDS], [None, *KINDS[::2]]))
def test_messages_are_counted_per_fragment(form: str | None) -> None:
    s = sampler(*team(6, gate={"initial_logit": 0.0}), form)
    total = dict.fromkeys(("sent", "accepted"), 0)
    for _ in range(2):
        fragment = s.collect(8)
        gate = fragment.columns["gate"]
        assert fragment.messages["sent"] == int(gate.sum()) * s.policy.topology.degree * s.policy.rounds
        assert fragment.messages["accepted"] == int(fragment.columns["mask"].sum())
        assert fragment.gate_open == pytest.approx(float(gate.float().mean()))
        for name in total:
            total[name] += fragment.messages[name]
    assert total["sent"] == int(s.comms.network.ledger["sent"].sum())


def test_held_out_worlds_are_whole_worlds_and_always_the_same() -> None:
    s = sampler(*team(8, topology=STRAIGHT_THROUGH))
    for _ in range(2):
        held = s.collect(7).columns["held_out"].view(7, 8)
        assert torch.equal(held, (torch.arange(8) < 2).expand(7, 8))


def test_too_few_worlds_to_hold_out_any_is_said() -> None:
    world, policy = team(3, topology=STRAIGHT_THROUGH)
    network = comms(team_shape_of(world, policy))
    with pytest.raises(ValueError, match=r"3 worlds are too few to hold out 0\.25"):
        Sampler(world, policy, network, PPOSettings(held_out=0.25), 0)
    Sampler(world, policy, network, PPOSettings(held_out=0.0), 0)
    for topology in ({"name": "full"}, {"name": "learned", "estimator": "score"}):
        world, policy = team(3, topology=topology)
        s = Sampler(world, policy, comms(team_shape_of(world, policy)), PPOSettings(held_out=0.25), 0)
        assert not s.collect(2).columns["held_out"].any(), "who learns from all worlds keeps none"


def test_one_graph_per_world_and_fragment() -> None:
    s = sampler(*team(8, world={"perception_agents": 4}))
    graphs = [s.collect(6).columns["links"].view(6, 8, 5, -1) for _ in range(2)]
    for graph in graphs:
        assert torch.equal(graph, graph[:1].expand_as(graph))
        assert not torch.equal(graph[0, 0], graph[0, 1]) or not torch.equal(graph[0, 0], graph[0, 2])
    assert not torch.equal(*graphs)


def test_listening_costs_what_the_gate_says_and_is_not_part_of_the_return() -> None:
    runs = []
    for cost in (0.0, 0.3):
        world, policy = team(6, gate={"initial_logit": 0.0, "cost": cost}, topology={"name": "full"})
        policy.anneal(1.0)  # until the price has risen
        s = Sampler(world, policy, comms(team_shape_of(world, policy)), PPOSettings(gae_lambda=0.0, gamma=0.0), 0)
        runs.append(s.collect(9))
    free, paid = (f.columns["advantage"] for f in runs)
    gate = runs[0].columns["gate"].float()
    torch.testing.assert_close(free - paid, 0.3 * 2 / 3 * gate, rtol=1e-4, atol=1e-5)
    assert runs[0].recent == runs[1].recent
    assert runs[0].recent["return"] < 0


def test_truncated_episodes_are_bootstrapped_and_ended_ones_are_not() -> None:
    world, policy = team(24, "predator_prey", world={"size": 2, "predators": 2, "max_steps": 3})
    policy.return_mean.fill_(50.0)  # every state is worth about 50, so that a bootstrap shows
    s = Sampler(
        world, policy, comms(team_shape_of(world, policy)), PPOSettings(gae_lambda=0.0, gamma=1.0, held_out=0.25), 0
    )
    mirror, _ = team(24, "predator_prey", world={"size": 2, "predators": 2, "max_steps": 3})
    mirror.restore(world.snapshot())
    columns = s.collect(12).columns
    target, action = columns["target"].view(12, 24, 2), columns["action"].long().view(12, 24, 2)
    ended = cut = 0
    for t in range(12):
        step = mirror.step(action[t])
        assert (target[t][step.terminated] < 10).all()
        assert (target[t][~step.terminated] > 30).all()
        ended, cut = ended + int(step.terminated.sum()), cut + int(step.truncated.sum())
    assert ended > 3
    assert cut > 3


def test_the_networks_state_ends_with_the_episode() -> None:
    """A replayed envelope never comes from the episode before, although worlds restart at different times."""
    world, policy = team(64, "predator_prey", world={"size": 2, "predators": 2, "max_steps": 6})
    team_shape = team_shape_of(world, policy)
    network = comms(team_shape, [known_attack("replay alongside", team_shape)])
    s = Sampler(world, policy, network, PPOSettings(), 0)
    network.network.trace = []
    young = []
    for _ in range(12):
        young.append((world.length < 2).clone())
        s.collect(1)
    replayed = torch.stack(
        [torch.as_tensor((note.fields["fate"] == Fate.REPLAYED).any((1, 2))) for note in network.network.trace]
    ).view(12, 2, 64)
    assert not replayed[torch.stack(young).unsqueeze(1).expand_as(replayed)].any()
    assert replayed[~torch.stack(young).unsqueeze(1).expand_as(replayed)].all()


def test_undisturbed_messages_take_no_room() -> None:
    for form, extra in (
        (None, set()),
        ("drop", set()),
        ("noise", {"source", "delta"}),
        ("replay", {"source", "scale", "delta"}),
    ):
        columns = sampler(*team(5), form).collect(8).columns
        assert columns.keys() & {"source", "scale", "delta"} == extra
