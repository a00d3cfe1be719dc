"""Memory of large teams with four senders per receiver: it grows with the number of agents, not with its square."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from linear import largest

from agentcomm.evaluation.metrics import measure
from agentcomm.evaluation.play import play
from agentcomm.runs.assembly import make_comms, make_policy, make_world
from agentcomm.runs.choices import Choice
from agentcomm.runs.config import RunConfig, parse
from benchmarks.plain_loop import PlainLoop

WORLDS, WIDTH, SIZES = 16, 8, (256, 512)
ATTACKS = ("noise", "impersonate", "replay", "drop")
DEFENSES = ("authenticate", "clip", "median")
TOPOLOGIES: dict[str, dict[str, Any]] = {
    "learned": {"name": "learned", "degree": 4},
    "embedded": {"name": "embedded", "degree": 4, "embedding": 8},
    "random": {"name": "random", "degree": 4},
    "ring": {"name": "ring"},
    "exponential": {"name": "exponential"},
    "one_peer": {"name": "one_peer"},
}


def config_of(agents: int, topology: dict[str, Any], **more: Any) -> RunConfig:
    return parse(
        {
            "name": "large",
            "environment": {"name": "oracle_hint", "members": agents, "observation": "indices", "max_steps": 2},
            "policy": {"name": "commformer", "topology": topology, "width": WIDTH},
            "training": {"worlds": WORLDS, "fragment": 2, "ppo": {"epochs": 1, "minibatch": 2 * WORLDS}},
            **more,
        },
        "test",
    )


def training(agents: int, topology: dict[str, Any], **more: Any) -> Callable[[], object]:
    loop = PlainLoop(config_of(agents, topology, **more))
    return lambda: loop.update.run(loop.sampler.collect(2).columns)


def evaluation(agents: int, attack: str | None, defense: str | None) -> Callable[[], object]:
    run = config_of(agents, TOPOLOGIES["random"])
    world = make_world(run.environment, WORLDS)
    policy = make_policy(run.policy, world, "team", 0)
    attacks, defenses = ([Choice(name=name)] if name else [] for name in (attack, defense))
    return lambda: measure(play(world, policy, make_comms(world, policy, attacks, defenses), 0))


def is_linear(make: Callable[[int], Callable[[], object]]) -> None:
    """No tensor has an entry per world and pair of agents, and the largest grows hardly faster than the team."""
    first, second = (largest(make(agents)) for agents in SIZES)
    assert second < WORLDS * SIZES[1] ** 2
    # Tensors of one entry per pair, once for all worlds, are smaller than those of agents here.
    assert second <= 2.5 * first  # twice, but for the exponential graph, in which one more is heard


@pytest.mark.parametrize("topology", TOPOLOGIES.values(), ids=TOPOLOGIES)
def test_training_makes_no_tensor_with_an_entry_per_world_and_pair(topology: dict[str, Any]) -> None:
    is_linear(lambda agents: training(agents, topology))


def test_nor_does_training_with_gates_of_senders() -> None:
    gate = {"kind": "straight_through", "side": "sender"}

    def make(agents: int) -> Callable[[], object]:
        config = config_of(agents, TOPOLOGIES["random"])
        policy = config.policy.model_copy(update={"gate": gate})
        loop = PlainLoop(config.model_copy(update={"policy": Choice(**policy.model_dump())}))
        return lambda: loop.update.run(loop.sampler.collect(2).columns)

    is_linear(make)


def test_nor_training_under_attack_with_a_defense() -> None:
    more = {"attacks": [{"name": "noise"}], "defenses": [{"name": "clip"}]}
    is_linear(lambda agents: training(agents, TOPOLOGIES["learned"], **more))


@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks_make_none(attack: str) -> None:
    is_linear(lambda agents: evaluation(agents, attack, None))


@pytest.mark.parametrize("defense", DEFENSES)
def test_defenses_make_none(defense: str) -> None:
    is_linear(lambda agents: evaluation(agents, None, defense))


def test_the_measure_finds_them() -> None:
    """A scheduler that looks at all pairs of agents, as MAGIC's does, has an entry for each."""
    with pytest.raises(AssertionError):
        is_linear(lambda agents: training(agents // 4, {"name": "dynamic", "degree": 4}))
