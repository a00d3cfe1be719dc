"""What each attack costs in training: whole iterations at B = 256, against undisturbed ones in turn."""

from __future__ import annotations

import os
import statistics
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from agentcomm.base import registry
from agentcomm.base.versions import versions
from agentcomm.contracts.attack import hooks
from agentcomm.runs.config import parse
from benchmarks.plain_loop import PlainLoop

ROUNDS = 3
MESSAGES = {"name": "predator_capture_prey", "observation": "indices"}
DIRECTORY = {"name": "task_market"}
ARGUMENTS = {"learned": {"untrained": True}, "mask": {"untrained": True}}  # as fast as trained ones, but for a policy
PATHS = {"fragment": {"channels": [{"name": "fragments", "mtu": 100}]}}  # where there is something to act on
console = Console()


def loop(environment: dict[str, Any], attacks: list[dict[str, Any]], path: dict[str, Any]) -> PlainLoop:
    """A team of CommFormer in training."""
    run = {
        "name": "attacks",
        "environment": environment,
        "policy": {
            "name": "commformer",
            "topology": {"name": "learned", "density": 0.4},
            "gate": {"initial_logit": 3.0},
        },
        "training": {"worlds": 256, "fragment": 16, "threads": 1},
        "attacks": attacks,
        "path": path,
    }
    return PlainLoop(parse(run, "benchmark settings"))


def seconds(first: PlainLoop, second: PlainLoop) -> tuple[list[float], list[float]]:
    """Seconds of iterations of both, in turn."""
    first.iterate(), second.iterate()
    times = [(first.iterate().total, second.iterate().total) for _ in range(ROUNDS)]
    return [a for a, _ in times], [b for _, b in times]


def main() -> None:
    """Measure every registered attack with its arguments by default, and write ``benchmarks/attacks.md``."""
    lines = []
    for name in track(registry.names("attack"), "measuring", console=console):
        place = DIRECTORY if "on_directory" in hooks(registry.find("attack", name)) else MESSAGES
        path = PATHS.get(name, {})
        attacked = loop(place, [{"name": name} | ARGUMENTS.get(name, {})], path)
        plain, under = seconds(loop(place, [], path), attacked)
        ratio = statistics.median(b / a - 1 for a, b in zip(plain, under, strict=True))
        violations = sum(sum(guard.violations.values()) for guard in attacked.sampler.comms.adversary.guards)
        assert not violations, f"{name} asks for more than it may"
        lines.append(f"| `{name}` | {place['name']} | {1000 * statistics.median(under):.0f} | {ratio:+.0%} |")
    table = "\n".join(lines)
    text = f"""# What each attack costs in training

Written by `make bench`: CommFormer with gates, 256 worlds x 16 steps, sampling and update, every attack with its
arguments by default; medians of {ROUNDS} iterations in turn with undisturbed ones on {os.cpu_count()} cores, load
average {os.getloadavg()[0]:.1f} at the end; {versions()}.

| attack | environment | ms per iteration | over undisturbed |
|---|---|---|---|
{table}
"""
    Path(__file__).with_name("attacks.md").write_text(text, encoding="utf-8")
    console.print(text, markup=False)


if __name__ == "__main__":
    main()
