"""What each attack costs in training: whole iterations at B = 256, against undisturbed ones in turn."""

from __future__ import annotations

import os
import statistics
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from agentcomm.base import registry
from agentcomm.base.errors import ConfigError
from agentcomm.contracts.attack import hooks
from agentcomm.runs.config import parse
from benchmarks.packages import packages
from benchmarks.plain_loop import PlainLoop

ROUNDS = 3
MESSAGES = {"name": "predator_capture_prey", "observation": "indices"}
DIRECTORY = {"name": "task_market"}
FRAGMENTED = {"channels": [{"name": "fragments", "mtu": 100}]}
console = Console()


def loop(environment: dict[str, Any], attacks: list[dict[str, Any]], transport: dict[str, Any]) -> PlainLoop:
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
        "transport": transport,
    }
    return PlainLoop(parse(run, "benchmark settings"))


def arguments(name: str) -> dict[str, Any]:
    """None, or the first form's of an attack that needs some: untrained attackers are as fast as trained ones."""
    try:
        registry.build_config("attack", name, {})
    except ConfigError:
        form: dict[str, Any] = registry.find("attack", name).forms()[""]
        return form
    return {}


def seconds(first: PlainLoop, second: PlainLoop) -> tuple[list[float], list[float]]:
    """Seconds of iterations of both, in turn."""
    first.iterate(), second.iterate()
    times = [(first.iterate().total, second.iterate().total) for _ in range(ROUNDS)]
    return [a for a, _ in times], [b for _, b in times]


def main() -> None:
    """Measure every registered attack with its arguments by default, and write ``benchmarks/attacks.md``."""
    lines = []
    for name in track(registry.names("attack"), "measuring", console=console):
        plugin = registry.find("attack", name)
        place = DIRECTORY if "on_directory" in hooks(plugin) else MESSAGES
        transport = FRAGMENTED if plugin.needs_fragmentation else {}
        attacked = loop(place, [{"name": name} | arguments(name)], transport)
        plain, under = seconds(loop(place, [], transport), attacked)
        ratio = statistics.median(b / a - 1 for a, b in zip(plain, under, strict=True))
        violations = sum(sum(guard.violations.values()) for guard in attacked.sampler.comms.adversary.guards)
        assert not violations, f"{name} asks for more than it may"
        lines.append(f"| `{name}` | {place['name']} | {1000 * statistics.median(under):.0f} | {ratio:+.0%} |")
    table = "\n".join(lines)
    text = f"""# What each attack costs in training

Written by `make bench`: CommFormer with gates, 256 worlds x 16 steps, sampling and update, every attack with its
arguments by default; medians of {ROUNDS} iterations in turn with undisturbed ones on {os.cpu_count()} cores, load
average {os.getloadavg()[0]:.1f} at the end; {packages()}.

| attack | environment | ms per iteration | over undisturbed |
|---|---|---|---|
{table}
"""
    Path(__file__).with_name("attacks.md").write_text(text, encoding="utf-8")
    console.print(text, markup=False)


if __name__ == "__main__":
    main()
