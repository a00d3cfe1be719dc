"""ExpoComm, SLIM and CoDe against their papers: what memories hold, what ages do, and what is learned from it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from builders import channel, comms, team_shape_of
from torch import Tensor

from agentcomm.base import registry
from agentcomm.contracts.inbox import Inbox
from agentcomm.contracts.policy import CommPolicy, Steps
from agentcomm.contracts.world import World
from agentcomm.evaluation.metrics import measure
from agentcomm.evaluation.play import play
from agentcomm.runs.assembly import make_comms
from agentcomm.runs.ppo_settings import PPOSettings
from agentcomm.step.chunks import Chunks
from agentcomm.step.decide import decide
from agentcomm.step.replay import reevaluate
from agentcomm.training.rollout import Sampler
from policies.expocomm import contrast
from policies.intent import likeness


def team(name: str, num_worlds: int = 6, **arguments: Any) -> tuple[World, Any]:
    """Four agents of Predator-Capture-Prey and a small team for them."""
    sizes = {"perception_agents": 2, "capture_agents": 2, "max_steps": 6, "observation": "dense"}
    config = registry.build_config("environment", "predator_capture_prey", sizes)
    world: World = registry.find("environment", "predator_capture_prey")(config, num_worlds)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        built = registry.build_config("policy", name, {"width": 16} | arguments)
        policy = registry.find("policy", name).for_world(built, world)
    return world, policy


def talk(policy: CommPolicy, observations: Tensor) -> Tensor:
    """The logits [T, B, N, A] of steps [T, B, N, O] on a clean network, greedily."""
    worlds, agents = observations.shape[1:3]
    graph = policy.topology.graph(None, worlds, policy.encode(observations[0]))
    memory = torch.zeros(worlds, agents, policy.memory_width)
    out = []
    for at, observation in enumerate(observations):
        step = torch.full((worlds,), at)
        made = decide(policy, observation, graph, None, step, None, memory=memory)
        memory = made.memory
        out.append(made.logits)
    return torch.stack(out)


def inbox_of(policy: CommPolicy, spoken: Tensor, mask: Tensor | None = None, age: Tensor | None = None) -> Inbox:
    """Messages [B, N, D] on all links of a full graph."""
    source = policy.topology.graph(None, len(spoken)).source
    heard = torch.ones_like(source, dtype=torch.bool) if mask is None else mask
    return Inbox(spoken, source, heard, source, age=age)


def influence(policy: CommPolicy, world: World) -> float:
    """How much the first agent's observations in earlier steps change others' logits in the last of six steps."""
    observations = torch.stack([world.reset(seed) for seed in range(6)])
    other = observations.clone()
    other[:, :, 0] = observations[:, :, 0].roll(1, 1)
    return float((talk(policy, observations) - talk(policy, other))[-1, :, 1:].abs().max().detach())


@pytest.mark.parametrize(
    ("arguments", "speaks"),
    [({"mixes_only": True}, False), ({}, True), ({"variant": "one_peer", "topology": "ring"}, True)],
)
def test_expocomm_as_released_says_nothing(arguments: dict[str, Any], speaks: bool) -> None:
    world, policy = team("expocomm", **arguments)
    with torch.no_grad():
        for parameter in policy.actor.parameters():
            parameter.mul_(10).add_(0.1)
    told = influence(policy, world)
    assert (told > 1e-3) if speaks else (told == 0.0)


def test_expocomms_memories_are_those_of_its_equations() -> None:
    _, policy = team("expocomm", topology="full")
    seen, heard = torch.randn(2, 3, 4, 16)
    spoken = policy.speak(torch.cat([seen, heard], -1), 0)
    assert torch.equal(spoken, heard)
    state = policy.hear(torch.cat([seen, heard], -1), inbox_of(policy, spoken), 0)
    scores = (policy.query(seen) @ policy.key(heard).transpose(1, 2)) / 4
    torch.testing.assert_close(state[..., 16:], seen + scores.softmax(-1) @ policy.content(heard))
    assert torch.equal(state[..., :16], seen)


def test_grounding_is_small_for_memories_that_agree_within_a_moment_only() -> None:
    moments = torch.nn.functional.normalize(torch.randn(64, 1, 16, generator=torch.Generator().manual_seed(0)), dim=-1)
    assert contrast(moments.expand(-1, 4, -1), 0.07) < 0.1
    assert contrast(torch.ones(64, 4, 16), 0.07) == pytest.approx(math.log(21)), "equal memories tell nothing"


def test_slim_attends_to_cached_and_present_messages_in_one_softmax() -> None:
    _, policy = team("slim", message=4, heads=1)
    token, cache = torch.randn(3, 4, 16), torch.randn(3, 4, 4, 5)
    cache[..., -1] = torch.tensor([1.0, 0.5, 0.0, 1.0])
    with torch.no_grad():
        policy.blocks[0].age.fill_(-0.7)
    hidden = torch.cat([token, cache.flatten(-2)], -1)
    spoken = policy.speak(hidden, 0)
    state = policy.hear(hidden, inbox_of(policy, spoken), 0)
    block = policy.blocks[0]
    everything = torch.cat([cache[..., :4], spoken.unsqueeze(1).expand(-1, 4, -1, -1)], 2)
    scores = (block.query(token).unsqueeze(2) * everything).sum(-1) / 2
    scores[:, :, :4] -= 0.7 * (1 - cache[..., -1])
    scores[:, :, 2] = float("-inf")
    mixed = (scores.softmax(-1).unsqueeze(-1) * everything).sum(2)
    expected = torch.nn.functional.layer_norm(token + block.out(mixed), (16,))
    expected = torch.nn.functional.layer_norm(expected + block.feed(expected), (16,))
    torch.testing.assert_close(state[..., :16], expected)
    stored = state[..., 16:].unflatten(-1, (4, 5))
    others = ~torch.eye(4, dtype=torch.bool)
    said = spoken.unsqueeze(1).expand(-1, 4, -1, -1)
    torch.testing.assert_close(stored[:, others][..., :4], said[:, others])
    assert (stored[:, others][..., 4] == 1).all()
    assert torch.equal(stored[:, ~others], cache[:, ~others]), "nobody hears itself"


def test_slims_cache_holds_what_was_heard_last_and_grows_old() -> None:
    _, policy = team("slim", message=4)
    memory = torch.zeros(2, 4, policy.memory_width)
    said: list[Tensor] = []
    for hears in (True, False, False):
        hidden, memory = policy.recall(policy.encode(torch.zeros(2, 4, policy.encoder.layout.width)), memory)
        spoken = policy.speak(hidden, 0)
        said.append(spoken)
        mask = torch.full((2, 4, 3), hears)
        _, memory = policy.retain(policy.hear(hidden, inbox_of(policy, spoken, mask), 0), memory)
    cache = memory.unflatten(-1, (4, 5))
    torch.testing.assert_close(cache[:, 0, 1:, :4], said[0][:, 1:])
    torch.testing.assert_close(cache[:, 0, :, 4], torch.tensor([0.0, 1 / 3, 1 / 3, 1 / 3]).expand(2, -1))


def test_the_bandwidth_budget_is_width_times_rounds_times_share_of_links() -> None:
    for arguments, expected in (({"message": 4}, 4.0), ({"message": 6, "rounds": 2, "topology": "ring"}, 8.0)):
        world, policy = team("slim", 8, **arguments)
        found = measure(play(world, policy, make_comms(world, policy), 0))
        assert found["bandwidth_budget"] == pytest.approx(expected)


def test_codes_attention_decays_with_age() -> None:
    _, policy = team("code", discount=0.5, memory=None)
    hidden = torch.randn(2, 4, 16)
    spoken, age = policy.speak(hidden, 0), torch.tensor([0, 1, 3]).expand(2, 4, -1)
    state = policy.hear(hidden, inbox_of(policy, spoken, age=age), 0)
    source = policy.topology.graph(None, 2).source
    said = torch.cat([spoken.unsqueeze(2), torch.stack([spoken[b][source[b]] for b in range(2)])], 2)
    weight = ((policy.query(spoken).unsqueeze(2) * policy.key(said)).sum(-1) / 4).exp()
    weight = weight * 0.5 ** torch.tensor([0, 0, 1, 3])
    mixed = (weight.unsqueeze(-1) * policy.content(said)).sum(2) / weight.sum(-1, keepdim=True)
    expected = torch.nn.functional.layer_norm(hidden + policy.out(mixed), (16,))
    expected = torch.nn.functional.layer_norm(expected + policy.feed(expected), (16,))
    torch.testing.assert_close(state, expected)


@pytest.mark.parametrize("name", ["expocomm", "slim", "code"])
def test_delayed_messages_are_replayed_with_their_age(name: str) -> None:
    world, policy = team(name)
    shape = team_shape_of(world, policy)
    late = channel("delay", shape, shape.degree, seconds=0.0, jitter=0.15)
    sampler = Sampler(world, policy, comms(shape, channels=[late]), PPOSettings(), 0)
    for _ in range(2):
        columns = sampler.collect(8).columns
    memory = columns.pop("memory")
    rows, _ = Chunks(columns["time"], 8).pack(columns, memory)
    again = reevaluate(policy, rows)
    assert (again.log_probability - rows["log_probability"]).abs().max() < 1e-5
    if name == "code":
        assert set(columns["age"][columns["mask"]].tolist()) >= {0, 1, 2}


def test_steps_know_which_follow_them() -> None:
    world, policy = team("code")
    seen: list[Steps] = []
    policy.auxiliary = seen.append
    columns = Sampler(world, policy, comms(team_shape_of(world, policy)), PPOSettings(chunk=4), 0).collect(10).columns
    memory = columns.pop("memory")
    rows, _ = Chunks(columns["time"], 4).pack(columns | {"row": torch.arange(60)}, memory)
    reevaluate(policy, rows)
    following, row, time = seen[0].following, rows["row"], rows["time"]
    for at, after in enumerate(following.tolist()):
        later = (row == row[at] + 1).nonzero().flatten()
        follows = len(later) == 1 and time[later] % 4 != 0 and not rows["first"][later].any()
        assert after == 4 * [int(later) if follows else -1]
    assert (following >= 0).sum() > 20


def test_codes_losses_are_those_of_its_docstring() -> None:
    world, policy = team("code", horizon=2, future=1.0, stability=0.0, diversity=0.0)
    hidden, action = torch.randn(4, 4, 16), torch.randint(5, (4, 4))
    following = torch.tensor([1, 2, -1, -1]).unsqueeze(1).expand(-1, 4)
    observation = torch.zeros(4, 4, world.layout.width)
    steps = Steps(observation, hidden, action, following)
    logits = policy.predict(policy.speak(hidden, 0)).unflatten(-1, (2, -1)).log_softmax(-1)
    now = -logits[:, :, 0].gather(-1, action.unsqueeze(-1)).mean()
    then = -logits[:2, :, 1].gather(-1, action[1:3].unsqueeze(-1)).mean()
    torch.testing.assert_close(policy.auxiliary(steps), (now + then) / 2)
    _, policy = team("code", future=0.0, stability=1.0, diversity=0.0)
    intent = policy.speak(hidden, 0)
    torch.testing.assert_close(policy.auxiliary(steps), (intent[:2] - intent[1:3]).square().mean())
    unit = torch.nn.functional.normalize(intent, dim=-1)
    pairs = (unit @ unit.transpose(1, 2)).square()[:, ~torch.eye(4, dtype=torch.bool)]
    torch.testing.assert_close(likeness(intent), pairs.mean())
