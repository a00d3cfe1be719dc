"""Training on a device: it is checked before a run starts, and nothing waits for an accelerator within a gradient step.

Torch's device ``meta`` stands in for a GPU: its tensors have no data, so that an operation fails if it reads a number
off them or mixes them with tensors on the processor.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from builders import sampler, team
from small import small
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from agentcomm import api
from agentcomm.base import registry
from agentcomm.base.devices import device_of
from agentcomm.base.errors import ConfigError, NumberError
from agentcomm.contracts.policy import CommPolicy
from agentcomm.contracts.world import World
from agentcomm.runs.ppo_settings import PPOSettings
from agentcomm.training.ppo import Update, ppo_loss

FORMS = {form: plugin for form, plugin in registry.forms("policy").items() if plugin[0] != "foreign"}  # has no weights
# Operations whose result's size or value the host needs: it waits for an accelerator.
WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_consecutive", "equal")
# What a step of worlds waits for: the checks of its actions and numbers, and the indices of the worlds to reset.
PER_STEP = 3


class Waits(TorchDispatchMode):
    """Counts the operations that make the host wait."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.overloadpacket.__name__
        chosen = args[1] if name in ("index", "index_put", "index_put_") else ()
        if name in WAITING or any(x is not None and x.dtype == torch.bool for x in chosen):
            self.found[name] += 1
        return function(*args, **(kwargs or {}))


def move(policy: CommPolicy) -> None:
    """Put the parameters and buffers of a policy on the device that stands in for a GPU."""
    for module in policy.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = nn.Parameter(parameter.detach().to("meta"), parameter.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = buffer.to("meta")


def made(form: str) -> tuple[World, CommPolicy]:
    name, arguments = FORMS[form]
    world, _ = team(4)
    with torch.random.fork_rng():
        built: CommPolicy = registry.find("policy", name).for_world(
            registry.build_config("policy", name, arguments), world
        )
    return world, built


def updating(policy: CommPolicy) -> Update:
    graph = policy.graph_parameters()
    own = {id(p) for p in graph}
    model = torch.optim.Adam([p for p in policy.parameters() if id(p) not in own], fused=True)
    return Update(policy, PPOSettings(), model, torch.optim.Adam(graph) if graph else None, torch.Generator())


@pytest.mark.parametrize("form", FORMS)
def test_a_gradient_step_stays_on_its_device(form: str) -> None:
    world, policy = made(form)
    columns = sampler(world, policy).collect(4).columns
    rows: dict[str, Tensor] = next(iter(updating(policy).minibatches(columns)))
    move(policy)
    kept = ("sizes",)  # of sequences, which Python reads
    rows = {name: value if name in kept else value.to("meta") for name, value in rows.items()}
    scale, frozen = torch.ones((), device="meta"), torch.zeros((), dtype=torch.bool, device="meta")
    loss, stats = ppo_loss(policy, rows, PPOSettings(), 0.01, False, scale, frozen)
    loss.backward()
    gradients = [p.grad for p in policy.parameters() if p.grad is not None]
    norm = nn.utils.clip_grad_norm_([p for p in policy.parameters() if p.grad is not None], 1.0)
    assert {x.device.type for x in (loss, norm, *stats.values(), *gradients)} == {"meta"}


def test_what_training_waits_for() -> None:
    world, policy = team(16)
    collecting = sampler(world, policy)
    collecting.collect(4)
    with Waits() as few:
        collecting.collect(4)
    with Waits() as many:
        columns = collecting.collect(12).columns
    more = many.found.total() - few.found.total()
    assert more == PER_STEP * 8, (few.found, many.found)
    update = updating(policy)
    update.checks_late = True
    batches = list(update.minibatches(columns))
    update.step(batches[0])  # optimizers read what they make at first
    with Waits() as waits:
        for rows in batches[1:]:
            update.step(rows)
    assert not waits.found


def test_late_checks_name_the_epoch_of_the_first_bad_step() -> None:
    world, policy = team(4)
    columns = sampler(world, policy).collect(6).columns
    columns["log_probability"] -= 200.0  # exp(200) is no float32
    update = updating(policy)
    update.checks_late = True
    for rows in update.minibatches(columns):
        update.step(rows)
    with pytest.raises(NumberError, match="PPO, epoch 1 of 3: the policy loss"):
        update.check_weights()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_refused_before_a_run_is_made(tmp_path: Any) -> None:
    assert device_of("auto", "device") == device_of("cpu", "device") == torch.device("cpu")
    said = r"training\.device 'cuda:1' cannot be used: torch finds no GPU on this machine; use cpu"
    with pytest.raises(ConfigError, match=said):
        api.train(small(training={"device": "cuda:1"}), root=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
    with pytest.raises(ConfigError, match="must be cpu, cuda or cuda:NUMBER"):
        small(training={"device": "gpu"})
