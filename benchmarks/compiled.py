"""Whether compiled updates stay within their memory: python -m benchmarks.compiled.

Writes compiled.md. For each of some policies, a process of its own compiles the reevaluation of a minibatch with
``torch.compile``, runs it forward and backward, and compares loss and gradients with those of the plain code. The C
library checks each block of memory that is freed (``libc_malloc_debug``) and ends the process if something was written
past its end.

*Without tails* has no vector instructions in the remainders of loops, *without vectors* none at all.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from agentcomm.runs.config import parse
from agentcomm.step.replay import reevaluate
from agentcomm.training import ppo
from benchmarks.packages import packages
from benchmarks.plain_loop import PlainLoop

POLICIES = ("commformer", "ic3net", "mat", "magic")
OPTIONS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "without tails": {"cpp.enable_loop_tail_vec": False},
    "without vectors": {"cpp.simdlen": 1},
}
CHECKED = {"GLIBC_TUNABLES": "glibc.malloc.check=3", "LD_PRELOAD": "libc_malloc_debug.so.0", "OMP_NUM_THREADS": "1"}


def gradients(loop: PlainLoop, rows: dict[str, Any], again: Any) -> list[torch.Tensor]:
    """Loss and gradients of a minibatch."""
    plain, ppo.reevaluate = ppo.reevaluate, again
    frozen = loop.update.gates.applies(rows)  # as in training
    loss, _ = ppo.ppo_loss(loop.policy, rows, loop.update.settings, 0.01, False, frozen=frozen)
    ppo.reevaluate = plain
    found = torch.autograd.grad(loss, list(loop.policy.parameters()), allow_unused=True)
    return [loss.detach(), *(x for x in found if x is not None)]


def compare(policy: str, option: str) -> str:
    """Compile the update of a policy; the largest difference of a gradient from the plain one, as share of its size."""
    run = parse(
        {
            "name": "compiled",
            "environment": {"name": "predator_capture_prey", "observation": "indices"},
            "policy": {"name": policy, "width": 32},
            "training": {"worlds": 64},
        },
        "benchmark settings",
    )
    loop = PlainLoop(run)
    rows = next(iter(loop.update.minibatches(loop.sampler.collect(16).columns)))
    plain = gradients(loop, rows, reevaluate)
    generated = gradients(loop, rows, torch.compile(reevaluate, dynamic=False, options=OPTIONS[option]))
    worst = max(
        float((a - b).abs().max() / a.abs().max().clamp_min(1e-6)) for a, b in zip(plain, generated, strict=True)
    )
    return f"equal to {worst:.0e}"


def outcome(policy: str, option: str) -> str:
    """What a process of its own says, or how it ended."""
    command = [sys.executable, "-m", "benchmarks.compiled", policy, option]
    done = subprocess.run(command, env=os.environ | CHECKED, capture_output=True, text=True)
    if done.returncode == 0:
        return done.stdout.strip().splitlines()[-1]
    last = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
    return f"**ended: {last}**"


def main() -> None:
    lines = [
        "# Compiled updates",
        "",
        f"Written by `python -m benchmarks.compiled`; {packages()}, {torch.backends.cpu.get_cpu_capability()}.",
        "The update of each policy compiled by `torch.compile`, under the C library's check of memory: the largest",
        "difference of loss and gradients from those of the plain code, or how the process ended.",
        "",
        "| policy | " + " | ".join(OPTIONS) + " |",
        "|---|" + "---|" * len(OPTIONS),
    ]
    for policy in POLICIES:
        lines.append(f"| {policy} | " + " | ".join(outcome(policy, option) for option in OPTIONS) + " |")
        print(lines[-1], flush=True)
    lines += [
        "",
        "Where a process ended, compiled code had written past the end of a tensor, as torch's issues 159154, 181618",
        "and 181689 report of other models. Code without vectors stays within, but makes a step slower than plain code",
        "does ([update.md](update.md)). So training does not compile.",
    ]
    Path(__file__).with_suffix(".md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        torch.set_num_threads(1)
        print(compare(*sys.argv[1:]))
    else:
        main()
