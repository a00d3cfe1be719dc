"""Action spaces: what all kinds have in common, and the arithmetic of each."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matching import AGENTS, SPACES
from torch import Tensor

from agentcomm.base.errors import ConfigError
from agentcomm.contracts.actions import ActionSpace
from agentcomm.contracts.continuous import Continuous
from agentcomm.contracts.discrete import Discrete, MultiDiscrete

CPU = torch.device("cpu")
NAMES = list(SPACES)


def drawn(space: ActionSpace, rows: int = 4000, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Parameters [R, N, P] that are the same in all rows, and a sample of actions."""
    g = torch.Generator().manual_seed(seed)
    ever = space.available(CPU)
    one = torch.randn(AGENTS, space.parameters, generator=g)
    parameters = space.masked(one, ever).expand(rows, -1, -1)
    return parameters, space.choose(parameters, space.noise((rows, AGENTS), g, CPU))


@pytest.mark.parametrize("name", NAMES)
def test_cells_are_drawn_with_their_probabilities(name: str) -> None:
    space = SPACES[name]
    parameters, action = drawn(space, 20_000)
    cell, probability = space.cell_of(parameters, action), space.cell_probability(parameters[0])
    assert torch.allclose(probability.sum(-1), torch.ones(AGENTS, dtype=torch.float64))
    for agent in range(AGENTS):
        share = torch.bincount(cell[:, agent], minlength=space.cells) / len(cell)
        assert (share - probability[agent]).abs().max() < 5 * 0.5 / math.sqrt(len(cell))


@pytest.mark.parametrize("name", NAMES)
def test_an_action_moves_to_another_cell_and_back(name: str) -> None:
    space = SPACES[name]
    parameters, action = drawn(space)
    ever = space.cell_probability(parameters) > 0
    cell = torch.multinomial(ever.flatten(0, 1).float(), 1, generator=torch.Generator().manual_seed(1))
    cell = cell.view(action.shape[:2])
    moved = space.moved(parameters, action, cell)
    assert torch.equal(space.cell_of(parameters, moved), cell)
    assert space.permitted(parameters, moved).all()
    back = space.moved(parameters, moved, space.cell_of(parameters, action))
    assert torch.allclose(back.float(), action.float(), atol=1e-3)
    stays = space.moved(parameters, action, space.cell_of(parameters, action))
    assert torch.equal(stays, action)


@pytest.mark.parametrize("name", [name for name in NAMES if isinstance(SPACES[name], Continuous)])
def test_cells_drawn_by_their_probabilities_leave_the_distribution_alone(name: str) -> None:
    """What a covert sender that keeps its distribution does: the moments of actions stay those of the policy."""
    space = SPACES[name]
    parameters, action = drawn(space, 40_000)
    cell = torch.multinomial(space.cell_probability(parameters).flatten(0, 1), 1).view(action.shape[:2])
    moved = space.moved(parameters, action, cell)
    for power in (1, 2, 3):
        ours, theirs = (x.double().pow(power) for x in (moved, action))
        error = theirs.std(0) / math.sqrt(len(action)) + 1e-9
        assert ((ours.mean(0) - theirs.mean(0)).abs() <= 6 * error).all()


@pytest.mark.parametrize("name", NAMES)
def test_probabilities_and_entropies_agree_with_samples(name: str) -> None:
    space = SPACES[name]
    if isinstance(space, Continuous):
        space = space.with_squashing(False)  # whose entropy is exact
    parameters, action = drawn(space, 40_000)
    information = -space.log_probability(parameters, action).double()
    error = information.std(0) / math.sqrt(len(action))
    assert ((information.mean(0) - space.entropy(parameters[0])).abs() <= 6 * error + 1e-5).all()


def test_the_density_of_squashed_actions_integrates_to_one() -> None:
    space = Continuous((-1.0,), (3.0,))
    raw = torch.linspace(-8, 8, 20_001).unsqueeze(1)
    parameters = torch.tensor([0.4, 0.3]).expand(len(raw), -1)
    density, executed = space.log_probability(parameters, raw).exp(), space.executed(raw)[:, 0]
    assert torch.trapezoid(density, executed) == pytest.approx(1.0, abs=1e-4)
    assert executed.min() >= -1.0
    assert executed.max() <= 3.0


@pytest.mark.parametrize("name", NAMES)
def test_options_name_actions(name: str) -> None:
    space = SPACES[name]
    option = torch.arange(space.options)
    assert torch.equal(space.option_of(space.from_option(option)), option)
    assert len(set(space.names)) == space.options
    worlds = space.executed(space.from_option(option)).expand(AGENTS, *([-1] * (1 + len(space.shape)))).transpose(0, 1)
    if space.available(CPU) is None:
        space.check(worlds, (space.options, AGENTS))
    assert space.valid(space.from_option(option)).all()


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_masked_options_are_never_chosen(name: str, data: st.DataObject) -> None:
    space = SPACES[name]
    g = torch.Generator().manual_seed(data.draw(st.integers(0, 1000)))
    parameters = 3 * torch.randn(64, AGENTS, space.parameters, generator=g)
    ever = space.available(CPU)
    masked = space.masked(parameters, None if ever is None else ever.expand_as(parameters))
    for noise in (None, space.noise((64, AGENTS), g, CPU)):
        action = space.choose(masked, noise)
        assert space.permitted(masked, action).all()
        assert space.log_probability(masked, action).isfinite().all()
        space.check(space.executed(action), (64, AGENTS))
    assert space.permitted(masked, space.unlikeliest(masked)).all()
    assert space.entropy(masked).isfinite().all()
    voted, _ = space.vote(masked.expand(5, -1, -1, -1), None)
    assert torch.equal(space.choose(voted, None), space.choose(masked, None))


@pytest.mark.parametrize("name", NAMES)
def test_the_objective_of_an_untargeted_attack_has_a_gradient(name: str) -> None:
    space = SPACES[name]
    parameters = drawn(space, 1)[0].clone().requires_grad_()
    sign, action = space.untargeted(parameters.detach())
    (slope,) = torch.autograd.grad((sign * space.log_probability(parameters, action)).sum(), parameters)
    assert (slope.abs().sum(-1) > 1e-3).all()
    step = parameters + 1e-2 * slope
    assert (sign * (space.log_probability(step, action) - space.log_probability(parameters, action)) > 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_action_is_refused(name: str) -> None:
    space = SPACES[name]
    good = space.draw((2, AGENTS), torch.Generator().manual_seed(0), CPU)
    space.check(good, (2, AGENTS))
    bad: list[Tensor] = [good[:, :1], good.long() if good.is_floating_point() else good.float()]
    bad += [torch.full_like(good, math.nan)] if good.is_floating_point() else [good - 10, good + 10]
    for action in bad:
        with pytest.raises(ValueError, match="must"):
            space.check(action, (2, AGENTS))


def test_spaces_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match="below the high one"):
        Continuous((1.0,), (1.0,))
    with pytest.raises(ValueError, match="sizes must lie in 1"):
        Discrete(("a", "b"), sizes=(3, 1))
    with pytest.raises(ValueError, match="sizes must have 2 numbers"):
        MultiDiscrete((2, 2), sizes=((2,),))
