"""Oracle-Hint: one source per agent, known answers, and the floors of those who know and those who do not."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agentcomm.base.errors import ConfigError
from agentcomm.base.registry import build_config
from agentcomm.conformance import check_world
from agentcomm.contracts.world import DrawnMessage
from agentcomm.runs.assembly import environment_of
from agentcomm.runs.choices import Choice
from envs.gridworld.drawing import FATE_COLORS
from envs.oracle_hint import OracleHint, OracleHintConfig
from envs.symbols import CELL


def make(num_worlds: int = 1, **arguments: Any) -> OracleHint:
    config = build_config("environment", "oracle_hint", arguments)
    assert isinstance(config, OracleHintConfig)
    return OracleHint(config, num_worlds)


@pytest.mark.parametrize("observation", ["dense", "indices"])
@pytest.mark.parametrize(
    "arguments",
    [{"members": 2, "symbols": 2, "max_steps": 1}, {"members": 5, "symbols": 3}, {"members": 3, "moment": "random"}],
)
def test_conforms(arguments: dict[str, Any], observation: str) -> None:
    check_world(lambda num_worlds: make(num_worlds, observation=observation, **arguments))


def test_every_team_has_its_own_wiring_unless_it_is_given() -> None:
    """The training seed draws it, and training, evaluation and the policy file all get that number."""
    drawn = Choice(name="oracle_hint")
    assert environment_of(drawn, 3).arguments == {"wiring": 3}
    assert environment_of(environment_of(drawn, 3), 4).arguments == {"wiring": 3}
    given_ = Choice.model_validate({"name": "oracle_hint", "wiring": 5})
    assert environment_of(given_, 3) == given_
    assert torch.equal(make().informative, make(wiring=0).informative)


@given(st.integers(2, 64), st.integers(0, 2**40))
def test_sources_form_a_single_cycle(members: int, wiring: int) -> None:
    source = make(members=members, wiring=wiring).informative.tolist()
    agent, seen = 0, set()
    while agent not in seen:
        seen.add(agent)
        agent = source[agent]
    assert seen == set(range(members))
    assert agent == 0


def test_every_cycle_is_equally_likely() -> None:
    wirings = [tuple(make(members=4, wiring=w).informative.tolist()) for w in range(3_000)]
    counts = torch.tensor([wirings.count(w) for w in sorted(set(wirings))])
    assert len(counts) == 6, "(N - 1)! cycles"
    assert ((counts - 500) ** 2 / 500).sum() < 20.5, "0.1% point of chi-square with 5 degrees of freedom"


@pytest.mark.parametrize(("members", "informing"), [(3, 2), (4, 1), (5, 2), (6, 1)])
def test_an_even_cycle_is_the_only_graph_of_one_sender_each(members: int, informing: int) -> None:
    """All graphs in which each agent hears one sender, messages passed on over a second hop included.

    An odd cycle has a square root, so there is a second one.
    """
    world = make(members=members)
    graph = np.array(list(itertools.product(range(members), repeat=members)))
    first = graph == world.informative.numpy()
    second = np.take_along_axis(graph, graph, axis=1) == world.informative.numpy()
    assert second.all(1).sum() == informing - 1, "square roots"
    assert (first | second).all(1).sum() == informing


def play(world: OracleHint, informed: bool) -> tuple[float, float]:
    """Mean reward per agent and step, and success, over one episode per world."""
    observation = world.reset(seed=0)
    total = 0.0
    for _ in range(world.max_steps):
        seen = observation.argmax(2)
        step = world.step(seen[:, world.informative] if informed else torch.zeros_like(seen), auto_reset=False)
        observation = step.observation
        total += step.reward.mean().item()
    assert step.truncated.all()
    assert not step.terminated.any()
    return total / world.max_steps, step.success.float().mean().item()


def test_floors() -> None:
    world = make(1_000)
    assert play(world, informed=True) == (1.0, 1.0)
    reward, success = play(world, informed=False)
    assert reward == pytest.approx(0.25, abs=0.007), "four standard errors of 64,000 guesses"
    assert success == 0


STEPS, SYMBOLS = 8, 4


@pytest.mark.parametrize("shown_to", ["receiver", "sender"])
@pytest.mark.parametrize("price", [0.03, 0.1])
def test_values_of_gates_at_a_random_moment(shown_to: str, price: float) -> None:
    """Scripted gates earn what theory says: 1 - c, 1 - c T, 1 / S, and 1 / S + (1 - 1 / S) q - c q T."""
    world = make(4_000, moment="random", shown_to=shown_to, members=6)
    generator = torch.Generator().manual_seed(1)
    gates = {
        "moment": lambda: world.counting,  # what the receiver observes, or its source told it by speaking
        "open": lambda: torch.ones_like(world.counting),
        "closed": lambda: torch.zeros_like(world.counting),
        "chance": lambda: torch.rand(world.counting.shape, generator=generator) < 0.3,
    }
    guess = 1 / SYMBOLS
    expected = {
        "moment": 1 - price,
        "open": 1 - price * STEPS,
        "closed": guess,
        "chance": guess + (1 - guess) * 0.3 - price * 0.3 * STEPS,
    }
    for name, gate in gates.items():
        world.reset(seed=0)
        earned = torch.zeros(4_000, 6)
        for _ in range(STEPS):
            open_ = gate()
            guesses = torch.where(open_, world.state["secrets"][:, world.informative], 0)
            earned += world.step(guesses, auto_reset=False).reward - price * open_
        error = 4 * earned.std() / earned.numel() ** 0.5 + 1e-6
        assert earned.mean().item() == pytest.approx(expected[name], abs=error.item()), name


@pytest.mark.parametrize("shown_to", ["receiver", "sender"])
def test_one_entry_shows_the_moment_to_one_agent(shown_to: str) -> None:
    world = make(200, moment="random", shown_to=shown_to, observation="indices")
    dense = make(200, moment="random", shown_to=shown_to)
    seen, counted = world.reset(seed=0), torch.zeros(200, 8)
    assert torch.equal(dense.reset(seed=0)[..., SYMBOLS] > 0, seen[..., 1] == SYMBOLS)
    for _ in range(STEPS):
        counting, told = world.counting.clone(), seen[..., 1] == SYMBOLS
        assert torch.equal(told[:, world.informative] if shown_to == "sender" else told, counting)
        right = world.state["secrets"][:, world.informative]
        step = world.step(right, auto_reset=False)
        assert torch.equal(step.reward, counting.float())
        counted += counting
        seen = step.observation
    assert (counted == 1).all()
    assert (seen[..., 1] == -1).all(), "nothing counts after the last step"
    assert step.success.all()


def test_a_scene_gives_the_moments() -> None:
    world = make(members=3, moment="random")
    world.reset(scene={"secrets": [3, 0, 1], "moments": [0, 2, 1]})
    assert world.observe()[0, :, 4].tolist() == [1, 0, 0]
    assert world.scene(0)["moments"] == [0, 2, 1]
    assert "its guess counts in step 2" in world.render(0, "ansi").splitlines()[1]
    with pytest.raises(ValueError, match=r"list of 3 steps 0 \.\. 7"):
        world.reset(scene={"secrets": [3, 0, 1], "moments": [0, 8, 1]})


def test_one_wrong_guess_spoils_the_episode() -> None:
    world = make(2, members=3, max_steps=3)
    world.reset(seed=0)
    for wrong in (False, True, False):
        right = world.state["secrets"][:, world.informative]
        right[0, 1] = (right[0, 1] + wrong) % 4
        step = world.step(right)
        assert step.reward.tolist() == [[1.0, 1.0 - wrong, 1.0], [1.0, 1.0, 1.0]]
    assert step.truncated.all()
    assert step.success.tolist() == [False, True]
    assert world.success().all(), "the next episode starts anew"


def test_secrets_are_uniform_and_fresh_in_each_step() -> None:
    world = make(10_000, members=2, observation="indices")
    first = world.reset(seed=0)
    second = world.step(torch.zeros(10_000, 2, dtype=torch.int64)).observation
    for joint in (first[:, 0, 0] * 4 + first[:, 1, 0], first[:, 0, 0] * 4 + second[:, 0, 0]):
        counts = torch.bincount(joint, minlength=16)
        assert ((counts - 625) ** 2 / 625).sum() < 37.7, "0.1% point of chi-square with 15 degrees of freedom"


def test_both_layouts_say_the_same_and_nothing_of_the_source() -> None:
    dense, indices, other = make(5), make(5, observation="indices"), make(5, wiring=1)
    assert not torch.equal(dense.informative, other.informative)
    seen = dense.reset(seed=0)
    assert torch.equal(seen.argmax(2, keepdim=True), indices.reset(seed=0))
    assert torch.equal(seen.sum(2), torch.ones(5, 8))
    assert torch.equal(seen, other.reset(seed=0))


def test_a_scene_gives_the_first_secrets() -> None:
    world = make(members=3)
    world.reset(scene={"secrets": [3, 0, 1]})
    source = world.informative.tolist()
    assert world.scene(0) == {"secrets": [3, 0, 1], "source": source, "guesses": [-1, -1, -1]}
    world.step(torch.tensor([[2, 1, 0]]))
    assert world.scene(0)["guesses"] == [2, 1, 0]


@pytest.mark.parametrize(
    ("scene", "message"),
    [
        ({"secret": [0, 1, 2]}, "one key 'secrets', not \\['secret'\\]"),
        ({"secrets": [0, 1, 2], "source": [1, 2, 0]}, "one key 'secrets'"),
        ({"secrets": [0, 1]}, "list of 3 symbols 0 .. 3"),
        ({"secrets": [0, 1, 4]}, "list of 3 symbols"),
        ({"secrets": [0, 1, -1]}, "list of 3 symbols"),
        ({"secrets": [0, 1, 1.0]}, "list of 3 symbols"),
        ({"secrets": 2}, "list of 3 symbols"),
    ],
)
def test_impossible_scenes_are_refused(scene: dict[str, Any], message: str) -> None:
    world = make(members=3)
    start = world.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        world.reset(scene=scene)
    assert torch.equal(world.observe(), start), "a refused scene changes nothing"


@pytest.mark.parametrize("arguments", [{"members": 1}, {"symbols": 1}, {"wiring": -1}, {"max_steps": 0}])
def test_bad_arguments_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(arguments))):
        build_config("environment", "oracle_hint", arguments)


def test_text_shows_who_sees_and_guessed_what() -> None:
    world = make(members=2)
    world.reset(scene={"secrets": [3, 0]})
    assert world.render(0, "ansi").splitlines() == [
        "agent_0 sees 3, its source is agent_1, it has not guessed",
        "agent_1 sees 0, its source is agent_0, it has not guessed",
    ]
    world.step(torch.tensor([[2, 1]]))
    lines = world.render(0, "ansi", [DrawnMessage(0, 1, "dropped")]).splitlines()
    assert lines[0].endswith("its last guess was 2")
    assert lines[2] == "agent_0 -> agent_1: dropped"


def test_picture_shows_links_and_sources() -> None:
    world = make(members=3)
    world.reset(seed=0)
    receiver, sender = 0, int(world.informative[0])
    picture = world.render(0, "rgb_array", [DrawnMessage(sender, receiver, "forged")])
    assert picture.shape == (3 * CELL, 3 * CELL, 3)
    cell = picture[:CELL, sender * CELL : (sender + 1) * CELL]
    assert (cell[0, 0] == FATE_COLORS["forged"]).all()
    assert (cell[CELL // 2, CELL // 2] == 0).all()
    with pytest.raises(ValueError, match="'ansi' or 'rgb_array'"):
        world.render(0, "human")  # type: ignore[arg-type]
