"""Policies with a memory: updates unroll what rollouts remembered, and nothing outlives an episode."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from builders import comms, defense, known_attack, team, team_shape_of
from oracles import CREW
from torch import Tensor

from agentcomm.base import registry
from agentcomm.contracts.policy import CommPolicy
from agentcomm.contracts.topology import Graph
from agentcomm.evaluation.play import play
from agentcomm.runs import policy_file
from agentcomm.runs.assembly import resize_team
from agentcomm.runs.choices import Choice
from agentcomm.runs.ppo_settings import PPOSettings
from agentcomm.step.chunks import Chunks
from agentcomm.step.decide import decide
from agentcomm.step.replay import unroll
from agentcomm.training.minibatches import ChunkBatch, batch_of
from agentcomm.training.ppo import Update
from agentcomm.training.rollout import Sampler

STEPS = 13  # episodes of 7 steps end inside chunks, and no chunk but those of 1 and T steps divides a fragment
MEMORIES: dict[str, dict[str, Any]] = {"both": {"width": 12}, "seen": {"heard": False}, "heard": {"seen": False}}


def sampled(worlds: int = 6, hostile: str | None = None, chunk: int = 16, seed: int = 0, **policy: Any) -> Sampler:
    """A sampler with memories; if it is hostile, messages are attacked, lost and coded."""
    world, made = team(worlds, **{"memory": MEMORIES["both"], **policy})
    s = team_shape_of(world, made)
    plugins: dict[str, Any] = {}
    if hostile:
        plugins = {
            "attacks": [known_attack(hostile, s)],
            "defenses": [defense("clip", s)],
            "channels": [registry.find("channel", "loss")(registry.build_config("channel", "loss", {}), s, s.degree)],
            "codec": registry.find("codec", "int8")(registry.build_config("codec", "int8", {}), s),
        }
    settings = PPOSettings(held_out=0.25, chunk=chunk, minibatch=4 * chunk)
    return Sampler(world, made, comms(s, seed=seed, **plugins), settings, seed)


def updating(made: Sampler) -> Update:
    graph = made.policy.graph_parameters()
    own = {id(p) for p in graph}
    model = torch.optim.Adam([p for p in made.policy.parameters() if id(p) not in own], 3e-3)
    edges = torch.optim.Adam(graph, 0.05) if graph else None
    return Update(made.policy, made.settings, model, edges, torch.Generator().manual_seed(0))


def first_error(made: Sampler) -> float:
    """Error of the probability ratio on the first minibatch of a fragment that starts in the middle of episodes."""
    update = updating(made)
    for _ in range(2):
        stats = update.step(next(update.minibatches(made.collect(STEPS).columns)))
    return float(stats["ratio_error"])


@pytest.mark.parametrize(
    ("memory", "chunk"), [("both", 1), ("both", 5), ("both", 16), ("both", STEPS), ("seen", 5), ("heard", 5)]
)
def test_the_first_minibatch_repeats_the_rollout(memory: str, chunk: int) -> None:
    hostile = "gradient" if chunk == 5 else "noise"
    made = sampled(4, hostile, chunk, memory=MEMORIES[memory], gate={"initial_logit": 0.0})
    assert first_error(made) <= 1e-5


@pytest.mark.parametrize(
    "arguments",
    [
        {"decoder": "autoregressive"},
        {"gate": {"kind": "straight_through", "initial_logit": 0.0}},
        {"gate": {"kind": "straight_through", "side": "sender", "initial_logit": 0.0}},
        {"topology": {"name": "learned", "estimator": "straight_through"}},
        {"topology": {"name": "dynamic"}},
        {"message_noise": {}},
    ],
    ids=str,
)
def test_so_does_every_part_of_a_policy(arguments: dict[str, Any]) -> None:
    assert first_error(sampled(4, "noise", 5, **arguments)) <= 1e-5


def test_a_sequence_of_the_whole_fragment_remembers_what_the_rollout_did() -> None:
    made = sampled(chunk=STEPS)
    before = []
    original = made.loop.step

    def step() -> Any:
        before.append(made.loop.memory)
        return original()

    made.loop.step = step  # type: ignore[method-assign]
    columns = made.collect(STEPS).columns
    assert not before[0].any()
    rows = next(batch_of(made.policy, columns, PPOSettings(chunk=STEPS, minibatch=None)).epoch(0, made.policy, None))
    for recorded, again in zip(before, unroll(made.policy, rows), strict=True):
        torch.testing.assert_close(again.memory, recorded, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_an_unchanged_policy_finds_the_recorded_memory_at_every_chunk_again() -> None:
    made = sampled(chunk=5)
    made.collect(3)
    batch = batch_of(made.policy, made.collect(STEPS).columns, made.settings)
    assert isinstance(batch, ChunkBatch)
    recorded = batch.memory
    next(batch.epoch(1, made.policy, torch.Generator()))
    torch.testing.assert_close(batch.memory, recorded, rtol=1e-5, atol=1e-5)
    made.policy.get_parameter("memory.seen.bias_hh").add_(1.0)
    next(batch.epoch(1, made.policy, torch.Generator()))
    changed = (batch.memory != recorded).flatten(1).any(1).view(6, -1)
    assert not changed[:, 0].any()
    assert changed[:, 1:].any(0).all()


def test_chunks_cover_every_row_once_and_do_not_cross_worlds() -> None:
    time = torch.arange(STEPS).repeat(3)
    chunks = Chunks(time, 5)
    rows, chosen = chunks.pack({"row": torch.arange(3 * STEPS), "time": time}, torch.arange(9.0).view(-1, 1, 1))
    assert rows["row"].sort().values.tolist() == list(range(3 * STEPS))
    assert rows["sizes"].tolist() == [9, 9, 9, 6, 6]
    start = rows["row"][:9]
    assert torch.equal(rows["memory"].flatten(), chosen.float())
    for place, part in enumerate(rows["row"].split(rows["sizes"].tolist())):
        assert torch.equal(part, start[: len(part)] + place)


@torch.no_grad()
def test_worlds_are_independent_and_start_without_memory() -> None:
    world, policy = team(6, memory=MEMORIES["both"])
    made = comms(team_shape_of(world, policy))
    sampler = Sampler(world, policy, made, PPOSettings(), 0)
    loop = sampler.loop
    for _ in range(20):
        record = loop.step()
        loop.finish(record)
        ended = torch.zeros(6, dtype=torch.bool).index_fill(0, record.step.finished, True)
        assert not loop.memory[ended].any()
        assert loop.memory[~ended].flatten(1).any(1).all()
        assert record.decision.memory.flatten(1).any(1).all(), "the value of the last state needs it"
    seen, memory, order = loop.observation, loop.memory, torch.tensor([3, 0, 5, 1, 4, 2])
    torch.testing.assert_close(decided(policy, seen, memory)[order], decided(policy, seen[order], memory[order]))


def decided(policy: CommPolicy, seen: Tensor, memory: Tensor) -> Tensor:
    graph = policy.topology.graph(None, len(seen))
    d = decide(policy, seen, graph, None, torch.zeros(len(seen)).long(), None, memory=memory)
    return torch.cat([d.logits.flatten(1), d.memory.flatten(1), d.value], 1)


@pytest.mark.parametrize("decoder", ["parallel", "autoregressive"])
def test_a_sampler_saved_in_the_middle_of_episodes_continues_bit_for_bit(decoder: str) -> None:
    first = sampled(hostile="noise", decoder=decoder)
    first.collect(9)
    saved = first.snapshot()
    expected = first.collect(6).columns
    other = sampled(hostile="noise", decoder=decoder, seed=1)
    other.collect(4)
    other.restore(saved)
    again = other.collect(6).columns
    assert expected["memory"].any()
    assert all(torch.equal(again[name], value) for name, value in expected.items())


def test_the_value_of_a_cut_episode_uses_the_memory_before_the_reset() -> None:
    made = sampled(worlds=2)
    kept: list[tuple[Tensor, Tensor]] = []
    original = made._value

    def value(observation: Tensor, memory: Tensor, alive: Tensor | None) -> Tensor:
        kept.append((observation, memory))
        return original(observation, memory, alive)

    made._value = value  # type: ignore[method-assign]
    made.collect(7)
    (_, cut), (_, following) = kept
    assert cut.flatten(1).any(1).all()
    assert not following.any()


@torch.no_grad()
@pytest.mark.parametrize("heard", [True, False])
def test_a_message_matters_later_only_if_what_is_heard_is_remembered(heard: bool) -> None:
    world, policy = team(2, memory={"heard": heard}, topology={"name": "full"})
    at, seen = world.length, world.reset(seed=0)
    graph = policy.topology.graph(None, 2)
    other = torch.cat([seen[:, 1:2], seen[:, 1:]], 1)  # only the first agent sees something else
    logits = []
    for first in (seen, other):
        memory = decide(policy, first, graph, None, at, None).memory
        logits.append(decide(policy, seen, Graph(graph.source[..., :0]), None, at, None, memory=memory).logits)
    assert torch.equal(logits[0][:, 1:], logits[1][:, 1:]) != heard
    assert not torch.equal(logits[0][:, 0], logits[1][:, 0]), "what it saw itself is remembered in any case"


def test_members_that_join_start_without_memory() -> None:
    """At a junction, another car may take the place of one that leaves, in the same step."""
    config = registry.build_config("environment", "traffic_junction", {"max_steps": 12})
    world = registry.find("environment", "traffic_junction")(config, 6)
    arguments = registry.build_config("policy", "commformer", {"width": 8, "memory": {}})
    policy = registry.find("policy", "commformer").for_world(arguments, world)
    s = team_shape_of(world, policy)
    made = Sampler(world, policy, comms(s), PPOSettings(chunk=5, minibatch=30, held_out=0.0), 0)
    changed = 0
    for _ in range(STEPS):
        record = made.loop.step()
        there = record.alive & ~record.step.left
        assert torch.equal(made.loop.memory.any(-1), there)
        changed += int(record.step.left.sum())
        made.loop.finish(record)
    assert changed
    assert first_error(made) <= 1e-5


def test_teams_with_a_memory_are_evaluated_saved_and_resized(tmp_path: Path) -> None:
    world, policy = team(4, memory=MEMORIES["both"], topology={"name": "full"}, world=CREW)
    made = play(world, policy, comms(team_shape_of(world, policy)), seed=3, record=1)
    choice = {"name": "commformer", "width": 16, "memory": MEMORIES["both"], "topology": {"name": "full"}}
    environment = {"name": "predator_capture_prey", "size": 4, "max_steps": 7, **CREW}
    place = tmp_path / "policy"
    choices = Choice.model_validate(environment), Choice.model_validate(choice)
    policy_file.save(place, policy, *choices, "team", 0, {})
    loaded = policy_file.load(place).policy
    again = play(world, loaded, comms(team_shape_of(world, loaded)), seed=3)
    assert torch.equal(made.total_reward, again.total_reward)
    larger, _ = team(4, world={"perception_agents": 6, "capture_agents": 3})
    resize_team(loaded, world, larger)
    assert play(larger, loaded, comms(team_shape_of(larger, loaded)), seed=3).total_reward.isfinite().all()
