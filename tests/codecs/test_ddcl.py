"""DDCL: its error is uniform and independent of what is said, gradients pass it unchanged, and bits have a price."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from builders import comms, team, team_shape_of
from torch import Tensor

from agentcomm.base import registry
from agentcomm.codecs.ddcl import DDCL
from agentcomm.contracts.codec import Received
from agentcomm.contracts.shape import TeamShape
from agentcomm.runs.assembly import charge_for_messages
from agentcomm.runs.ppo_settings import PPOSettings
from agentcomm.step.replay import reevaluate
from agentcomm.training.ppo import ppo_loss
from agentcomm.training.rollout import Sampler

B, N, D, ROUNDS = 64, 4, 16, 2


def codec(shape: TeamShape | None = None, **arguments: Any) -> DDCL:
    config = registry.build_config("codec", "ddcl", arguments)
    return DDCL(config, shape or TeamShape(B, N, N - 1, D, ROUNDS, torch.device("cpu")))


def heard(made: DDCL, payload: Tensor, step: Tensor, round_: int = 0) -> Tensor:
    """What everybody decodes of what all agents say [B, N, D]."""
    values = made.encode(payload, {}, step, round_).values
    sender = torch.arange(N).expand(len(payload), 1, -1)
    sequence = (step * ROUNDS + round_).view(-1, 1, 1).expand_as(sender)
    present = torch.ones_like(sender, dtype=torch.bool)
    return made.decode(Received(values.unsqueeze(1), present, sender, sequence, step, round_), {}).squeeze(1)


@pytest.mark.parametrize("said", [0.0, 0.3, -2.21])
def test_the_error_is_uniform_and_unbiased_whatever_is_said(said: float) -> None:
    made, delta = codec(delta=0.8), 0.8
    payload = torch.full((B, N, D), said)
    error = torch.cat([heard(made, payload, torch.arange(B) + B * at) - payload for at in range(20)]).flatten()
    assert error.abs().max() <= delta / 2 + 1e-6
    assert abs(float(error.mean())) < 4 * delta / (12 * len(error)) ** 0.5, "four standard errors"
    shares = torch.histc(error, 10, -delta / 2, delta / 2) / len(error)
    assert (shares - 0.1).abs().max() < 5 * (0.09 / len(error)) ** 0.5


def test_the_error_does_not_depend_on_what_is_said() -> None:
    made = codec()
    payload = 3 * torch.randn(B, N, D, generator=torch.Generator().manual_seed(0))
    error = heard(made, payload, torch.arange(B)) - payload
    assert (
        abs(float(torch.corrcoef(torch.stack([payload.flatten(), error.flatten()]))[0, 1])) < 4 / error.numel() ** 0.5
    )


def test_the_wrong_sender_or_number_is_decoded_with_other_noise() -> None:
    made, payload, step = codec(), torch.full((1, N, D), 0.4), torch.tensor([3])
    values = made.encode(payload, {}, step, 0).values.unsqueeze(1)
    sender, sequence = torch.arange(N).view(1, 1, -1), torch.full((1, 1, N), 3 * ROUNDS)

    def read(sender: Tensor, sequence: Tensor) -> Tensor:
        return made.decode(Received(values, sender >= 0, sender, sequence, step, 0), {}).squeeze(1)

    assert (read(sender, sequence) - payload).abs().max() < 0.5001
    assert (read(sender.roll(1, -1), sequence) - payload).abs().max() > 0.5001
    assert (read(sender, sequence + 1) - payload).abs().max() > 0.5001


def test_updates_repeat_the_error_so_that_gradients_pass_unchanged() -> None:
    world, policy = team(5, topology={"name": "full"})
    shape = team_shape_of(world, policy)
    made = codec(shape)
    columns = Sampler(world, policy, comms(shape, codec=made), PPOSettings(), 0).collect(8).columns
    again = reevaluate(policy, columns)
    assert (again.log_probability - columns["log_probability"]).abs().max() < 1e-5
    constant = columns["coding"] if "delta" not in columns else columns["delta"]
    assert constant.abs().max() > 0.01
    spoken = torch.randn(1, N, D, requires_grad=True)
    error = heard(codec(), spoken.detach().expand(B, -1, -1), torch.arange(B))[:1] - spoken.detach()
    (gradient,) = torch.autograd.grad((spoken + error).sum(), spoken)
    assert torch.equal(gradient, torch.ones_like(gradient)), "d/dz = 1"


def test_the_price_is_that_of_the_bound_on_bits_and_enters_the_loss() -> None:
    payload = torch.tensor([[0.0, 0.5, -1.5, 3.5]])
    assert codec(price=4e-3).price(payload) == pytest.approx(4e-3 * (0 + 1 + 2 + 3))
    assert not codec(price=0.0).charges
    world, policy = team(5, topology={"name": "full"})
    shape = team_shape_of(world, policy)
    made = codec(shape)
    rows = Sampler(world, policy, comms(shape, codec=made), PPOSettings(), 0).collect(4).columns
    rows["links"] = rows["links"].long()
    free, _ = ppo_loss(policy, rows, PPOSettings(), 0.0, False)
    charge_for_messages(policy, made)
    charged, _ = ppo_loss(policy, rows, PPOSettings(), 0.0, False)
    price = reevaluate(policy, rows).price
    assert price is not None
    assert float((charged - free).detach()) == pytest.approx(float(price.detach().mean()), rel=1e-3)
    assert torch.autograd.grad(price.sum(), policy.encoder.linear.weight)[0].abs().sum() > 0


def test_cheap_messages_have_few_bytes() -> None:
    made, step = codec(), torch.zeros(B, dtype=torch.int64)
    quiet, loud = (made.encode(size * torch.randn(B, N, D), {}, step, 0).bits.float().mean() for size in (0.05, 5.0))
    assert D <= quiet < 1.2 * D, "a zero is one bit"
    assert loud > 3 * quiet
