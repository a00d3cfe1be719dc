"""Where the time of a gradient step goes, and what five teams side by side gain: python -m benchmarks.update.

Writes update.md. One thread; the processor's time of the process, medians of interleaved rounds.

*Matrix products* are those of a step, made alone. *Calls* is what a step of four rows takes, in which next to nothing
is computed: Python, dispatch, the recording of gradients and the optimizer. The rest reads and writes memory.

*Side by side* stacks the parameters of five teams and takes one step of all of them with ``torch.func.vmap``, so that
each layer is one batched product.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.utils._python_dispatch import TorchDispatchMode

from agentcomm.training.ppo import ppo_loss
from benchmarks.plain_loop import PlainLoop
from benchmarks.settings import ours

ROUNDS, TEAMS, FEW = 15, 5, 4
PRODUCTS = ("mm", "addmm", "bmm")


class Products(TorchDispatchMode):
    """Keeps the operands of matrix products."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[tuple[Any, Any]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function.overloadpacket.__name__ in PRODUCTS:
            self.made.append((function, args))
        return function(*args, **(kwargs or {}))


class Loss(nn.Module):
    """The loss of a policy as a module, whose parameters can be replaced."""

    def __init__(self, loop: PlainLoop) -> None:
        super().__init__()
        self.policy, self.settings, self.entropy = loop.policy, loop.update.settings, loop.update.entropy

    def forward(self, rows: dict[str, Tensor]) -> Tensor:
        return ppo_loss(self.policy, rows, self.settings, self.entropy, False)[0]


def minibatch(loop: PlainLoop) -> dict[str, Tensor]:
    """The first minibatch of a rollout."""
    return next(iter(loop.update.minibatches(loop.sampler.collect(loop.run.training.fragment).columns)))


def medians(clock: Callable[[], float] = time.process_time, **work: Callable[[], Any]) -> dict[str, float]:
    """Milliseconds of each by a clock, medians of rounds in which they take turns."""
    took: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(ROUNDS + 2):
        for name, run in work.items():
            began = clock()
            run()
            took[name].append(1e3 * (clock() - began))
    return {name: statistics.median(values[2:]) for name, values in took.items()}


def parts() -> dict[str, float]:
    """Milliseconds of a step, of its matrix products alone, and of a step of a few rows."""
    loop = PlainLoop(ours())
    rows = minibatch(loop)
    few = {name: value[:FEW] for name, value in rows.items()}
    with Products() as products:
        loop.update.step(rows)

    def multiply() -> None:
        with torch.no_grad():
            for function, operands in products.made:
                function(*operands)

    return medians(step=lambda: loop.update.step(rows), products=multiply, calls=lambda: loop.update.step(few))


def side_by_side(device: str = "cpu", clock: Callable[[], float] = time.process_time) -> dict[str, float]:
    """Milliseconds of the gradients of five teams, one after the other and stacked, and of one team."""
    loops = [PlainLoop(ours(), seed=seed, device=device) for seed in range(TEAMS)]
    batches, losses = [minibatch(loop) for loop in loops], [Loss(loop) for loop in loops]
    stacked, buffers = stack_module_state(losses)
    parameters = {name: value.detach().requires_grad_() for name, value in stacked.items()}
    rows = {name: torch.stack([batch[name] for batch in batches]) for name in batches[0]}

    def one(weights: dict[str, Tensor], fixed: dict[str, Tensor], own: dict[str, Tensor]) -> Tensor:
        loss: Tensor = functional_call(losses[0], (weights, fixed), (own,))
        return loss

    def together() -> Tensor:
        loss = vmap(one)(parameters, buffers, rows)
        torch.autograd.grad(loss.sum(), list(parameters.values()), allow_unused=True)
        return loss.detach()

    def alone() -> Tensor:
        found = []
        for loss, batch in zip(losses, batches, strict=True):
            found.append(loss(batch))
            torch.autograd.grad(found[-1], list(loss.parameters()), allow_unused=True)
        return torch.stack(found).detach()

    def single() -> None:
        torch.autograd.grad(losses[0](batches[0]), list(losses[0].parameters()), allow_unused=True)

    torch.testing.assert_close(together(), alone())
    return medians(clock, alone=alone, together=together, single=single)


def main() -> None:
    torch.set_num_threads(1)
    spent, teams = parts(), side_by_side()
    rest = spent["step"] - spent["products"] - spent["calls"]
    shares = {"matrix products": spent["products"], "calls": spent["calls"], "the rest": rest}
    gain = teams["alone"] / teams["together"]
    lines = [
        "# Where the time of an update goes",
        "",
        "Written by `python -m benchmarks.update`; our settings (512 joint steps of 3 agents in a minibatch, D = 64),",
        f"one thread, torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}.",
        "",
        "| part of a gradient step | ms | share |",
        "|---|---|---|",
        *(f"| {name} | {ms:.1f} | {ms / spent['step']:.0%} |" for name, ms in shares.items()),
        f"| whole step | {spent['step']:.1f} | |",
        "",
        f"Loss and gradient of a minibatch of each of {TEAMS} teams: one after the other {teams['alone']:.0f} ms,",
        f"side by side with stacked parameters {teams['together']:.0f} ms, {gain:.2f} times as fast; the losses are",
        "equal.",
        "",
        "Stacked, the tensors of all teams have to fit into the cache that one team has to itself otherwise. Teams in",
        "processes of their own (`--jobs`) keep their caches.",
    ]
    Path(__file__).with_suffix(".md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
