"""Agreement: quorums, rewards, what members see, and the floors that its docstring claims."""

from __future__ import annotations

from math import comb
from typing import Any

import pytest
import torch
from torch import Tensor

from envs.agreement import Agreement, AgreementConfig, majority_votes, own_votes


def make(worlds: int = 1, **arguments: Any) -> Agreement:
    return Agreement(AgreementConfig(**arguments), worlds)


def play(world: Agreement, votes: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Length, success and reward of one member in one episode each."""
    world.reset(seed=3)
    running = torch.ones(world.num_worlds, dtype=torch.bool)
    length, success, total = torch.zeros(world.num_worlds), running.clone(), torch.zeros(world.num_worlds)
    for _ in range(world.max_steps):
        step = world.step(votes(world), auto_reset=False)
        total += step.reward[:, 0] * running
        ended = running & step.done
        length[ended], success[ended] = step.length[ended].float(), step.success[ended]
        running &= ~step.done
    return length, success, total


@pytest.mark.parametrize(
    ("quorum", "votes", "agreed"),
    [(1.0, [1, 1, 1, 1], 1), (1.0, [1, 1, 1, 0], -1), (0.75, [1, 1, 1, 0], 1), (0.8, [0, 1, 1, 1], -1)],
)
@pytest.mark.parametrize("truth", [0, 1])
def test_a_quorum_ends_the_episode(quorum: float, votes: list[int], agreed: int, truth: int) -> None:
    world = make(members=4, quorum=quorum, wrong=0.5, patience=0.125)
    world.reset(seed=0, scene={"truth": truth, "signals": [1, 1, 0, 0]})
    step = world.step(torch.tensor([votes]), auto_reset=False)
    assert bool(step.terminated) == (agreed >= 0)
    assert bool(step.success) == (agreed == truth)
    gain = 0.0 if agreed < 0 else 1.0 if agreed == truth else -0.5
    assert step.reward.tolist() == [[gain - 0.125] * 4]


def test_without_agreement_the_round_budget_ends_it() -> None:
    world = make(members=2, max_steps=3)
    world.reset(seed=0)
    for number in range(3):
        step = world.step(torch.tensor([[0, 1]]), auto_reset=False)
        assert bool(step.truncated) == (number == 2)
        assert not step.terminated
        assert not step.success


def test_members_see_their_own_signal_and_vote_only() -> None:
    world, dense = make(members=3, symbols=3, observation="indices"), make(members=3, symbols=3)
    scene = {"truth": 0, "signals": [0, 2, 1]}
    assert world.reset(scene=scene).tolist() == [[[0, -1], [2, -1], [1, -1]]]
    dense.reset(scene=scene)
    step = world.step(torch.tensor([[1, 2, 2]]))
    assert step.observation.tolist() == [[[0, 4], [2, 5], [1, 5]]]
    assert dense.step(torch.tensor([[1, 2, 2]])).observation[0, 0].tolist() == [1, 0, 0, 0, 1, 0]


@pytest.mark.parametrize(("symbols", "accuracy"), [(2, 0.7), (4, 0.4)])
def test_signals_are_right_as_often_as_said(symbols: int, accuracy: float) -> None:
    world = make(4000, symbols=symbols, accuracy=accuracy)
    world.reset(seed=1)
    right = world.state["signals"] == world.state["truth"].unsqueeze(1)
    assert abs(float(right.float().mean()) - accuracy) < 0.02
    off = ((world.state["signals"] - world.state["truth"].unsqueeze(1)) % symbols)[~right]
    share = torch.bincount(off, minlength=symbols)[1:] / len(off)
    assert (share - 1 / (symbols - 1)).abs().max() < 0.02


def test_scripted_floors() -> None:
    """Of five signals that are right with 0.7: all alike in 0.17, the majority right in 0.84."""
    world = make(4000)
    length, success, total = play(world, own_votes)
    assert abs(float(success.float().mean()) - 0.7**5) < 0.025
    assert abs(float((length == 1).float().mean()) - 0.7**5 - 0.3**5) < 0.025
    assert set(length.tolist()) == {1, 10}
    length, success, total = play(world, majority_votes)
    right = sum(comb(5, k) * 0.7**k * 0.3 ** (5 - k) for k in (3, 4, 5))
    assert (length == 1).all()
    assert abs(float(success.float().mean()) - right) < 0.025
    assert abs(float(total.mean()) - (2 * right - 1 - 0.02)) < 0.05


def test_who_is_gone_is_not_waited_for() -> None:
    world = make(members=4, fewest=2)
    world.reset(seed=0)
    world.state["alive"] = torch.tensor([[True, True, False, False]])
    step = world.step(torch.tensor([[1, 1, 0, 0]]), auto_reset=False)
    assert step.terminated.all()
    assert step.reward[0, 2:].tolist() == [0, 0]


@pytest.mark.parametrize(
    "scene",
    [
        {"truth": 0},
        {"truth": 2, "signals": [0] * 5},
        {"truth": 0, "signals": [0] * 4},
        {"truth": 0, "signals": [9] * 5},
    ],
)
def test_scenes_are_checked(scene: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="scene:"):
        make().reset(scene=scene)


def test_it_can_be_drawn() -> None:
    world = make(members=3)
    world.reset(seed=0)
    world.step(torch.tensor([[0, 1, 1]]))
    assert "member_1 sees" in world.render(0, "ansi")
    assert world.render(0, "rgb_array").shape == (48, 48, 3)
    with pytest.raises(ValueError, match="render mode"):
        world.render(0, "human")  # type: ignore[arg-type]
